"""What README and docs say is true: commands run, flags exist, files are there, links lead somewhere."""

import importlib
import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from llmga.__main__ import COMMANDS, chosen

ROOT = Path(__file__).resolve().parents[1]
LONGEST_README = 12 * 1024  # bytes
PAGES = [
    *(ROOT / name for name in ("README.md", "checkpoints/README.md", "data/README.md")),
    *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
MADE = {ROOT / "docs/reference/flags.md", ROOT / "docs/reference/files.md"}  # when the documentation is built
SCRIPTS = sorted([*ROOT.glob("*.sh"), *(ROOT / "scripts").glob("*.sh"), ROOT / ".ci/run"])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PATH = re.compile(r"`((?:llmga|scripts|tests|benchmarks|checkpoints|data)/[\w./-]+|[\w.-]+\.(?:sh|toml|txt))`")
INLINE = re.compile(r"`((?:bash|llmga|python -m) [^`…]+)`")
LEFT_TO_THE_READER = {"cd", "source", "llama-server", "ollama"}
# One process asks all modules, so that torch and its companions are imported once.
ASK_FOR_HELP = """
import contextlib, io, json, runpy, sys
found = {}
for module in sys.argv[1:]:
    out, sys.argv = io.TextIOWrapper(io.BytesIO()), [module, "--help"]
    with contextlib.redirect_stdout(out):
        try:
            code = runpy.run_module(module, run_name="__main__", alter_sys=True) and 1
        except SystemExit as leaving:
            code = leaving.code or 0
    out.seek(0)
    found[module] = code, out.read()
print(json.dumps(found))
"""


def blocks(page: Path, language: str) -> Iterator[str]:
    yield from (body for name, body in FENCE.findall(page.read_text("utf-8")) if name == language)


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every command in the page's `sh` blocks and in its text.

    Continued lines are joined; comments and VAR=x are left out.
    """
    for body in (*blocks(page, "sh"), *INLINE.findall(outline(page))):
        for line in body.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.match(r"\w+=", words[0]):
                words = words[1:]
            if words:
                yield words


def outline(page: Path) -> str:
    return FENCE.sub("", page.read_text("utf-8"))


DOCUMENTED = [pytest.param(words, id=" ".join(words)[:60]) for page in PAGES for words in commands(page)]


@cache
def help_texts() -> dict[str, tuple[int, str]]:
    """Module -> exit code and text of `--help`, for every module of ours that a page runs."""
    named = {words.values[0][2] for words in DOCUMENTED if "-m" in words.values[0][1:2]}
    named |= {row.module for row in COMMANDS.values()}
    ours = sorted(name for name in named if name.startswith("llmga.") and importlib.util.find_spec(name))
    run = subprocess.run([sys.executable, "-c", ASK_FOR_HELP, *ours], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def check_script(words: list[str]) -> None:
    script = ROOT / words[1]
    assert script.is_file(), f"{words[1]} is not there"


def check_command(words: list[str]) -> None:
    """`llmga COMMAND …`: the command is there; its flags are checked as those of its module."""
    if words[1].startswith("--"):
        assert words[1] in ("--help", "--version")
    elif words[1:] != ["COMMAND"]:
        name = chosen(words[1:])
        check_module(["python", "-m", COMMANDS[name].module, *words[1 + len(name.split()) :]])


def check_installation(words: list[str]) -> None:
    """`pip install -e ".[extra,extra]" -c constraints.txt`: the extras and the file are there."""
    assert words[1:3] == ["install", "-e"]
    known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(re.findall(r"[\w-]+", words[3])) <= set(known)
    assert words[4] == "-c" and (ROOT / words[5]).is_file()


def check_module(words: list[str]) -> None:
    assert words[1] == "-m"
    module = words[2]
    assert importlib.util.find_spec(module), f"there is no module {module}"
    if not module.startswith("llmga."):
        return
    code, text = help_texts()[module]
    assert code == 0, text
    for flag, value in pairwise([*words[3:], ""]):
        if flag.startswith("--"):
            assert re.search(rf"{re.escape(flag)}\b(?!-)", text), f"{module} does not know {flag}"
        if flag == "--preset":
            assert re.search(rf"(?<![\w-]){re.escape(value)}(?![\w-])", text), f"{module} has no preset {value}"


@pytest.mark.parametrize("words", DOCUMENTED)
def test_a_documented_command_exists(words: list[str]) -> None:
    if words[0] == "bash":
        check_script(words)
    elif Path(words[0]).name == "python":
        check_module(words)
    elif words[0] == "llmga":
        check_command(words)
    elif words[0] == "pip":
        check_installation(words)
    else:
        assert words[0] in LEFT_TO_THE_READER, f"nothing here can check {words[0]!r}"


def test_the_readme_shows_the_main_commands() -> None:
    said = [" ".join(words[:2]) for words in commands(PAGES[0])]
    assert said[:2] == ["bash scripts/demo.sh", "bash scripts/test.sh"]


def test_the_readme_is_one_page() -> None:
    assert len(PAGES[0].read_bytes()) <= LONGEST_README


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_is_sound(script: Path) -> None:
    run = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    modules = re.findall(r"-m (llmga\.[\w.-]*\w)", script.read_text("utf-8"))
    assert [name for name in modules if not importlib.util.find_spec(name)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_in_the_text_exists(page: Path) -> None:
    """Example trees stand in blocks and are not meant; in the text a path is a promise."""
    named = set(PATH.findall(outline(page)))
    assert sorted(name for name in named if not (ROOT / name).exists() and not expected_by_tree(name)) == []


def expected_by_tree(name: str) -> bool:
    """Whether a path is one that data/README.md or checkpoints/README.md tells the reader to make."""
    top, _, rest = name.rstrip("/").partition("/")
    return top in ("data", "checkpoints") and rest.split("/")[0] in (ROOT / top / "README.md").read_text("utf-8")


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {slug(title) for title in re.findall(r"^#+ (.+)$", outline(page), re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_internal_link_leads_somewhere(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", outline(page)) if "://" not in link]
    for link in links:
        file, _, anchor = link.partition("#")
        target = (page.parent / file) if file else page
        if target.resolve() in MADE:
            continue
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def paths_of(config: object) -> Iterator[str]:
    """The data files and folders that a preset of any training reads."""
    if isinstance(config.data, str):
        yield from (config.data, config.images)
    elif hasattr(config, "images"):
        yield from (*config.data, *config.images, *filter(None, [config.originals]))
    else:
        yield from (path for source in config.data for path in (source.file, source.image_folder) if path)


@pytest.mark.parametrize(
    "stage", ["llmga.llava.train.config", "llmga.diffusers.train.config", "llmga.diffrir.train.config"]
)
def test_the_data_page_shows_what_every_preset_reads(stage: str) -> None:
    page = (ROOT / "data/README.md").read_text("utf-8")
    read = {path for config in importlib.import_module(stage).PRESETS.values() for path in paths_of(config)}
    real = [path for path in read if not path.startswith("data/toyworld/")]
    assert real
    assert [path for path in real if not all(part in page for part in path.split("/")[1:])] == []
