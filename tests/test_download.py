"""Published names have their places, and without a network that is what is said."""

import socket
import time
from pathlib import Path

import huggingface_hub.constants
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from llmga.diffusers.checkpoints import find_checkpoint as find_painter
from llmga.download import PUBLISHED, download, main, place
from llmga.errors import UserError
from llmga.llava.backbones import BACKBONES
from llmga.llava.paths import find_checkpoint, model_name_from_path
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


@pytest.fixture
def deaf_hub(monkeypatch):
    """A hub that takes the call and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield server


@pytest.mark.parametrize("closed", [False, True])
def test_a_hub_that_does_not_answer_is_not_waited_for(closed, deaf_hub, tmp_path, monkeypatch):
    monkeypatch.setattr("llmga.download.PATIENCE", 0.5)
    if closed:
        deaf_hub.close()
    began = time.monotonic()
    with pytest.raises(UserError, match="me/mine cannot be fetched, there is no network"):
        download("me/mine", tmp_path)
    assert time.monotonic() - began < 20
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty folder to work in, an empty cache, and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def test_an_id_of_the_hub_is_looked_up_on_this_machine_first(offline, tmp_path):
    """Below checkpoints/, then in the library's cache; only then the network is asked."""
    with pytest.raises(UserError, match="me/mine cannot be fetched, there is no network"):
        find_checkpoint("me/mine")
    repository = tmp_path / "cache/models--me--mine"
    snapshot = repository / "snapshots/0123456789012345678901234567890123456789"
    for file, text in ((repository / "refs/main", snapshot.name), (snapshot / "config.json", "{}")):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert find_checkpoint("me/mine") == snapshot
    qwen2 = snapshot.parents[2] / "models--me--llmga-Qwen2/snapshots/0"
    assert conversation_mode(model_name_from_path(qwen2)) == "qwen_2"
    below = Path("checkpoints/Inference/mine")
    below.mkdir(parents=True)
    assert find_checkpoint("me/mine") == snapshot  # an empty folder is a download that broke off
    (below / "config.json").write_text("{}")
    assert find_checkpoint("me/mine") == below


def test_an_id_is_fetched_into_the_tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: None)

    def fetch(hub_id, local_dir=None, local_files_only=False, ignore_patterns=None):
        if local_files_only:
            raise LocalEntryNotFoundError("not cached")
        local_dir.mkdir(parents=True)
        (local_dir / "config.json").write_text("{}")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert find_checkpoint("me/mine") == Path("checkpoints/Inference/mine")
    assert Path("checkpoints/Inference/mine/config.json").is_file()


@pytest.mark.parametrize("name", ["nothing", "./me/mine", "/me/mine", "a/b/c", "me/", "~/mine"])
def test_what_is_no_id_is_never_fetched(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for find in (find_checkpoint, find_painter):
        with pytest.raises(UserError, match="does not exist|is no local folder") as told:
            find(name)
        assert "\n" not in str(told.value)


def test_a_painter_is_looked_up_the_same_way(offline):
    with pytest.raises(UserError, match="me/mine cannot be fetched, there is no network"):
        find_painter("me/mine")
    below = Path("checkpoints/Training/mine")
    below.mkdir(parents=True)
    (below / "model_index.json").write_text("{}")
    assert find_painter("me/mine") == below


def test_a_wrong_name_is_told_before_anything_is_fetched(tmp_path, capsys):
    assert main(["clip-vit-large-patch14", "nothing", "--root", str(tmp_path)]) == 2
    assert "unknown published checkpoint 'nothing'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_list_names_all(capsys):
    assert main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(PUBLISHED)
