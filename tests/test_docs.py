"""The documentation: its Python runs, its made pages are complete, and it is built without a warning."""

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import httpx
import pytest

import llmga
from llmga.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SERVED = "localhost:8000"  # where the pages say that a server is
OURS = os.environ | {"PYTHONPATH": str(ROOT)}


def ran(program: str, folder: Path) -> str:
    """What a Python program prints; it must not fail."""
    run = subprocess.run([sys.executable, "-c", program], cwd=folder, env=OURS, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def program(page: Path) -> str:
    """The Python blocks of a page in their order, as one program."""
    return "\n".join(PYTHON.findall(page.read_text("utf-8")))


PROGRAMS = [page for page in PAGES if program(page)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a reader: the bundled checkpoints, and a photograph."""
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    shutil.copy(ROOT / "data/demo/scene.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def server(place: Path) -> Iterator[str]:
    """The address of a server of the bundled models."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"localhost:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "llmga.serve.openai_api", "--port", address.rpartition(":")[2]]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=place, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not ready(address):
            assert process.poll() is None, "the server ended"
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(60)


def ready(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/health").is_success
    except httpx.TransportError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("page", PROGRAMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_python_of_a_page_runs(page: Path, place: Path, request: pytest.FixtureRequest) -> None:
    text = program(page)
    if SERVED in text:
        text = text.replace(SERVED, request.getfixturevalue("server"))
    run = subprocess.run(
        [sys.executable, "-c", text],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


def test_the_readme_has_eight_lines_of_python() -> None:
    assert PAGES[0] in PROGRAMS
    assert len(program(PAGES[0]).splitlines()) == 8


# The pages that are made.


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_pages", ROOT / "scripts/docs_pages.py")
    module = sys.modules["docs_pages"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_file_map_is_complete_and_every_file_says_something(pages: ModuleType) -> None:
    entries = pages.file_map()
    written = {path.relative_to(ROOT).as_posix() for path in (ROOT / "llmga").rglob("*.py")}
    scripts = {path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.sh"), *ROOT.glob("scripts/*.sh")]}
    assert (written | scripts) - set(entries) == set()
    assert [name for name, said in entries.items() if not said] == []


def test_a_file_is_mapped_by_the_first_line_of_what_it_says_of_itself(pages: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('"""Reads `b`.\n\nMore.\n"""\n')
    (tmp_path / "a.sh").write_text("#!/bin/sh\n# Set up, then run.\ntrue\n")
    assert pages.about(tmp_path / "a.py") == "Reads `b`"
    assert pages.about(tmp_path / "a.sh") == "Set up, then run."


def test_the_file_map_has_a_table_for_each_folder(pages: ModuleType) -> None:
    page = pages.file_map_page()
    assert "\n## llmga/serve\n" in page and "\n## scripts\n" in page
    assert "| `cli-sdxl.py` | " in page


@pytest.fixture(scope="module")
def flags() -> str:
    """Made in a process of its own, since every command line is started for it."""
    return ran("import sys; sys.path.insert(0, 'scripts'); import docs_pages; print(docs_pages.flags_page())", ROOT)


def test_every_command_line_is_among_the_flags(pages: ModuleType, flags: str) -> None:
    modules = pages.entry_points()
    assert {"llmga.serve.cli-sdxl", "llmga.serve.openai_api", "llmga.llava.train.train"} <= set(modules)
    assert re.findall(r"^## (llmga.+)$", flags, re.MULTILINE) == modules


def test_every_command_of_llmga_is_among_the_flags(pages: ModuleType, flags: str) -> None:
    assert "| `llmga train stage1` | `llmga.llava.train.train` |" in flags
    assert {row.module for row in COMMANDS.values()} <= set(pages.entry_points())


def test_every_public_name_is_in_the_reference() -> None:
    shown = re.findall(r"^::: llmga\.[\w.]*?(\w+)$", (ROOT / "docs/reference/api.md").read_text("utf-8"), re.MULTILINE)
    assert set(llmga.__all__) - {"__version__"} - set(shown) == set()


def test_a_flag_is_shown_with_its_value_and_its_help(flags: str) -> None:
    assert "| `--mask-file` `FILE` |" in flags
    assert re.search(r"\| `--port` `\w+` \| [^|]+ \|", flags)


def test_a_flag_of_two_spellings_is_shown_in_one(flags: str) -> None:
    assert "`--save_path` `FOLDER`" in flags and "`--save-path`" not in flags


def test_flags_that_several_programs_share_are_shown_once(flags: str) -> None:
    assert flags.count("| `--negative-prompt` `TEXT` |") == 1
    assert "* painting: those of [llmga.serve.cli-sdxl](#llmgaservecli-sdxl)" in flags


def test_table_cells_keep_their_characters(pages: ModuleType) -> None:
    assert pages.escaped("a|b *c* <d> `e*f`") == r"a\|b \*c\* <d> `e*f`"


def test_links_between_files_lead_to_the_pages_that_show_them(pages: ModuleType) -> None:
    assert pages.relinked("[a](docs/guide/talk.md#x)", "index.md") == "[a](guide/talk.md#x)"
    assert pages.relinked("[a](../../data/README.md)", "guide/talk.md") == "[a](../formats/data.md)"
    assert pages.relinked("[a](https://b.c) [d](#e)", "guide/talk.md") == "[a](https://b.c) [d](#e)"
    assert pages.relinked("```sh\n[a](docs/b.md)\n```", "index.md") == "```sh\n[a](docs/b.md)\n```"


@pytest.mark.slow
def test_the_documentation_is_built_without_a_warning_and_asks_no_other_server(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    run = subprocess.run(command, cwd=ROOT, env=OURS, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    loaded = re.compile(r"""<(?:link|script|img)[^>]+(?:src|href)=["']?https?://[^>]+>""")
    found = {tag for page in (tmp_path / "site").rglob("*.html") for tag in loaded.findall(page.read_text("utf-8"))}
    assert [tag for tag in found if 'rel="canonical"' not in tag] == []
    assert "&lt;image&gt;" in (tmp_path / "site/reference/api/index.html").read_text("utf-8")  # text, no tag
