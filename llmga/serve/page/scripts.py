"""The scripts of the page, which lie beside this file."""

from pathlib import Path

HERE = Path(__file__).parent


def script(name: str) -> str:
    """The source of a script."""
    return (HERE / name).read_text("utf-8")
