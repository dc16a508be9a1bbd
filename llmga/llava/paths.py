"""Where checkpoints lie, and what their folders' names tell."""

from pathlib import Path

from llmga.download import cached, download, is_hub_id
from llmga.errors import UserError
from llmga.model_directories import hint, in_model_directories, places


def find_checkpoint(path: str | Path) -> Path:
    """The folder that a path, a bare name below checkpoints/ or an id of the hub means.

    An id is looked up by its last part below checkpoints/, then in the Hugging Face cache, and only then fetched into
    checkpoints/.

    Raises:
        UserError: when it is nowhere, or cannot be fetched.
    """
    name = str(path)
    named = list(places(path))
    for folder in (*named, *_downloaded(name)):
        if folder.is_dir():
            return _checked(folder)
    if named[0].suffix == ".gguf" and named[0].exists():
        raise _is_gguf(named[0])
    if named[0].exists():
        raise UserError(f"{name!r} is a file; a checkpoint is a folder with a config.json.")
    if is_hub_id(name):
        found = cached(name)
        return found if found is not None and (found / "config.json").is_file() else download(name)
    raise UserError(
        f"checkpoint folder {name!r} does not exist, neither as a path nor under checkpoints/Inference or "
        f"checkpoints/Training{hint(name)} python -m llmga.download --list shows what can be fetched."
    )


def _checked(folder: Path) -> Path:
    """Raises: UserError for a diffusion model, and for what another program runs or belongs to another folder."""
    if (folder / "config.json").is_file():
        return folder
    if (folder / "model_index.json").is_file():
        raise UserError(f"{str(folder)!r} is a diffusion model, not a language model; give it as --sdmodel_id.")
    if ggufs := sorted(folder.glob("*.gguf"), key=lambda file: "mmproj" in file.name):
        raise _is_gguf(ggufs[0])
    if (folder / "adapter_config.json").is_file():
        raise UserError(
            f"{str(folder)!r} is a low-rank adapter without its model; add it to the model with peft "
            "(merge_and_unload), and give the folder that this saves."
        )
    return folder


def _is_gguf(file: Path) -> UserError:
    return UserError(
        f"{str(file)!r} is a GGUF model, which llama.cpp runs: start llama-server -m {file.name}, with --mmproj FILE "
        "so that it sees, and give --mllm-url http://localhost:8080/v1."
    )


def _downloaded(name: str) -> list[Path]:
    """Where `llmga.download` puts an id of the hub; a folder without config.json is a download that broke off."""
    places = in_model_directories(name.rpartition("/")[2]) if is_hub_id(name) else ()
    return [folder for folder in places if (folder / "config.json").is_file()]


def model_name_from_path(folder: Path) -> str:
    """What the name rule reads: of an intermediate save its run's folder, too, in the hub's cache the id."""
    folder = folder.resolve()
    if folder.parent.name == "snapshots":
        return folder.parent.parent.name
    return f"{folder.parent.name}_{folder.name}" if folder.name.startswith("checkpoint-") else folder.name
