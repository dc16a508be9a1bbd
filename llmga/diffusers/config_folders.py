"""Folders that hold a pipeline's configurations and tokenizers but no weights: diffusers opens its parts from such.

They lie in the system's place for passing files, and go when the process does.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

_MADE: dict[Hashable, tempfile.TemporaryDirectory[str]] = {}


def config_folder(key: Hashable, write: Callable[[Path], None]) -> Path:
    """The folder that was made for a key, or a new one.

    Args:
        key: what the folder follows from.
        write: puts what belongs there into an empty folder.
    """
    if key not in _MADE:
        made = tempfile.TemporaryDirectory(prefix="llmga-configs-", ignore_cleanup_errors=True)
        write(Path(made.name))
        _MADE[key] = made
    return Path(_MADE[key].name)


def is_config_folder(folder: Path) -> bool:
    """Whether a folder was made here, and so has no weights."""
    return any(Path(made.name) == folder for made in _MADE.values())


def write_json(folder: Path, configurations: Mapping[str, Mapping[str, Any]]) -> None:
    """Write JSON files by their paths below a folder."""
    for name, content in configurations.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def copy_configurations(source: Path, folder: Path) -> None:
    """Copy all of a diffusers folder that is small: everything but weights, their indices and pictures."""
    for file in sorted(source.glob("*.json")) + sorted(source.glob("*/*")):
        if file.is_file() and file.suffix in (".json", ".txt", ".model") and ".index." not in file.name:
            (folder / file.relative_to(source)).parent.mkdir(exist_ok=True)
            shutil.copyfile(file, folder / file.relative_to(source))
