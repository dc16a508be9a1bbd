"""A language model's folder that asks to run code of its own: nothing is run, nothing is asked."""

import contextlib
import io
import json
import shutil
import sys
from pathlib import Path

import pytest

from llmga.errors import UserError
from llmga.llava.empty import load_empty_mllm, new_empty_mllm
from llmga.llava.loading import load_mllm, new_mllm, save_published

AUTO = {name: "own.Own" for name in ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoImageProcessor")}
AUTO |= {"AutoTokenizer": ["own.Own", "own.Own"]}


@pytest.fixture
def ran(tmp_path, monkeypatch) -> Path:
    """A file that is there once somebody's code ran, or once a question was asked."""
    marker = tmp_path / "ran"
    monkeypatch.setattr("builtins.input", lambda *words: marker.touch() or "y")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    return marker


def plant(folder: Path, marker: Path, *files: str, **changes: object) -> Path:
    """Code in a folder, and configs that ask for it."""
    code = f"open({str(marker)!r}, 'w')\nclass Own: pass\n"
    (folder / "own.py").write_text(code)
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate/generate.py").write_text(code)
    for file in files:
        said = json.loads((folder / file).read_text()) if (folder / file).is_file() else {}
        (folder / file).write_text(json.dumps(said | {"auto_map": AUTO} | changes))
    return folder


def untouched(marker: Path) -> bool:
    return not marker.exists() and sys.stdin.read() == "y\n"


@pytest.fixture
def parts(base_folders, tmp_path) -> tuple[Path, Path]:
    """Writable copies of a text model and a tower."""
    return tuple(shutil.copytree(folder, tmp_path / folder.name) for folder in base_folders)


CONFIGS = ("config.json", "tokenizer_config.json", "generation_config.json")


def test_a_text_model_and_a_tower_of_known_types_open_without_their_code(parts, ran):
    text, tower = parts
    plant(text, ran, *CONFIGS)
    plant(tower, ran, "config.json", "preprocessor_config.json")
    new_mllm(text, tower, conv_mode="qwen_2")
    new_empty_mllm(text, tower, projector_type="linear", select_layer=-2, conv_mode="qwen_2")
    assert untouched(ran)


def test_parts_of_types_that_only_their_code_knows_are_refused(parts, ran):
    text, tower = parts
    plant(text, ran, "config.json", model_type="own")
    with pytest.raises(UserError, match="'own' has no row"):
        new_mllm(text, tower, conv_mode="qwen_2")
    shutil.rmtree(text)
    plant(tower, ran, "config.json", model_type="own")
    with pytest.raises(UserError, match="'own'"):
        new_mllm(tower, tower, conv_mode="qwen_2")
    assert untouched(ran)


def test_a_tokenizer_of_its_own_class_is_refused_in_a_sentence(parts, ran):
    text, tower = parts
    plant(text, ran, "tokenizer_config.json", tokenizer_class="Own")
    with contextlib.suppress(UserError):  # a class that nobody knows may also be passed over for the config's
        new_mllm(text, tower, conv_mode="qwen_2")
    assert untouched(ran)


def test_a_checkpoint_of_ours_opens_without_its_code(tiny_mllm, ran, tmp_path):
    save_published(tiny_mllm, tmp_path / "saved")
    plant(tmp_path / "saved", ran, *CONFIGS)
    plant(tmp_path / "saved/vision_tower", ran, "config.json", "preprocessor_config.json")
    load_mllm(tmp_path / "saved", device="cpu")
    load_empty_mllm(tmp_path / "saved", conv_mode="qwen_2")
    assert untouched(ran)


@pytest.mark.parametrize(
    "said",
    [
        {"auto_mapping": {"base_model_class": "Own", "parent_library": "own"}},
        {"megatron_config": {"x": 1}, "megatron_core": "own"},
        {"runtime_config": {"ephemeral_gpu_offload": "own"}, "eva_config": {"own": "own"}},
    ],
    ids=lambda said: next(iter(said)),
)
def test_an_adapter_names_no_module_to_import(said, low_rank, ran, monkeypatch):
    plant(low_rank.result, ran)
    monkeypatch.syspath_prepend(low_rank.result)
    file = low_rank.result / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | said))
    if "megatron_config" in said:
        with pytest.raises(UserError, match="made with 'megatron_config', which is not supported; LoRA and DoRA are"):
            load_mllm(low_rank.result, low_rank.base, device="cpu")
    else:
        load_mllm(low_rank.result, low_rank.base, device="cpu")
    assert untouched(ran)


def test_an_adapter_of_another_form_is_named(low_rank):
    file = low_rank.result / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"peft_type": "IA3"}))
    with pytest.raises(UserError, match="is of type 'IA3', which is not supported"):
        load_mllm(low_rank.result, low_rank.base, device="cpu")
