"""Folders of vision-language models as hubs, trainers and quantisers leave them: opened, or told what they are."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig, Qwen2Config, Qwen2ForCausalLM

from llmga.errors import UserError
from llmga.llava.conversation import Conversation
from llmga.llava.loading import open_planner
from llmga.llava.planner import lacks_picture
from llmga.llava.processor_chat import ProcessorChat
from llmga.llava.sampling import Sampling
from llmga.llava.vlm import load_vlm
from tests.llava.conftest import byte_tokenizer
from tests.llava.vlms import templates
from tests.llava.vlms.families import FAMILIES, QWEN35
from tests.talks import Talk

GREEDY = Sampling(temperature=0, max_new_tokens=5)
HELLO = Conversation(system="").say("user", "Hi")


@pytest.fixture
def folder(qwen, tmp_path) -> Path:
    return shutil.copytree(qwen, tmp_path / "model")


def change(file: Path, **changes: object) -> None:
    said = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(said | changes))


@pytest.mark.parametrize(
    "place", ["chat_template.json", "tokenizer_config.json", "a list", "additional_chat_templates"]
)
def test_a_chat_template_is_found_wherever_it_was_saved(folder, place):
    template = (folder / "chat_template.jinja").read_text()
    if place == "additional_chat_templates":
        (folder / place).mkdir()
        (folder / place / "tool_use.jinja").write_text("{{ 'tools' }}")
    else:
        (folder / "chat_template.jinja").unlink()
        named = [{"name": "default", "template": template}, {"name": "tool_use", "template": "tools"}]
        file = "tokenizer_config.json" if place == "a list" else place
        change(folder / file, chat_template=named if place == "a list" else template)
    opened = load_vlm(folder, device="cpu").opened(HELLO)
    assert opened.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")


def test_the_end_of_a_turn_ends_an_answer_although_no_file_names_it(tmp_path):
    """Gemma's folders call <eos> the end; its turns end with another token."""
    folder = FAMILIES["gemma-3"].save(tmp_path / "gemma")
    (folder / "generation_config.json").unlink()
    vlm = load_vlm(folder, device="cpu")
    ends = [vlm.tokenizer.convert_tokens_to_ids(token) for token in ("<eos>", "<end_of_turn>")]
    assert vlm.stop_ids == frozenset(ends)


def test_a_question_may_be_what_ends_an_answer(tmp_path):
    """GLM ends its turn with the token of the next one."""
    vlm = load_vlm(FAMILIES["glm-4.1v"].save(tmp_path / "glm"), device="cpu")
    assert vlm.tokenizer.convert_tokens_to_ids("<|user|>") in vlm.stop_ids
    assert vlm.opened(HELLO.say("assistant", "Hello.").say("user", "So?")).count("Hello.<|user|>") == 1


def test_a_model_of_layers_without_a_cache_for_each_token_reads_everything_anew(tmp_path, pictures):
    """Qwen3.5's linear attention: what it has read cannot be taken back."""
    vlm = load_vlm(QWEN35.save(tmp_path / "qwen"), device="cpu")
    chat = Talk(ProcessorChat(vlm), system="")
    for image in pictures[:2]:
        list(chat.say("What is this?", [image], GREEDY))
    asked = replace(chat.conversation, messages=chat.conversation.messages[:-1])
    with torch.inference_mode():
        ids = vlm.model.generate(**vlm.inputs(asked), max_new_tokens=5, do_sample=False)[0, -5:]
    assert chat.conversation.messages[-1].text == vlm.tokenizer.decode(ids)
    list(chat.repair(Sampling(1.0, seed=3, max_new_tokens=60)))
    assert not lacks_picture(chat.conversation.messages[-1].text)


def test_a_folders_way_of_choosing_words_does_not_stand_in_the_way(folder):
    """Gemma names a kind of cache, Qwen a temperature; a penalty belongs to the weights."""
    names = {"cache_implementation": "hybrid", "temperature": 0.1, "top_k": 1, "do_sample": True, "min_new_tokens": 3}
    change(folder / "generation_config.json", **names, repetition_penalty=1.05)
    vlm = load_vlm(folder, device="cpu")
    assert len("".join(Talk(ProcessorChat(vlm), system="").say("Hi", sampling=GREEDY))) == 5
    assert vlm.model.generation_config.repetition_penalty == 1.05


def test_a_model_that_was_quantised_by_bitsandbytes_opens(qwen, tmp_path):
    """As unsloth's …-bnb-4bit folders are saved."""
    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", llm_int8_skip_modules=["lm_head"])
    quantised = AutoModelForImageTextToText.from_pretrained(qwen, quantization_config=settings, device_map={"": "cpu"})
    folder = shutil.copytree(qwen, tmp_path / "bnb", ignore=shutil.ignore_patterns("*.safetensors"))
    quantised.save_pretrained(folder)
    vlm = load_vlm(folder, device="cpu")
    inputs = vlm.inputs(HELLO)
    assert vlm.model.config.quantization_config.load_in_4bit
    assert (vlm.model(**inputs).logits - quantised.eval()(**inputs).logits).abs().max() < 1e-4


@pytest.mark.parametrize("family", ["qwen2.5-vl", "smolvlm"])
def test_only_the_text_model_is_quantised(tmp_path, family):
    """However its other parts are called."""
    vlm = load_vlm(FAMILIES[family].save(tmp_path / "model"), device="cpu", load_4bit=True)
    small = {name for name, part in vlm.model.named_modules() if type(part).__name__ == "Linear4bit"}
    decoder = {f"{name}.{inner}" for name, part in vlm.model.named_modules() if part is vlm.model.get_decoder()
               for inner, layer in part.named_modules() if isinstance(layer, torch.nn.Linear)}  # fmt: skip
    assert small == decoder


QUANTISED = {
    "awq": {"bits": 4, "group_size": 128, "version": "gemm", "zero_point": True},
    "gptq": {"bits": 4, "group_size": 128, "desc_act": False},
    "compressed-tensors": {"format": "pack-quantized", "config_groups": {}},
}


@pytest.mark.parametrize("method", QUANTISED)
def test_a_quantised_folder_is_named_with_the_way_out(folder, method):
    change(folder / "config.json", quantization_config={"quant_method": method} | QUANTISED[method])
    with pytest.raises(UserError, match=f"is quantised by {method} and cannot be opened .*--load-4bit.*--mllm-url"):
        open_planner(folder, device="cpu")


def test_what_other_programs_run_is_named_with_the_way_out(folder, tmp_path):
    change(folder / "config.json", quantization={"group_size": 64, "bits": 4})
    with pytest.raises(UserError, match="is quantised for MLX, .* mlx-vlm and give --mllm-url"):
        open_planner(folder, device="cpu")
    for name in ("mmproj-Q8_0.gguf", "qwen-Q4_K_M.gguf"):
        (tmp_path / "ggufs").mkdir(exist_ok=True)
        (tmp_path / "ggufs" / name).write_bytes(b"GGUF")
    for path in (tmp_path / "ggufs", tmp_path / "ggufs/qwen-Q4_K_M.gguf"):
        with pytest.raises(UserError, match="is a GGUF model, which llama.cpp runs: start llama-server -m qwen-Q4"):
            open_planner(path, device="cpu")


def test_a_model_of_words_only_is_told_from_one_that_sees(tmp_path):
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    Qwen2ForCausalLM(Qwen2Config(vocab_size=300, num_key_value_heads=2, **sizes)).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="of type 'qwen2', reads words only .*--mllm-url, or teach it to see"):
        open_planner(tmp_path, device="cpu")


def test_code_of_a_folders_own_is_never_run_and_the_way_out_is_told(folder):
    """InternVL's first form, which the library does not know."""
    own = {"AutoConfig": "configuration_internvl_chat.InternVLChatConfig", "AutoModel": "modeling.InternVLChatModel"}
    change(folder / "config.json", model_type="internvl_chat", auto_map=own)
    with pytest.raises(UserError, match="asks to run code of its own, which is never done.*mostly called …-hf"):
        open_planner(folder, device="cpu")


def test_a_model_that_does_not_chat_is_named(tmp_path):
    with pytest.raises(UserError, match="of type 'paligemma', has no chat template, so it was not taught to talk"):
        open_planner(FAMILIES["paligemma"].save(tmp_path), device="cpu")


def test_an_adapter_without_its_model_is_named(folder):
    (folder / "config.json").unlink()
    change(folder / "adapter_config.json", base_model_name_or_path="Qwen/Qwen2.5-VL-7B-Instruct", peft_type="LORA")
    with pytest.raises(UserError, match="is a low-rank adapter without its model; .*merge_and_unload"):
        open_planner(folder, device="cpu")


@pytest.fixture
def thinker(folder):
    (folder / "chat_template.jinja").write_text(templates.QWEN3_VL_THINKING)
    return load_vlm(folder, device="cpu")


def test_a_thought_that_the_template_opens_is_not_said(thinker, monkeypatch):
    said = thinker.tokenizer("a <gen_image> x </gen_image> b</think>\n\nYes.", add_special_tokens=False)["input_ids"]
    script = iter([*said, thinker.tokenizer.eos_token_id])
    monkeypatch.setattr(Sampling, "choose", lambda self, logits, random: next(script))
    assert "".join(Talk(ProcessorChat(thinker), system="").say("Hi")) == "Yes."


@pytest.mark.parametrize("opened", [True, False])
def test_a_thinking_model_is_steered_after_its_thought(thinker, folder, opened, monkeypatch):
    """A tag within a thought asks for nothing; a thought that does not end is ended."""
    if not opened:
        (folder / "chat_template.jinja").write_text(templates.QWEN3_VL)
    vlm = load_vlm(folder, device="cpu")
    thought = ("" if opened else "<think>") + "so <gen_image> x </gen_image> "
    script, free = vlm.tokenizer(thought, add_special_tokens=False)["input_ids"], Sampling.choose
    monkeypatch.setattr(
        Sampling, "choose", lambda self, logits, random: script.pop(0) if script else free(self, logits, random)
    )
    chat = Talk(ProcessorChat(vlm), system="")
    answer = "".join(chat.say("Hi", sampling=Sampling(1.0, seed=3, max_new_tokens=200, picture="always")))
    assert not lacks_picture(answer) and "so " not in answer and "<think>" not in answer
    list(chat.say("More.", sampling=GREEDY))
    list(chat.repair(Sampling(1.0, seed=3, max_new_tokens=60)))
    assert not lacks_picture(chat.conversation.messages[-1].text)
