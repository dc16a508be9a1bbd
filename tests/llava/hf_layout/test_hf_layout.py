"""Folders for other engines: plain transformers gives the same ids, pixels, logits and words, and nothing is lost."""

import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, LlamaTokenizer, LlavaForConditionalGeneration

from llmga.errors import UserError
from llmga.llava import checkpoints
from llmga.llava.chat import Chat, Sampling
from llmga.llava.conversation import Conversation
from llmga.llava.conversion import convert
from llmga.llava.hf_layout.processing import hf_tokenizer
from llmga.llava.hf_layout.saving import KEPT, REST, save_hf_layout
from llmga.llava.loading import Mllm, load_mllm, new_mllm, save_published
from llmga.llava.tokenization import joins_after_markers
from llmga.llava.vocabulary import load_tokenizer
from tests.talks import Talk


def projector_of(folder: Path) -> str:
    return json.loads((folder / "config.json").read_text()).get("mm_projector_type", "linear")


ROOT = Path(os.environ.get("LLMGA_FIXTURES", Path(__file__).parents[2] / "fixtures")) / "mllm"
FAMILIES = {
    name: ROOT / said["checkpoint"]
    for name, said in json.loads((ROOT / "manifest.json").read_text())["families"].items()
}
OF_2023 = [name for name, folder in FAMILIES.items() if joins_after_markers(load_tokenizer(folder))]
STOCK = [
    name
    for name, folder in FAMILIES.items()
    if projector_of(folder) in ("linear", "mlp1x_gelu", "mlp2x_gelu") and name not in OF_2023
]
RED = Image.new("RGB", (40, 30), "red")
TALKS = {
    "picture": Conversation().say("user", "Describe it.", (RED,)),
    "words": Conversation().say("user", "  Hello <s> h\u00e9\n"),
    "spaces": Conversation(system="  x").say("user", "One.  Two\n    return <image>  a", (RED,)),
    "turns": Conversation(system="Be brief.")
    .say("user", "One <image>, two\n<image>?", (RED, RED))
    .say("assistant", "Yes</s> indeed")
    .say("user", "And?"),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Each family's checkpoint in transformers' layout."""
    root = tmp_path_factory.mktemp("hf")

    @cache
    def converted(family: str) -> Path:
        convert(FAMILIES[family], root / family, "hf")
        return root / family

    return converted


@cache
def opened(family: str) -> Mllm:
    return load_mllm(FAMILIES[family], device="cpu", dtype=torch.float32)


def request(told: Conversation) -> list[dict]:
    """As a client of an OpenAI-style server writes it."""
    messages = [] if told.system is None else [{"role": "system", "content": told.system}]
    for message in told.messages:
        pictures = [{"type": "image", "image": image} for image in message.images]
        messages.append({"role": message.role, "content": [*pictures, {"type": "text", "text": message.text}]})
    return messages


def heard(told: Conversation, mllm: Mllm) -> Conversation:
    """Without a system text where the model's format has no place for one."""
    return told if mllm.template.places_system else replace(told, system=None)


@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("family", STOCK)
def test_plain_transformers_understands_and_says_the_same(family, talk, folders, monkeypatch):
    folder, mine = folders(family), opened(family)
    told = heard(TALKS[talk], mine)
    model, found = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not any(found[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    inputs = AutoProcessor.from_pretrained(folder).apply_chat_template(
        request(told), add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    picture = model.config.image_token_id
    ours = mine.encode(told, open_turn=True).input_ids
    assert inputs["input_ids"][0].tolist() == [picture if token == mine.image_token_id else token for token in ours]
    pixels = mine.pixel_values(told.images()) if told.images() else None
    if pixels is not None:
        assert torch.equal(inputs["pixel_values"], pixels)
    with torch.inference_mode():
        theirs = model(**inputs).logits[0]
        expected = mine.model(input_ids=torch.tensor([ours]), pixel_values=pixels).logits[0]
        # Where positions come to mean something else, the library goes on with the old keys in its cache.
        same = mine.backbone.short_length(mine.model.config.text_config) is None
        said = model.generate(**inputs, max_new_tokens=6, do_sample=False, use_cache=same)[0, len(ours) :].tolist()
    known = len(mine.tokenizer)
    torch.testing.assert_close(theirs[:, :known], expected[:, :known], atol=1e-5, rtol=0)
    assert theirs.shape[1] == known + 1
    chosen, choose = [], Sampling.choose
    monkeypatch.setattr(Sampling, "choose", lambda *given, random: chosen.append(choose(*given, random)) or chosen[-1])
    chat = Talk(Chat(mine))
    chat.conversation = Conversation(told.messages[:-1], told.system)
    list(chat.say(told.messages[-1].text, told.messages[-1].images, Sampling(temperature=0, max_new_tokens=6)))
    assert chosen == said


@pytest.mark.parametrize("family", STOCK)
def test_the_way_back_is_the_published_folder_bit_for_bit(family, folders, tmp_path):
    convert(folders(family), tmp_path / "back", "llmga")
    save_published(load_mllm(FAMILIES[family], device="cpu", dtype=torch.float16), tmp_path / "direct")
    published, back = (checkpoints.read_weights(folder) for folder in (FAMILIES[family], tmp_path / "back"))
    direct = checkpoints.read_weights(tmp_path / "direct")
    assert direct.keys() == back.keys()
    assert all(torch.equal(direct[key], back[key]) for key in direct)
    assert all(torch.equal(published[key], back[key]) for key in published.keys() & back.keys())
    for file in (path for path in (tmp_path / "direct").rglob("*.json")):
        name = file.relative_to(tmp_path / "direct")
        assert json.loads((tmp_path / "back" / name).read_text()) == json.loads(file.read_text()), name
    if isinstance(opened(family).tokenizer, LlamaTokenizer):
        models = [folder / "tokenizer.model" for folder in (tmp_path / "back", FAMILIES[family])]
        assert models[0].read_bytes() == models[1].read_bytes()


@pytest.mark.parametrize("family", STOCK)
def test_a_folder_of_other_origin_opens_too(family, folders, tmp_path):
    """Without what we keep beside it: the hub's own LLaVA folders are like that."""
    plain = tmp_path / f"some-{opened(family).conv_mode}"
    plain.mkdir()
    for file in folders(family).iterdir():
        if file.is_file():
            (plain / file.name).symlink_to(file)
    mine, again = opened(family), load_mllm(plain, device="cpu", dtype=torch.float32)
    again.marks_pictures = mine.marks_pictures  # nothing in such a folder tells it
    told = TALKS["picture"]
    found, expected = (
        mllm.model(
            input_ids=torch.tensor([mllm.encode(told, open_turn=True).input_ids]),
            pixel_values=mine.pixel_values(told.images()),
        ).logits[0, :, : len(mine.tokenizer)]
        for mllm in (again, mine)
    )
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_word_boundary_of_training_is_written_by_the_tokenizer():
    family = next((name for name in FAMILIES if opened(name).backbone.word_boundary), None)
    if family is None:
        pytest.skip("no family of this set was trained with word boundaries")
    mllm = load_mllm(FAMILIES[family], device="cpu")
    mllm.word_boundary = True
    tokenizer = hf_tokenizer(mllm)
    picture = tokenizer.convert_tokens_to_ids("<image>")
    for told in (heard(talk, mllm) for talk in TALKS.values()):
        text = mllm.template.render(mllm.marked(told), open_turn=True).text
        text = text.replace("<image>", "<image>" * mllm.tokens_per_image)
        ours = mllm.encode(told, open_turn=True).input_ids
        assert tokenizer(text)["input_ids"] == [picture if token == mllm.image_token_id else token for token in ours]


@pytest.mark.parametrize("family", OF_2023)
def test_ids_that_no_tokenizer_file_can_tell_are_not_given_to_other_engines(family, tmp_path):
    with pytest.raises(UserError, match="cannot tell how the tokenizer of 2023 reads the word after <gen_image>"):
        convert(FAMILIES[family], tmp_path / "hf", "hf")
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize("projector", ["linear", "mlp1x_gelu"])
def test_projectors_of_one_layer_are_followed_by_the_identity(projector, base_folders, tmp_path):
    torch.manual_seed(0)
    mllm = new_mllm(*base_folders, projector_type=projector, conv_mode="qwen_2")
    save_hf_layout(mllm, tmp_path / "hf")
    model = LlavaForConditionalGeneration.from_pretrained(tmp_path / "hf")
    pixels = mllm.pixel_values([RED])
    with torch.inference_mode():
        theirs, ours = (m.model.get_image_features(pixels).pooler_output[0] for m in (model, mllm.model))
    torch.testing.assert_close(theirs, ours, atol=1e-6, rtol=0)
    again = load_mllm(tmp_path / "hf", device="cpu")
    assert again.model.config.projector_type == projector
    assert all(torch.equal(tensor, again.model.state_dict()[key]) for key, tensor in mllm.model.state_dict().items())


def test_the_first_layer_of_the_tower_may_be_chosen(base_folders, tmp_path):
    mllm = new_mllm(*base_folders, select_layer=0, conv_mode="qwen_2")
    save_hf_layout(mllm, tmp_path / "hf")
    pixels = mllm.pixel_values([RED])
    with torch.inference_mode():
        seen = mllm.model.model.get_image_features(pixels)
        rows = mllm.model.model.multi_modal_projector(seen.hidden_states[0][:, 1:])
        theirs = LlavaForConditionalGeneration.from_pretrained(tmp_path / "hf").model.get_image_features(pixels)
    for found in (seen, theirs):
        torch.testing.assert_close(found.pooler_output[0], rows[0], atol=1e-6, rtol=0)
    assert load_mllm(tmp_path / "hf", device="cpu").model.config.vision_feature_layer == 0


@pytest.mark.parametrize("projector", ["mlp3x_gelu", "identity"])
def test_a_projector_without_a_place_is_told(projector, tiny_mllm, tmp_path):
    tiny_mllm.model.config.projector_type = projector
    with pytest.raises(UserError, match=f"projector '{projector}' has no place in transformers' LLaVA"):
        save_hf_layout(tiny_mllm, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


def test_a_picture_scale_that_is_no_power_of_two_comes_back_exactly(tiny_mllm, tmp_path):
    tiny_mllm.model.config.picture_scale = 45.25
    save_hf_layout(tiny_mllm.to(torch.device("cpu"), torch.float16), tmp_path / "hf")
    weights = load_mllm(tmp_path / "hf", device="cpu", dtype=torch.float16).model.state_dict()
    assert all(torch.equal(tensor, weights[key]) for key, tensor in tiny_mllm.model.state_dict().items())
    theirs = LlavaForConditionalGeneration.from_pretrained(tmp_path / "hf", dtype=torch.float32)
    pixels = tiny_mllm.pixel_values([RED])
    with torch.inference_mode():
        seen = [model.float().model.get_image_features(pixels).pooler_output[0] for model in (theirs, tiny_mllm.model)]
    torch.testing.assert_close(*seen, rtol=0, atol=1e-5 * seen[0].abs().max().item())


def test_padded_pictures_stay_padded(tiny_mllm, tmp_path):
    tiny_mllm.image_aspect = "pad"
    save_hf_layout(tiny_mllm, tmp_path / "hf")
    processor = AutoProcessor.from_pretrained(tmp_path / "hf").image_processor
    wide = Image.effect_mandelbrot((60, 40), (-2, -1, 1, 1), 50).convert("RGB")
    pixels = torch.as_tensor(processor(wide, return_tensors="pt")["pixel_values"])
    torch.testing.assert_close(pixels, tiny_mllm.pixel_values([wide]), atol=1e-5, rtol=0)
    assert load_mllm(tmp_path / "hf", device="cpu").image_aspect == "pad"
    tiny_mllm.image_aspect = "train512"
    with pytest.raises(UserError, match="unknown image aspect of transformers' LLaVA 'train512'"):
        save_hf_layout(tiny_mllm, tmp_path / "other")


@pytest.fixture
def stock(tiny_mllm, tmp_path):
    save_hf_layout(tiny_mllm, tmp_path / "hf")
    return tmp_path / "hf"


def test_what_a_damaged_folder_lacks_is_named(stock):
    rest = stock / KEPT / REST
    rest.write_bytes(rest.read_bytes()[:10])
    with pytest.raises(UserError, match="rest.safetensors' cannot be read"):
        load_mllm(stock, device="cpu")
    rest.unlink()
    with pytest.raises(UserError, match="lacks rest.safetensors"):
        load_mllm(stock, device="cpu")


def test_weights_of_another_folder_are_told(stock):
    weights = load_file(stock / "model.safetensors")
    del weights["multi_modal_projector.linear_2.bias"]
    save_file(weights | {"foreign.weight": torch.ones(2)}, stock / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="do not fit their config.json: 1 missing keys"):
        load_mllm(stock, device="cpu")
    del weights["language_model.model.embed_tokens.weight"]
    save_file(weights, stock / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="does not belong to the weights beside it"):
        load_mllm(stock, device="cpu")


def test_another_activation_between_the_layers_is_told(stock, tmp_path):
    config = json.loads((stock / "config.json").read_text())
    (stock / KEPT).rename(tmp_path / "elsewhere")
    (stock / "config.json").write_text(json.dumps(config | {"projector_hidden_act": "relu"}))
    with pytest.raises(UserError, match="projector_hidden_act 'relu'"):
        load_mllm(stock, device="cpu")
    text = config["text_config"] | {"model_type": "mixtral"}
    (stock / "config.json").write_text(json.dumps(config | {"text_config": text}))
    with pytest.raises(UserError, match="a language model of type 'mixtral' has no row"):
        load_mllm(stock, device="cpu")
