"""Who may import whom, read from the source, so that nothing has to be installed or run."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "llmga").rglob("*.py"))
# The floors of the house, the lowest first; what is not named here is a leaf right under llmga/.
FLOORS = {
    "training": 1,
    "llava": 2,
    "diffusers": 2,
    "diffrir": 2,
    "assistant": 3,
    "serve": 4,
    "evaluation": 4,
    "toyworld": 4,
    "__init__": 5,  # the public face, which imports when it is asked
    "__main__": 5,
}


def absolute_name(node: ast.ImportFrom, package: list[str]) -> str:
    """The dotted name behind `from ..x import y`, seen from `package` (the parts of the importing package)."""
    base = package[: len(package) - node.level + 1] if node.level else []
    return ".".join([*base, *([node.module] if node.module else [])])


def imports(source: str, package: list[str]) -> Iterator[str]:
    """Every dotted name that a source imports, at any depth; `from a import b` gives `a.b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute_name(node, package)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def area(parts: list[str]) -> str:
    """`llava`, `serve`, …; the shared leaves are all `leaf`."""
    return parts[1] if len(parts) > 1 and parts[1] in FLOORS else "leaf"


def allowed(importer: str, imported: str) -> bool:
    """Whether a room may import another: those on lower floors; on the top floor, its neighbours other than `serve`."""
    own, other = FLOORS.get(importer, 0), FLOORS.get(imported, 0)
    return importer == imported or other < own or (own == other == 4 and imported != "serve")


def complaints(source: str, parts: list[str]) -> list[str]:
    """The imports of a module (`parts` is its dotted name, split) that go against the direction."""
    found = [name.split(".") for name in imports(source, parts[:-1])]
    own = [name for name in found if name[0] == "llmga"]
    return [".".join(name) for name in own if not allowed(area(parts), area(name))]


def parts_of(path: Path) -> list[str]:
    return list(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_downwards(path: Path) -> None:
    assert complaints(path.read_text("utf-8"), parts_of(path)) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_does_not_need_torchvision(path: Path) -> None:
    found = {name.split(".")[0] for name in imports(path.read_text("utf-8"), parts_of(path)[:-1])}
    assert "torchvision" not in found


@pytest.mark.parametrize(
    ("source", "module", "count"),
    [
        ("from llmga.diffusers.pipelines import GENERATORS", "llmga.llava.chat", 1),
        ("def f():\n    import llmga.llava.chat", "llmga.diffusers.families", 1),
        ("from llmga import llava", "llmga.images", 1),
        ("from ..serve import flow", "llmga.evaluation.toyworld", 1),
        ("from llmga.serve.args import Parser", "llmga.toyworld.pretrain", 1),
        ("from llmga.assistant.assistant import Assistant", "llmga.toyworld.pretrain", 0),
        ("from llmga.serve.args import Parser", "llmga.assistant.loading", 1),
        ("from llmga.llava.chat import Chat", "llmga.training.config", 1),
        ("from llmga.training import config", "llmga.errors", 1),
        (
            "from llmga.errors import UserError\nfrom diffusers import UNet2DConditionModel",
            "llmga.diffusers.families",
            0,
        ),
        ("from ..images import open_image\nfrom . import flow", "llmga.serve.terminal.cli", 0),
        ("from llmga.llava.chat import Chat", "llmga.serve.terminal.cli", 0),
    ],
)
def test_the_rule_tells_right_from_wrong(source: str, module: str, count: int) -> None:
    assert len(complaints(source, module.split("."))) == count
