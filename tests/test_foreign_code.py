"""No call of a library may run code that lies in a model's or a data set's folder, nor ask whether it may."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [file for place in ("llmga", "benchmarks", "examples", "scripts") for file in (ROOT / place).rglob("*.py")]
OPENING = {"from_pretrained", "load_dataset", "from_single_file"}


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def opening_calls(source: str) -> list[ast.Call]:
    """Calls that read somebody's folder by its own description; `DiffusionPipeline.download` is one, too."""
    nodes = list(ast.walk(ast.parse(source)))
    by_name = {"DiffusionPipeline.download"}
    for node in nodes:  # a function of transformers; with us a pipeline is what paints
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("transformers"):
            by_name |= {alias.asname or alias.name for alias in node.names if alias.name == "pipeline"}
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    return [call for call in calls if name_of(call) in OPENING or ast.unparse(call.func) in by_name]


def refuses(call: ast.Call) -> bool:
    said = {word.arg: word.value for word in call.keywords}
    return isinstance(said.get("trust_remote_code"), ast.Constant) and said["trust_remote_code"].value is False


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_opening_refuses_foreign_code(file):
    for call in opening_calls(file.read_text(encoding="utf-8")):
        assert refuses(call), f"{file}:{call.lineno} lacks trust_remote_code=False"


def test_the_check_sees_what_it_is_for():
    calls = opening_calls("AutoConfig.from_pretrained(x)\nload_dataset('json', trust_remote_code=False)\nopen(x)\n")
    assert [refuses(call) for call in calls] == [False, True]
    assert len(opening_calls("from transformers import pipeline\npipeline('chat', x)\n")) == 1
    assert not opening_calls("def f(pipeline):\n    pipeline('a dog')\n")
    seen = [call for file in SOURCES for call in opening_calls(file.read_text(encoding="utf-8"))]
    assert len(seen) > 10
