"""The page of weights says what the tables say."""

import ast
import re
from pathlib import Path

import pytest

from llmga.diffusers.file_kinds import recognise
from tests.serve.weight_kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/formats/weights.md").read_text("utf-8")
HEAD = "| file | said to be | what opens it |\n|---|---|---|\n"


def row(name: str) -> str:
    kind = recognise(*KINDS[name][:2])
    return f"| {name} | {kind.whole} | {kind.opens} |"


def test_every_kind_of_file_has_its_line():
    table = HEAD + "\n".join(map(row, KINDS)) + "\n"
    assert table in PAGE, f"docs/formats/weights.md should hold:\n{table}"


@pytest.mark.parametrize("test", re.findall(r"`(tests/[\w/]+\.py::\w+)`", PAGE))
def test_every_claim_of_exactness_has_its_test(test):
    file, _, name = test.partition("::")
    names = {node.name for node in ast.walk(ast.parse((ROOT / file).read_text("utf-8")))
             if isinstance(node, ast.FunctionDef)}  # fmt: skip
    assert name in names
