"""Where checkpoints lie, and what their folders' names tell."""

from pathlib import Path

from llmga.errors import UserError

ROOTS = (Path("checkpoints/Inference"), Path("checkpoints/Training"))


def find_checkpoint(path: str | Path) -> Path:
    """The folder that a path or a bare name below checkpoints/ means.

    Raises: UserError; names of a hub are not fetched.
    """
    for folder in (Path(path), *(root / path for root in ROOTS)):
        if folder.is_dir():
            return folder
    raise UserError(
        f"checkpoint folder {str(path)!r} does not exist, neither as a path nor under checkpoints/Inference or "
        f"checkpoints/Training; hub ids are not fetched here: python -m llmga.download {path}."
    )


def speaking_name(folder: Path) -> str:
    """What the name rule reads; an intermediate save goes by its run's folder, too."""
    folder = folder.resolve()
    return f"{folder.parent.name}_{folder.name}" if folder.name.startswith("checkpoint-") else folder.name
