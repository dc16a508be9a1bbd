"""Published names have their places, and without a network that is what is said."""

from pathlib import Path

import huggingface_hub.constants
import pytest

from llmga.download import PUBLISHED, main, place
from llmga.errors import UserError
from llmga.llava.backbones import BACKBONES
from llmga.llava.places import find_checkpoint
from llmga.llava.templates import conversation_mode


def test_a_name_goes_where_the_command_lines_look(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in PUBLISHED:
        _, folder = place(name)
        folder.mkdir(parents=True)
        assert find_checkpoint(name) == folder


def test_any_name_of_the_hub_is_taken():
    assert place("me/mine") == ("me/mine", Path("checkpoints/Inference/mine"))
    assert place("Qwen/Qwen2-7B-Instruct")[1] == Path("checkpoints/Training/Qwen2-7B-Instruct")
    with pytest.raises(UserError, match="unknown published checkpoint 'llmga-Qwen2-0.5B-full', did you mean"):
        place("llmga-Qwen2-0.5B-full")


def test_every_published_language_model_has_a_conversation_mode():
    ours = [name for name, (hub_id, _) in PUBLISHED.items() if hub_id.startswith("binxia/")]
    assert len(ours) >= len({row.text_type for row in BACKBONES.values()})
    assert "llava_v0" not in {conversation_mode(name) for name in ours}


def test_without_a_network_one_sentence_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert main(["llmga-Qwen2-0.5B-full-finetune", "--root", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: binxia/llmga-Qwen2-0.5B-full-finetune cannot be fetched, there is no network")
    assert said.count("\n") == 1


def test_a_wrong_name_is_told_before_anything_is_fetched(tmp_path, capsys):
    assert main(["clip-vit-large-patch14", "nothing", "--root", str(tmp_path)]) == 2
    assert "unknown published checkpoint 'nothing'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_list_names_all(capsys):
    assert main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(PUBLISHED)
