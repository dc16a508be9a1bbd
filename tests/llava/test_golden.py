"""Recorded values of every published family: whatever the manifest lists is compared, and nothing is left out.

A set of values is described by its manifest.json and the golden.json of each family; no size, seed or word of one
particular set is known here.
"""

import copy
import hashlib
import json
import os
import re
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from llmga.llava.chat import Chat, Sampling
from llmga.llava.conversation import Conversation
from llmga.llava.datasets.collate import Collate
from llmga.llava.datasets.mixture import Sample
from llmga.llava.datasets.packing import PackCollate
from llmga.llava.loading import Mllm, load_mllm, load_tokenizer
from llmga.llava.templates import TEMPLATES, conversation_mode
from llmga.llava.tokenization import IGNORED, Encoded, encode
from tests.talks import Talk, lesson

ROOT = Path(os.environ.get("LLMGA_FIXTURES", Path(__file__).parents[1] / "fixtures")) / "mllm"
MANIFEST = json.loads((ROOT / "manifest.json").read_text())
FAMILIES = list(MANIFEST["families"])
GOLDEN = {name: json.loads((ROOT / name / "golden.json").read_text()) for name in FAMILIES}
# Ids of the texts where the recorded ones are no tokenisation to copy; all else was computed from the recorded ones.
CORRECTED = {file.parent.name: json.loads(file.read_text()) for file in ROOT.glob("*/ids_of_*.json")}
MASK_FAILURES = json.loads((ROOT / "mask_failures/mask_failures.json").read_text())
RESAVED = ("added_tokens.json", "special_tokens_map.json", "tokenizer_config.json")
PICTURE = -200  # how the recorded ids mark a picture
LOGITS, PIXELS, LOSSES = MANIFEST["tolerance"]["logits_abs"], 1e-5, 1e-4
UNREADABLE = "\ufffd"  # bytes that are no UTF-8; old and new tokenizers replace them differently
REPEATED = re.compile(r"human: '(.*)'; gpt: the sentence '(.*)' repeated (\d+) times, joined by one space", re.DOTALL)

TALKS = [
    (family, case) for family in FAMILIES for case, said in GOLDEN[family]["inference"].items() if "messages" in said
]
TRAINED = [
    (family, style, case)
    for family in FAMILIES
    for style, cases in GOLDEN[family]["training"].items()
    for case in cases
]
REPLIES = [name for name, case in MASK_FAILURES.items() if isinstance(case["conversation"], list)]
PICTURED = [(family, "two_images") for family in FAMILIES if "two_images" in GOLDEN[family]["inference"]]
ENTERING = [
    (family, name.split(".")[1])
    for family in FAMILIES
    for name in MANIFEST["families"][family]["tensors"]
    if name.startswith("infer.") and name.endswith(".inputs_embeds")
]
ADAPTERS = sorted(file.parent for file in ROOT.glob("*/golden.json") if "lora" in json.loads(file.read_text()))


@cache
def tensors(family: str) -> dict[str, Tensor]:
    return load_file(ROOT / family / "golden.safetensors")


@cache
def opened(family: str) -> Mllm:
    return load_mllm(ROOT / MANIFEST["families"][family]["checkpoint"], device="cpu", dtype=torch.float32)


@cache
def tokenizer(folder: str) -> Any:
    return load_tokenizer(ROOT / folder)


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


def picture(family: str) -> Image.Image:
    return Image.open(ROOT / family / "image.png")


def talk(messages: list, has_image: bool, image: Image.Image | None) -> Conversation:
    told = Conversation()
    for index, (speaker, text) in enumerate(messages):
        if text is not None:
            pictures = (image,) if has_image and index == 0 else ()
            told = told.say("user" if speaker == "u" else "assistant", text, pictures)
    return told


def question(family: str, case: str) -> Conversation:
    """What is asked in a recorded case; one that is only told as a prompt has one message with all its pictures."""
    said, image = GOLDEN[family]["inference"][case], picture(family)
    if "messages" in said:
        return talk(said["messages"], said["has_image"], image)
    template = opened(family).template
    opening = template.opening.replace("{system}", template.system)
    words = said["prompt"].removeprefix(opening).removesuffix(template.user_tail + template.assistant_head)
    return Conversation().say("user", words, (image,) * len(said["images"]))


def seen_pixels(family: str, case: str) -> Tensor | None:
    """The pictures of a recorded case, as the tower reads them."""
    said, values = GOLDEN[family]["inference"][case], tensors(family)
    if "images" in said:  # such as "image.pad mirrored left-right (flip of the last axis)"
        told = [(values[image.split(" ")[0]], "flip" in image) for image in said["images"]]
        return torch.cat([pixels.flip(-1) if flipped else pixels for pixels, flipped in told])
    return values[GOLDEN[family]["pixel_values_used"]] if said["has_image"] else None


def short(family: str, conversation: Conversation, open_turn: bool, slow: bool) -> Encoded:
    """With one id per picture, as the ids are recorded."""
    mllm = opened(family)
    rendered = mllm.template.render(mllm.marked(conversation), open_turn)
    return encode(rendered, mllm.tokenizer, PICTURE, 1, slow)


def recorded_prompt(family: str, case: str) -> list[int]:
    """The ids from which a case's values were computed, each picture with all its positions."""
    return spread(opened(family), tensors(family)[f"infer.{case}.input_ids"].tolist())


def recorded_lesson(family: str, style: str, case: str) -> Encoded:
    """The ids and labels from which a training sample's values were computed."""
    values, name = tensors(family), f"train.{style}.{case}"
    return Encoded(values[f"{name}.input_ids"].tolist(), values[f"{name}.labels"].tolist())


def lesson_of(family: str, style: str, case: str) -> tuple[dict, Encoded]:
    recorded, mllm = GOLDEN[family]["training"][style][case], opened(family)
    rendered = TEMPLATES[style].render(mllm.marked(lesson(recorded["conversation"])))
    return recorded, encode(rendered, mllm.tokenizer, PICTURE, 1)


def spread(mllm: Mllm, short: list[int], picture: int | None = None) -> list[int]:
    """Ids or labels with as many entries for every picture as it has positions."""
    seen = mllm.image_token_id if picture is None else picture
    return [entry for token in short for entry in ([seen] * mllm.tokens_per_image if token == PICTURE else [token])]


def sample(mllm: Mllm, encoded: Encoded) -> Sample:
    """Every picture with all its positions."""
    pairs = zip(encoded.input_ids, encoded.labels, strict=True)
    labels = [PICTURE if token == PICTURE else label for token, label in pairs]
    return Sample(spread(mllm, encoded.input_ids), spread(mllm, labels, IGNORED), ())


@torch.inference_mode()
def logits(mllm: Mllm, ids: list[int], pixels: Tensor | None) -> Tensor:
    out = mllm.model(input_ids=torch.tensor([ids]), pixel_values=pixels).logits[0]
    return out[:, : len(mllm.tokenizer)]


def greedy(mllm: Mllm, prompt: list[int], answer: list[int], pixels: Tensor | None) -> list[int]:
    """The likeliest token after each beginning of the answer, all of it computed anew."""
    return [int(logits(mllm, prompt + answer[:length], pixels)[-1].argmax()) for length in range(len(answer))]


def written(mllm: Mllm, prompt: list[int], length: int, pixels: Tensor | None) -> list[int]:
    """A greedy answer, all of it computed anew for every token, up to its end."""
    answer: list[int] = []
    while len(answer) < length and not (answer and answer[-1] in mllm.stop_ids):
        answer.append(int(logits(mllm, prompt + answer, pixels)[-1].argmax()))
    return answer


@torch.inference_mode()
def loss(mllm: Mllm, batch: dict[str, Tensor], pixels: Tensor | None) -> float:
    return float(mllm.model(**batch, pixel_values=pixels, use_cache=False).loss)


def compare_logits(found: Tensor, values: dict[str, Tensor], name: str) -> None:
    """With everything that was recorded of them."""
    close(found.logsumexp(-1), values[f"{name}.logits_logsumexp"], LOGITS)
    if f"{name}.logits_argmax" in values:
        assert found.argmax(-1).tolist() == values[f"{name}.logits_argmax"].tolist()
    for part in ("logits", "logits_tail"):
        if (expected := values.get(f"{name}.{part}")) is not None:
            close(found[-len(expected) :], expected, LOGITS)


def supervised_runs(encoded: Encoded, tokenizer: Any) -> list[str]:
    runs, open_run = [], False
    for label in encoded.labels:
        if label == IGNORED:
            open_run = False
            continue
        if not open_run:
            runs.append([])
        runs[-1].append(label)
        open_run = True
    return [tokenizer.decode(run, skip_special_tokens=False) for run in runs]


def dense(text: str) -> str:
    return "".join(text.split())


def compare_replies(encoded: Encoded, style: str, replies: list[str], tokenizer: Any) -> None:
    """Exactly the replies, each with its end marker, white space left aside."""
    tail = TEMPLATES[style].reply_tail
    runs = supervised_runs(encoded, tokenizer)
    assert dense("".join(runs)) == dense("".join(reply + tail for reply in replies))


def test_the_set_is_whole():
    assert FAMILIES
    for name, said in MANIFEST["files"].items():
        content = (ROOT / name).read_bytes()
        if name.split("/")[0] in CORRECTED and Path(name).name in RESAVED:
            continue  # saved as an older library saves them after the manifest was written
        assert (len(content), hashlib.sha256(content).hexdigest()) == (said["bytes"], said["sha256"]), name
    for family in FAMILIES:
        assert set(tensors(family)) == set(MANIFEST["families"][family]["tensors"]), family


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_opens_as_what_it_is(family):
    golden, mllm = GOLDEN[family], opened(family)
    said = golden["tokenizer"]
    assert mllm.conv_mode == golden["conversation_mode_inferred"] == MANIFEST["families"][family]["mode"]
    assert len(mllm.tokenizer) == said["length"] == golden["vocab_rows_after_loading"]
    assert mllm.model.config.text_config.vocab_size == max(golden["vocab_rows_in_checkpoint"], said["length"])
    trained_at = json.loads((ROOT / MANIFEST["families"][family]["checkpoint"] / "config.json").read_text())
    assert mllm.context_length in (golden["context_len"], trained_at.get("tokenizer_model_max_length"))
    assert (mllm.tokenizer.eos_token_id, mllm.tokenizer.pad_token_id) == (said["eos_token_id"], said["pad_token_id"])
    ends = golden["generation_eos_token_id"]
    assert mllm.stop_ids >= set(ends if isinstance(ends, list) else [ends]) - {None}
    assert mllm.model.config.vision_feature_layer == golden["mm"]["mm_vision_select_layer"]
    assert mllm.model.config.projector_type == golden["mm"].get("mm_projector_type", "linear")
    assert mllm.marks_pictures == golden["mm"].get("mm_use_im_start_end", False)


@pytest.mark.parametrize("family", FAMILIES)
def test_pixels(family):
    for aspect in (name.removeprefix("image.") for name in tensors(family) if name.startswith("image.")):
        mllm = replace(opened(family), image_aspect=aspect)
        close(mllm.pixel_values([picture(family)]), tensors(family)[f"image.{aspect}"], PIXELS)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_tower_and_the_projector_see(family):
    mllm, values = opened(family), tensors(family)
    pixels = values[GOLDEN[family]["pixel_values_used"]]
    with torch.inference_mode():
        seen = mllm.model.model.get_image_features(pixels)
        layer = seen.hidden_states[mllm.model.config.vision_feature_layer]
    keeps_class = GOLDEN[family]["mm"].get("mm_vision_select_feature") == "cls_patch"
    close(layer if keeps_class else layer[:, 1:], values["vision.features"], LOGITS)
    close(torch.stack(list(seen.pooler_output)) / mllm.model.config.picture_scale, values["projector.output"], LOGITS)


@pytest.mark.parametrize(("family", "case"), TALKS + PICTURED)
def test_a_prompt_is_written_tokenised_and_understood(family, case):
    mllm, values, said = opened(family), tensors(family), GOLDEN[family]["inference"][case]
    told = question(family, case)
    assert mllm.template.render(mllm.marked(told), open_turn=True).text == said["prompt"]
    recorded = values[f"infer.{case}.input_ids"].tolist()
    expected = CORRECTED[family]["inference"][case] if family in CORRECTED else recorded
    assert short(family, told, True, mllm.slow(open_turn=True)).input_ids == expected
    if "messages" in said and family not in CORRECTED:
        trained = values.get(f"infer.{case}.input_ids_training_tokenizer", values[f"infer.{case}.input_ids"])
        assert short(family, told, True, slow=True).input_ids == trained.tolist()
    assert mllm.encode(told, open_turn=True).input_ids == spread(mllm, expected)
    whole = spread(mllm, recorded)
    assert len(whole) == said["length_with_image"]
    compare_logits(logits(mllm, whole, seen_pixels(family, case)), values, f"infer.{case}")


@pytest.mark.parametrize(("family", "case"), ENTERING)
def test_words_and_pictures_enter_the_text_model_as_recorded(family, case):
    mllm = opened(family)
    ids = torch.tensor([recorded_prompt(family, case)])
    caught: list[Tensor] = []

    def catch(module, args, kwargs):
        caught.append(kwargs["inputs_embeds"][0])

    handle = mllm.model.model.language_model.register_forward_pre_hook(catch, with_kwargs=True)
    with torch.inference_mode():
        mllm.model(input_ids=ids, pixel_values=seen_pixels(family, case))
    handle.remove()
    recorded = tensors(family)[f"infer.{case}.inputs_embeds"]
    close(caught[0] / mllm.model.config.picture_scale, recorded, LOGITS)


@pytest.mark.parametrize(("family", "case"), TALKS)
def test_greedy_answers(family, case, monkeypatch):
    """Through Chat, whose cache grows from turn to turn, and without any cache."""
    mllm, values, said = opened(family), tensors(family), GOLDEN[family]["inference"][case]
    pixels = values[GOLDEN[family]["pixel_values_used"]]
    monkeypatch.setattr(mllm, "pixel_values", lambda images: pixels.expand(len(images), -1, -1, -1), raising=False)
    monkeypatch.setattr(mllm, "context_length", 1 << 20)  # nothing of the recorded talks is left out
    recorded = values[f"infer.{case}.generated_ids"].tolist()
    assert greedy(mllm, recorded_prompt(family, case), recorded, seen_pixels(family, case)) == recorded
    prompt = mllm.encode(question(family, case), open_turn=True).input_ids
    same = prompt == recorded_prompt(family, case)
    expected = recorded if same else written(mllm, prompt, len(recorded), seen_pixels(family, case))
    *history, (_, asked), _ = said["messages"]
    image = picture(family)
    chat, chosen = Talk(Chat(mllm)), []
    if history:  # an earlier answer is read first, so that its cache is used
        chat.conversation = talk(history[:-1], said["has_image"], image)
        earlier = chat.conversation.messages[-1]
        chat.conversation = Conversation(chat.conversation.messages[:-1])
        list(chat.say(earlier.text, earlier.images, Sampling(temperature=0, max_new_tokens=2)))
        chat.conversation = talk(history, said["has_image"], image)
    choose = Sampling.choose

    def noted(self, row, random):
        chosen.append(choose(self, row, random))
        return chosen[-1]

    monkeypatch.setattr(Sampling, "choose", noted)
    first = (image,) if said["has_image"] and not history else ()
    answer = "".join(chat.say(asked, first, Sampling(temperature=0, max_new_tokens=len(expected))))
    assert chosen == expected[: len(chosen)]
    ended = chosen[-1] in mllm.stop_ids or mllm.template.reply_tail in mllm.tokenizer.decode(chosen)
    assert ended or len(chosen) == len(expected)
    if same and UNREADABLE not in said["generated_text"] and len(chosen) == len(expected):
        end = mllm.tokenizer.decode(chosen[-1:]) if chosen[-1] in mllm.stop_ids else ""
        assert dense(answer) == dense(said["generated_text"].removesuffix(end))


@pytest.mark.parametrize(("family", "style", "case"), TRAINED)
def test_training_samples(family, style, case):
    recorded, encoded = lesson_of(family, style, case)
    mllm, values, name = opened(family), tensors(family), f"train.{style}.{case}"
    texts = CORRECTED.get(family, {}).get("training", {})
    corrected = texts.get(style, texts).get(case)
    compare_replies(encoded, style, recorded["assistant_replies"], mllm.tokenizer)
    if recorded["prompt"] is not None:
        assert TEMPLATES[style].render(mllm.marked(lesson(recorded["conversation"]))).text == recorded["prompt"]
        assert encoded.input_ids == (corrected or values[f"{name}.input_ids"].tolist())
    if recorded["verdict"] == "ok":
        assert corrected or encoded.labels == values[f"{name}.labels"].tolist()
        pixels = values[GOLDEN[family]["pixel_values_used"]] if recorded["has_image"] else None
        batch = Collate(0, mllm.pixel_values)([sample(mllm, recorded_lesson(family, style, case))])
        assert loss(mllm, batch, pixels) == pytest.approx(recorded["loss"], abs=LOSSES)


@pytest.mark.parametrize("family", FAMILIES)
def test_batches(family):
    golden, mllm, values = GOLDEN[family]["batch"], opened(family), tensors(family)
    style, cases = golden["template"], golden["samples"]
    encoded = [
        recorded_lesson(family, style, case) if family in CORRECTED else lesson_of(family, style, case)[1]
        for case in cases
    ]
    pad = mllm.tokenizer.pad_token_id
    flat = [Sample(one.input_ids, one.labels, ()) for one in encoded]
    whole = [sample(mllm, one) for one in encoded]
    cut = golden["truncated"]["tokenizer_model_max_length"]
    cuts = [Sample(one.input_ids[:cut], one.labels[:cut], ()) for one in whole]
    published = json.loads((ROOT / MANIFEST["families"][family]["checkpoint"] / "config.json").read_text())
    batches = {
        "collated": Collate(pad, mllm.pixel_values)(flat),
        "right": Collate(pad, mllm.pixel_values)(whole),
        "left": Collate(pad, mllm.pixel_values, "left")(whole),
        "truncated": Collate(pad, mllm.pixel_values, published.get("tokenizer_padding_side", "right"))(cuts),
    }
    compared = [name.split(".") for name in values if name.startswith("batch.")]
    for _, kind, part in compared:
        assert batches[kind][part].tolist() == values[f"batch.{kind}.{part}"].int().tolist(), (kind, part)
    seen = sum(token == PICTURE for one in encoded for token in one.input_ids)
    pixels = values[GOLDEN[family]["pixel_values_used"]].expand(seen, -1, -1, -1) if seen else None
    for kind in ("right", "left"):
        assert loss(mllm, batches[kind], pixels) == pytest.approx(golden[kind]["loss"], abs=LOSSES)
    packed = PackCollate(pad, mllm.pixel_values, one_row=True)([whole])
    assert len(packed["input_ids"]) == 1
    assert loss(mllm, packed, pixels) == pytest.approx(golden["right"]["loss"], abs=LOSSES)


@pytest.mark.parametrize("name", REPLIES)
def test_replies_that_the_original_did_not_learn(name):
    case = MASK_FAILURES[name]
    words = tokenizer(case["tokenizer"])
    encoded = encode(TEMPLATES[case["template"]].render(lesson(case["conversation"])), words, PICTURE, 1)
    replies = case.get("replies_that_should_be_supervised") or [
        turn["value"] for turn in case["conversation"] if turn["from"] == "gpt"
    ]
    compare_replies(encoded, case["template"], replies, words)
    values = load_file(ROOT / "mask_failures/mask_failures.safetensors")
    alternating = all((turn["from"] == "human") == (index % 2 == 0) for index, turn in enumerate(case["conversation"]))
    if alternating and f"{name}.input_ids" in values:
        assert encoded.input_ids == values[f"{name}.input_ids"].tolist()


def test_a_reply_beyond_the_length_limit_is_learnt_up_to_it():
    """The set tells this conversation in words, so it is made here; the ids that it records are the standard."""
    values = load_file(ROOT / "mask_failures/mask_failures.safetensors")
    for name in set(MASK_FAILURES) - set(REPLIES):
        case = MASK_FAILURES[name]
        asked, sentence, times = REPEATED.fullmatch(case["conversation"]).groups()
        told = Conversation().say("user", asked).say("assistant", " ".join([sentence] * int(times)))
        encoded = encode(TEMPLATES[case["template"]].render(told), tokenizer(case["tokenizer"]), PICTURE, 1)
        length = len(values[f"{name}.input_ids"])
        assert len(encoded.input_ids) > length
        assert encoded.input_ids[:length] == values[f"{name}.input_ids"].tolist()
        assert encoded.labels[:length] == values[f"{name}.reference_labels"].tolist()


def test_every_template_by_name():
    recorded = json.loads((ROOT / "templates.json").read_text())
    for name, style in recorded["templates"].items():
        style = recorded["templates"][style["alias_of"]] if "alias_of" in style else style
        for case, prompt in style["prompts"].items():
            if isinstance(prompt, str):
                said = recorded["messages"][case]
                told = talk(said["messages"], said["image"], Image.new("RGB", (1, 1)))
                assert TEMPLATES[name].render(told, open_turn=True).text == prompt, (name, case)


def test_the_mode_of_every_folder_name():
    recorded = json.loads((ROOT / "mode_inference.json").read_text())
    assert {name: conversation_mode(name) for name in recorded} == recorded


@pytest.fixture(scope="module", params=ADAPTERS, ids=lambda folder: folder.name)
def adapters(request, tmp_path_factory):
    """Recorded adapters beside the picture encoder that they name."""
    folder = shutil.copytree(request.param, tmp_path_factory.mktemp("adapters") / "all")
    golden = json.loads((folder / "golden.json").read_text())
    tower = json.loads((folder / golden["lora"] / "config.json").read_text())["mm_vision_tower"]
    if not (folder / tower).exists():
        shutil.copytree(request.param / golden["vision_tower"], folder / tower)
    return folder, golden, load_file(folder / "golden.safetensors")


def adapted_family(golden: dict) -> tuple[str, str]:
    family, case = golden["prompt_case"].split()
    return family, case


def obeys(mllm: Mllm, folder: Path, family: str) -> None:
    """Pictures are marked and squared as the result's own config says."""
    said = json.loads((folder / "config.json").read_text())
    assert mllm.marks_pictures == bool(said.get("mm_use_im_start_end"))
    padded = said.get("image_aspect_ratio") == "pad"
    assert mllm.image_aspect == ("pad" if padded else "stretch")
    if padded:
        close(mllm.pixel_values([picture(family)]), tensors(family)["image.pad"], PIXELS)


def test_a_first_stage_and_its_base_are_the_whole_model(adapters):
    """Up to the rounding of the projector to bfloat16."""
    folder, golden, _ = adapters
    family, case = adapted_family(golden)
    mllm = load_mllm(folder / golden["pretrain"], folder / golden["base"], device="cpu", dtype=torch.float32)
    obeys(mllm, folder / golden["pretrain"], family)
    rounded = copy.deepcopy(opened(family).model)
    projector = rounded.model.multi_modal_projector
    projector.load_state_dict({key: value.bfloat16().float() for key, value in projector.state_dict().items()})
    for key, tensor in mllm.model.model.multi_modal_projector.state_dict().items():
        assert torch.equal(tensor, projector.state_dict()[key]), key
    ids = mllm.encode(question(family, case), open_turn=True).input_ids
    assert ids == opened(family).encode(question(family, case), open_turn=True).input_ids
    whole = replace(opened(family), model=rounded)
    pixels = seen_pixels(family, case)
    close(logits(mllm, ids, pixels), logits(whole, ids, pixels), LOGITS)


@pytest.mark.parametrize("merge", [True, False])
def test_a_low_rank_result_and_its_base(adapters, merge):
    folder, golden, values = adapters
    family, case = adapted_family(golden)
    mllm = load_mllm(
        folder / golden["lora"], folder / golden["base"], device="cpu", dtype=torch.float32, merge_lora=merge
    )
    obeys(mllm, folder / golden["lora"], family)
    told, pixels = question(family, case), seen_pixels(family, case)
    rendered = mllm.template.render(mllm.marked(told), open_turn=True)
    assert encode(rendered, mllm.tokenizer, PICTURE, 1).input_ids == values["lora.input_ids"].tolist()
    with torch.inference_mode():
        seen = mllm.model.model.get_image_features(pixels).pooler_output
    close(torch.stack(list(seen)) / mllm.model.config.picture_scale, values["lora.projector.output"], LOGITS)
    found = logits(mllm, mllm.encode(told, open_turn=True).input_ids, pixels)
    close(found, values["lora.logits"], LOGITS)
    assert any("lora_" in name for name, _ in mllm.model.named_modules()) != merge
