"""A vision-language model that is none of ours, through its processor: the same contract."""

import contextlib
import copy
import io
import json
import shutil
import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from llmga.errors import UserError
from llmga.llava.chat import Chat
from llmga.llava.instructions import PLANNING
from llmga.llava.loading import open_planner, save_published
from llmga.llava.processor_chat import ProcessorChat
from llmga.llava.sampling import Sampling
from llmga.llava.vlm import load_vlm
from tests.talks import Talk

GREEDY = Sampling(temperature=0, max_new_tokens=8)
RED, BLUE = Image.new("RGB", (60, 40), "red"), Image.new("RGB", (40, 60), "blue")
MARKS = ("<|vision_start|>", "<|image_pad|>", "<|video_pad|>", "<|vision_end|>")
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
REFUSES_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
DROPS_SYSTEM = TEMPLATE.replace("in messages %}", "in messages if message.role != 'system' %}", 1)


@pytest.fixture(scope="module")
def folder(bytes_as_tokens, tmp_path_factory):
    """A tiny Qwen2-VL of random weights; its processor has a part for films, which cannot be opened here."""
    out = tmp_path_factory.mktemp("qwen-vl")
    tokenizer = copy.deepcopy(bytes_as_tokens)
    tokenizer.add_special_tokens({"additional_special_tokens": list(MARKS)})
    ids = dict(zip(MARKS, tokenizer.convert_tokens_to_ids(list(MARKS)), strict=True))
    text = {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 6000}
    text |= {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}}
    config = Qwen2VLConfig(
        text_config=text | {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "initializer_range": 0.3},
        vision_config={"depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2},
        vision_start_token_id=ids[MARKS[0]],
        image_token_id=ids[MARKS[1]],
        video_token_id=ids[MARKS[2]],
        vision_end_token_id=ids[MARKS[3]],
    )
    torch.manual_seed(0)
    model = Qwen2VLForConditionalGeneration(config)
    printable = tokenizer("".join(map(chr, range(33, 127))).replace("<", ""))["input_ids"]
    mute = torch.ones(len(tokenizer), dtype=torch.bool)
    mute[printable] = False
    with torch.no_grad():
        model.lm_head.weight[mute] = 0.0
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=56 * 56).save_pretrained(out)
    (out / "chat_template.jinja").write_text(TEMPLATE)
    return out


@pytest.fixture(scope="module")
def vlm(folder):
    return load_vlm(folder, device="cpu")


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def written(vlm, inputs):
    return vlm.processor.tokenizer.decode(inputs["input_ids"][0])


def fresh(vlm, conversation, count):
    """Greedy ids by full recomputation."""
    inputs = vlm.inputs(conversation)
    for _ in range(count):
        with torch.inference_mode():
            out = vlm.model(**inputs, use_cache=False)
        token = out.logits[0, -1].argmax().view(1, 1)
        inputs["input_ids"] = torch.cat([inputs["input_ids"], token], 1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        if "mm_token_type_ids" in inputs:
            none = torch.zeros_like(token)
            inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], none], 1)
    return vlm.processor.tokenizer.decode(inputs["input_ids"][0, -count:])


def test_an_answer_streams_and_is_what_the_model_says(vlm):
    chat = Talk(ProcessorChat(vlm))
    pieces = list(chat.say("What is this?", [RED], GREEDY))
    assert len(pieces) == 8
    second = "".join(chat.say("And this?", [BLUE], GREEDY))
    asked = type(chat.conversation)(chat.conversation.messages[:-1])
    assert second == fresh(vlm, asked, 8)
    assert [message.text for message in chat.conversation.messages[1::2]] == ["".join(pieces), second]


def test_the_tag_is_taught_and_the_picture_seen(vlm):
    chat = Talk(ProcessorChat(vlm))
    answers = {"".join(Talk(ProcessorChat(vlm)).say("What is this?", [image], GREEDY)) for image in (RED, BLUE)}
    assert len(answers) == 2
    text = written(vlm, vlm.inputs(chat.conversation.say("user", "What is this?", (RED,))))
    assert text.startswith(f"<|im_start|>system\n{PLANNING}<|im_end|>")
    assert text.count("<|image_pad|>") == 2  # 60x40 becomes 56x28
    assert text.endswith("<|vision_end|>What is this?<|im_end|>\n<|im_start|>assistant\n")


def test_a_seed_repeats_an_answer(vlm):
    def answer(seed):
        return "".join(Talk(ProcessorChat(vlm), system="").say("Hi", sampling=Sampling(1.5, 0.95, 20, seed)))

    assert answer(1) == answer(1)
    assert answer(1) != answer(2)


@pytest.mark.parametrize("pieces", [0, 1, 4])
def test_a_stopped_answer_closes_its_turn(vlm, pieces):
    chat, said = Talk(ProcessorChat(vlm), system=""), []
    for piece in chat.say("Hi", sampling=Sampling(0, 1.0, 4000), cancelled=lambda: len(said) >= pieces):
        said.append(piece)
    assert len(said) == pieces
    assert chat.conversation.messages[-1].text == "".join(said)


def test_a_stop_token_ends_the_answer_unseen(vlm):
    whole = "".join(Talk(ProcessorChat(vlm)).say("Hi", sampling=GREEDY))
    stop = vlm.processor.tokenizer(whole[3])["input_ids"]
    short = type(vlm)(**{**vars(vlm), "stop_ids": frozenset(stop)})
    assert "".join(Talk(ProcessorChat(short)).say("Hi", sampling=GREEDY)) == whole[: whole.index(whole[3])]


def test_the_oldest_turns_give_way_and_a_long_message_is_refused(vlm):
    small = type(vlm)(**{**vars(vlm), "context_length": 200})
    chat = Talk(ProcessorChat(small), system="")
    for number in range(5):
        list(chat.say(f"This is turn number {number}.", sampling=GREEDY))
    assert len(chat.conversation.messages) == 10
    with pytest.raises(UserError, match="the model reads at most 200"):
        list(chat.say("word " * 100))
    assert len(chat.conversation.messages) == 10


@pytest.mark.parametrize("template", [REFUSES_SYSTEM + TEMPLATE, DROPS_SYSTEM], ids=["refuses", "drops"])
def test_a_template_without_a_system_role_reads_it_in_the_first_message(copied, template):
    (copied / "chat_template.jinja").write_text(template)
    vlm = load_vlm(copied, device="cpu")
    text = written(vlm, vlm.inputs(Talk(ProcessorChat(vlm)).conversation.say("user", "Hi")))
    assert text == f"<|im_start|>user\n{PLANNING}\n\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_the_right_chat_is_opened(folder, tiny_mllm, tmp_path):
    assert type(open_planner(folder, device="cpu")()) is ProcessorChat
    save_published(tiny_mllm, tmp_path / "ours")
    assert type(open_planner(tmp_path / "ours", device="cpu")()) is Chat


def test_a_folder_that_lacks_something_is_told(copied):
    (copied / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="has no chat template"):
        load_vlm(copied, device="cpu")
    (copied / "chat_template.jinja").write_text(TEMPLATE)
    weights = load_file(copied / "model.safetensors")
    name = next(key for key in weights if key.endswith("norm.weight"))
    save_file({key: tensor for key, tensor in weights.items() if key != name}, copied / "model.safetensors")
    with pytest.raises(UserError, match="1 missing keys"):
        load_vlm(copied, device="cpu")
    (copied / "model.safetensors").write_bytes(b"no weights" * 9)
    with pytest.raises(UserError, match="cannot be opened"):
        load_vlm(copied, device="cpu")
    (copied / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="has no processor that can be opened"):
        load_vlm(copied, device="cpu")


@pytest.mark.parametrize("kind", ["qwen2", "unheard-of"])
def test_a_model_that_reads_no_pictures_is_told(copied, kind):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(
        json.dumps({"model_type": kind, "vocab_size": config["text_config"]["vocab_size"]})
    )
    with pytest.raises(UserError, match="copy"):
        load_vlm(copied, device="cpu")


OWN_CODE = {
    "config.json": ("AutoConfig", "AutoModelForImageTextToText", "AutoProcessor"),
    "processor_config.json": ("AutoProcessor",),
    "preprocessor_config.json": ("AutoImageProcessor", "AutoProcessor"),
    "tokenizer_config.json": ("AutoTokenizer", "AutoProcessor"),
    "video_preprocessor_config.json": ("AutoVideoProcessor",),
}


@pytest.fixture
def asked(monkeypatch):
    """The questions that were asked on the terminal; each is answered with yes."""
    questions = []
    monkeypatch.setattr("builtins.input", lambda *words: questions.append(words) or "y")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    return questions


def plant(folder, file, marker, **changes):
    """Code in a folder, and a config that asks for it."""
    (folder / "own.py").write_text(f"open({str(marker)!r}, 'w')\nclass Own: pass\n")
    said = json.loads((folder / file).read_text()) if (folder / file).is_file() else {}
    maps = {name: ["own.Own", "own.Own"] if name == "AutoTokenizer" else "own.Own" for name in OWN_CODE[file]}
    (folder / file).write_text(json.dumps(said | {"auto_map": maps} | changes))


@pytest.mark.parametrize("file", OWN_CODE)
@pytest.mark.parametrize("known", [True, False])
def test_code_in_a_folder_is_never_run_nor_asked_about(file, known, copied, tmp_path, asked):
    """Where the library knows the type itself, that is opened; otherwise one sentence says why not."""
    if known:
        changes = {}
    elif file == "tokenizer_config.json":
        changes = {"tokenizer_class": "Own"}
    else:
        changes = {"model_type": "own", "processor_class": "Own", "image_processor_type": "Own"}
    plant(copied, file, tmp_path / "ran", **changes)
    if not known and file == "config.json":
        with pytest.raises(UserError, match="asks to run code of its own, which is never done") as caught:
            open_planner(copied, device="cpu")
        assert "\n" not in str(caught.value)
    else:
        with contextlib.suppress(UserError):
            open_planner(copied, device="cpu")
    assert not (tmp_path / "ran").exists() and not asked and sys.stdin.read() == "y\n"


@pytest.mark.parametrize(
    "escape",
    [
        "{{ cycler.__init__.__globals__.os.system('touch RAN') }}",
        "{% for kind in ''.__class__.__mro__[1].__subclasses__() %}{{ kind.__name__ }}{% endfor %}",
    ],
)
def test_a_chat_template_reaches_nothing_but_its_messages(escape, copied, tmp_path):
    (copied / "chat_template.jinja").write_text((escape + TEMPLATE).replace("RAN", str(tmp_path / "ran")))
    with pytest.raises(UserError, match="the chat template of .* refuses: .*unsafe"):
        open_planner(copied, device="cpu")
    assert not (tmp_path / "ran").exists()
