"""What is imported is declared, and a package that is not there is told with what brings it."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from llmga.errors import UserError, command_line
from llmga.extras import EXTRAS, OTHERWISE_NAMED, require

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
NOT_FOR_PROGRAMS = {"dev", "docs"}
# A module of this package that cannot do without the extra, and is light enough to be asked in a process of its own.
NEEDS = {
    "serve": "from llmga.serve.api import errors",
    "train": "from llmga import fingerprints; list(fingerprints.picture_stand_ins(None))",
    "evaluate": "from llmga.evaluation.restoration_scores import photographs; next(photographs())",
    "heic": "from llmga.extras import require; require('pillow_heif', 'it')",
    "gguf": "from llmga.extras import require; require('gguf', 'it')",
    "watermark": "from llmga.assistant.safety import Watermark; Watermark.of('ours')",
    "otel": "from llmga.serve.api.tracing import Tracing; Tracing.to('http://localhost:4318')",
    "ray": "from llmga.extras import require; require('ray', 'it')",
    "mcp": "from llmga.extras import require; require('mcp', 'it')",
    "c2pa": "from llmga.serve.certificates import test_certificates; test_certificates(1)",
}


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(lines: list[str]) -> set[str]:
    return {plain(re.match(r"[\w.-]+", line).group()) for line in lines}


DEPENDENCIES = declared(PROJECT["dependencies"])
OPTIONAL = {extra: declared(lines) for extra, lines in PROJECT["optional-dependencies"].items()}
INSTALLED = packages_distributions()


def distribution(module: str) -> str:
    """The distribution that brings a module, of several the one that we name; its name, where it is not installed."""
    named = OTHERWISE_NAMED.get(module, module)
    installed = INSTALLED.get(module, [named])
    return plain(named if named in installed else installed[0])


def imported(source: str) -> set[str]:
    """Packages of others that a source imports, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).partition(".")[0])
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require":
            found.add(ast.literal_eval(node.args[0]).partition(".")[0])
    return {name for name in found if name not in sys.stdlib_module_names and name not in ("llmga", "_typeshed")}


def test_everything_that_is_imported_is_declared():
    known = DEPENDENCIES.union(*(names for extra, names in OPTIONAL.items() if extra not in NOT_FOR_PROGRAMS))
    for path in (ROOT / "llmga").rglob("*.py"):
        wanted = {distribution(name) for name in imported(path.read_text("utf-8"))}
        assert wanted <= known, path


def test_the_rule_sees_an_import_of_any_kind():
    source = "def f():\n    from a.b import c\n    import d.e\nrequire('f.g', 'it')\nimport os"
    assert imported(source) == {"a", "d", "f"}


@pytest.mark.parametrize("extra", sorted(OPTIONAL.keys() - NOT_FOR_PROGRAMS))
def test_the_table_of_extras_is_that_of_the_package(extra):
    assert {distribution(name) for name in EXTRAS[extra]} == OPTIONAL[extra]


def test_other_names_are_those_of_what_is_installed():
    for module in OTHERWISE_NAMED.keys() & INSTALLED.keys():
        assert OTHERWISE_NAMED[module] in INSTALLED[module]


@pytest.mark.parametrize(("extra", "module"), [(extra, name) for extra, names in EXTRAS.items() for name in names])
def test_a_package_that_is_not_there_is_one_sentence_and_exit_2(extra, module, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)
    assert command_line(lambda argv: __import__(module) and 0)(None) == 2
    sentence = f'needs the package {distribution(module)}, which is not installed; run pip install "llmga[{extra}]".'
    assert capsys.readouterr().err == f"error: this command {sentence}\n"
    with pytest.raises(UserError, match=re.escape(f"a PDF {sentence}")):
        require(module, "a PDF")


def test_a_module_of_ours_that_is_missing_stays_a_defect():
    for fails in (
        command_line(lambda argv: __import__("llmga.nothing") and 0),
        lambda argv: require("nothing.at", "all"),
    ):
        with pytest.raises(ModuleNotFoundError):
            fails(None)


@pytest.mark.parametrize("extra", NEEDS)
def test_a_program_without_its_extra_ends_without_a_traceback(extra):
    script = f"""if True:
        import sys
        from llmga.errors import command_line
        sys.modules.update(dict.fromkeys({EXTRAS[extra]}))  # None: not to be imported
        def main(argv):
            {NEEDS[extra]}
        sys.exit(command_line(main)([]))
    """
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == 2 and f'run pip install "llmga[{extra}]".' in ended.stderr
    assert ended.stderr.startswith("error: ") and ended.stderr.count("\n") == 1
