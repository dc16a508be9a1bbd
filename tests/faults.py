"""What may have happened to a file where a picture should be."""

from pathlib import Path


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def folder_of_that_name(path: Path) -> None:
    path.unlink()
    path.mkdir()


PICTURE_FAULTS = {
    "truncated": truncated,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("this is no picture"),
    "gone": Path.unlink,
    "a folder": folder_of_that_name,
}
