"""A model spread, offloaded or quantised is the same model."""

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from accelerate import infer_auto_device_map
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from PIL import Image
from torch import nn
from torch.nn.functional import cosine_similarity

from llmga.errors import UserError
from llmga.llava import checkpoints
from llmga.llava.chat import Chat, Sampling
from llmga.llava.conversation import Conversation
from llmga.llava.loading import Mllm, load_mllm
from llmga.llava.modeling import LlmgaForConditionalGeneration
from llmga.llava.placement import parse_max_memory, placement
from llmga.llava.published import PublishedConfig
from tests.talks import Talk

ROOT = Path(__file__).parents[1] / "fixtures/mllm"
FAMILIES = {
    name: ROOT / said["checkpoint"]
    for name, said in json.loads((ROOT / "manifest.json").read_text())["families"].items()
}
TOY = Path(__file__).parents[2] / "checkpoints/Inference/llmga-toy-mllm"
RED = Image.new("RGB", (64, 64), "red")
ASKED = Conversation().say("user", "Describe it.", (RED,))
GREEDY = Sampling(temperature=0, max_new_tokens=8)
BITS = {"load_4bit": Linear4bit, "load_8bit": Linear8bitLt}


@cache
def opened(folder: Path) -> Mllm:
    return load_mllm(folder, device="cpu", dtype=torch.float32)


@torch.inference_mode()
def logits(mllm: Mllm) -> torch.Tensor:
    ids = torch.tensor([mllm.encode(ASKED, open_turn=True).input_ids], device=mllm.device)
    out = mllm.model(input_ids=ids, pixel_values=mllm.pixel_values([RED]).to(mllm.device))
    return out.logits[0, :, : len(mllm.tokenizer)].float().cpu()


def two_turns(mllm: Mllm) -> list[str]:
    chat = Talk(Chat(mllm))
    return ["".join(chat.say(text, images, GREEDY)) for text, images in (("Describe it.", [RED]), ("And?", []))]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_half_on_disk_says_the_same(family, tmp_path):
    mine = opened(FAMILIES[family])
    size = sum(weight.nbytes for weight in mine.model.parameters())
    caps = {"cpu": int(size * 0.8), "disk": "1GB"}
    spread = load_mllm(
        FAMILIES[family], device="cpu", dtype=torch.float32, max_memory=caps, offload_folder=tmp_path / "off"
    )
    assert any(weight.is_meta for weight in spread.model.parameters())
    assert spread.device.type == "cpu"
    torch.testing.assert_close(logits(spread), logits(mine), atol=1e-6, rtol=0)
    assert two_turns(spread) == two_turns(mine)


@pytest.mark.parametrize("gpus", [2, 3, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_layer_is_torn_apart_when_several_gpus_share_a_model(family, gpus):
    """As the library spreads it, on GPUs that are only imagined."""
    folder = FAMILIES[family]
    published = checkpoints.read_json(folder, "config.json")
    many = published | {"num_hidden_layers": 9}
    with torch.device("meta"):
        model = LlmgaForConditionalGeneration(PublishedConfig.from_dict(many, folder).to_model_config())
    model.tie_weights()
    size = sum(weight.nbytes for weight in model.parameters())
    caps = dict.fromkeys(range(gpus), size * 13 // 10 // gpus)
    spread = infer_auto_device_map(model, max_memory=caps, no_split_module_classes=list(model._no_split_modules))
    assert len(set(spread.values())) == gpus
    layers = [f"model.language_model.layers.{index}" for index in range(many["num_hidden_layers"])]
    for whole in ("model.vision_tower", "model.multi_modal_projector", *layers):
        places = {place for name, place in spread.items() if name == whole or name.startswith(f"{whole}.")}
        places |= {place for name, place in spread.items() if whole.startswith(f"{name}.")}
        assert len(places) == 1, (whole, spread)
        assert not any(name.startswith(f"{whole}.") for name in spread), whole


@pytest.mark.parametrize("bits", BITS)
def test_a_quantised_model_computes_with_its_rounded_weights(bits):
    """Quantised are the text model's layers; tower, projector and output layer are not touched."""
    mine, found = opened(TOY), load_mllm(TOY, device="cpu", dtype=torch.float32, **{bits: True})
    parts = found.model.model
    linear = [layer for layer in parts.language_model.layers.modules() if isinstance(layer, nn.Linear)]
    assert linear and all(isinstance(layer, BITS[bits]) for layer in linear)
    for kept in (parts.vision_tower, parts.multi_modal_projector, found.model.lm_head):
        assert not any(isinstance(layer, (Linear4bit, Linear8bitLt)) for layer in kept.modules())
    pixels = mine.pixel_values([RED])
    with torch.inference_mode():
        seen, expected = (mllm.model.model.get_image_features(pixels).pooler_output[0] for mllm in (found, mine))
    assert torch.equal(seen, expected)
    near = cosine_similarity(logits(found), logits(mine), dim=-1).min()
    assert near > {"load_4bit": 0.9, "load_8bit": 0.99}[bits]
    assert two_turns(found)


@pytest.mark.parametrize("merge", [True, False])
def test_an_adapter_and_a_quantised_base(low_rank, merge):
    folder = low_rank.result
    found = load_mllm(folder, device="cpu", dtype=torch.float32, merge_lora=merge, load_8bit=True)
    assert any(isinstance(layer, Linear8bitLt) for layer in found.model.modules())
    expected = logits(load_mllm(folder, device="cpu", dtype=torch.float32))
    assert cosine_similarity(logits(found), expected, dim=-1).min() > 0.99


@pytest.mark.parametrize("bits", BITS)
def test_a_projector_with_new_tokens_and_a_quantised_base(low_rank, bits):
    folder, base = low_rank.projector, low_rank.base
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"mm_use_im_start_end": True}))
    found = load_mllm(folder, base, device="cpu", dtype=torch.float32, conv_mode="v1", **{bits: True})
    plain = load_mllm(folder, base, device="cpu", dtype=torch.float32, conv_mode="v1")
    assert any(isinstance(layer, BITS[bits]) for layer in found.model.modules())
    marks = found.tokenizer.convert_tokens_to_ids(["<im_start>", "<im_end>"])
    rows, expected = (mllm.model.get_input_embeddings().weight[marks] for mllm in (found, plain))
    assert torch.equal(rows, expected)
    assert logits(found).shape == logits(plain).shape


def test_an_offloaded_model_takes_no_adapter_apart(low_rank, tmp_path):
    spread = {"max_memory": {"cpu": "300KB", "disk": "1GB"}, "offload_folder": tmp_path / "off"}
    with pytest.raises(UserError, match="cannot be kept apart from a model that is offloaded"):
        load_mllm(low_rank.result, device="cpu", dtype=torch.float32, merge_lora=False, **spread)
    merged = load_mllm(low_rank.result, device="cpu", dtype=torch.float32, **spread)
    expected = logits(load_mllm(low_rank.result, device="cpu", dtype=torch.float32))
    torch.testing.assert_close(logits(merged), expected, atol=1e-6, rtol=0)


def test_attention_written_out_is_the_same():
    folder = next(iter(FAMILIES.values()))
    eager = load_mllm(folder, device="cpu", dtype=torch.float32, attention="eager")
    assert eager.model.config.text_config._attn_implementation == "eager"
    assert opened(folder).model.config.text_config._attn_implementation == "sdpa"
    torch.testing.assert_close(logits(eager), logits(opened(folder)), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"attention": "flash_attention_2"}, "runs on a CUDA GPU in half precision"),
        (
            {"attention": "flash_attention"},
            "unknown attention implementation 'flash_attention', did you mean 'flash_attention_2'",
        ),
        ({"num_gpus": 2}, "--num-gpus 2 was asked for, but 0 can be used on device 'cpu'"),
        ({"num_gpus": 0}, "--num-gpus 0 is out of range"),
        ({"load_4bit": True, "load_8bit": True}, "exclude each other"),
        ({"device_map": "everywhere"}, "device_map 'everywhere'"),
        ({"max_memory": {"cpu": "1KB"}}, "give --offload-folder"),
    ],
)
def test_what_cannot_be_is_one_sentence(asked, told):
    with pytest.raises(UserError, match=told) as caught:
        load_mllm(next(iter(FAMILIES.values())), device="cpu", **asked)
    assert "\n" not in str(caught.value)


def test_flash_attention_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setattr("transformers.utils.is_flash_attn_2_available", lambda: False)
    monkeypatch.setattr("llmga.llava.placement.pick_device", lambda name: torch.device("cuda"))
    with pytest.raises(UserError, match="needs the package flash-attn, which is not installed; use sdpa"):
        placement(device="cuda", dtype="fp16", attention="flash_attention_2")


def test_caps_are_read():
    assert parse_max_memory("0=20GiB, cpu=1.5GB,disk=99GB") == {0: "20GiB", "cpu": "1.5GB", "disk": "99GB"}


@pytest.mark.parametrize("text", ["", "20GiB", "0=", "0=20", "tpu=20GB", "0=xGB", "0=1GB,,"])
def test_caps_that_are_not_understood_are_told(text):
    with pytest.raises(UserError, match="use entries such as 0=20GiB,cpu=60GiB"):
        parse_max_memory(text)


@pytest.mark.gpu
@pytest.mark.parametrize("asked", [{"load_4bit": True}, {"load_8bit": True}, {"device_map": "auto"}, {}])
def test_on_a_gpu_the_answer_stays_close(asked):
    before = torch.cuda.memory_allocated()
    found = load_mllm(TOY, device="cuda", dtype="fp16", **asked)
    if not asked:  # what the dry run gives: every weight on the device, in half precision, and nothing beside them
        assert {(weight.device.type, weight.dtype) for weight in found.model.parameters()} == {("cuda", torch.float16)}
        size = sum(weight.nbytes for weight in found.model.parameters())
        assert torch.cuda.memory_allocated() - before == pytest.approx(size, rel=0.1)
    assert cosine_similarity(logits(found), logits(opened(TOY)), dim=-1).min() > 0.9
    assert two_turns(found)


@pytest.mark.gpu
def test_several_gpus_share_a_model():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    found = load_mllm(TOY, device="cuda", dtype="fp32", num_gpus=2)
    assert len(set(found.model.hf_device_map.values())) == 2
    torch.testing.assert_close(logits(found), logits(opened(TOY)), atol=1e-3, rtol=0)
