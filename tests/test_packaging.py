"""What the wheel would hold, asked of setuptools' own discovery, without building or fetching anything."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIST_FILES = """
import setuptools
from setuptools.dist import Distribution
from setuptools.config.pyprojecttoml import apply_configuration
dist = apply_configuration(Distribution({"src_root": ".", "script_name": "setup.py"}), "pyproject.toml")
dist.set_defaults(name=False)
build = dist.get_command_obj("build_py")
build.ensure_finalized()
print("SHIPPED", *build.get_output_mapping().values(), sep="\\n")
"""


@pytest.fixture(scope="module")
def shipped() -> set[str]:
    """Paths relative to the repository of every file that goes into the wheel."""
    run = subprocess.run([sys.executable, "-c", LIST_FILES], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return {Path(line).as_posix() for line in run.stdout.split("SHIPPED\n")[1].splitlines()}


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_module_ships(shipped: set[str]) -> None:
    written = {path.relative_to(ROOT).as_posix() for path in (ROOT / "llmga").rglob("*.py")}
    assert written - shipped == set()


def test_the_hyphenated_command_lines_ship(shipped: set[str]) -> None:
    written = [path.relative_to(ROOT).as_posix() for path in (ROOT / "llmga").rglob("*-*.py")]
    assert "llmga/serve/cli-sdxl.py" in written
    assert set(written) <= shipped


def test_data_files_beside_the_code_ship(shipped: set[str]) -> None:
    kinds = {".json", ".jinja", ".txt", ".js", ".css"}
    written = {path.relative_to(ROOT).as_posix() for path in (ROOT / "llmga").rglob("*") if path.suffix in kinds}
    assert written - shipped == set()


def test_nothing_else_ships(shipped: set[str]) -> None:
    assert "llmga/__init__.py" in shipped
    assert [name for name in shipped if not name.startswith("llmga/")] == []


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "llmga").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_tests_are_no_package() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_every_named_dependency_has_a_tested_version(project: dict) -> None:
    extras = project["project"]["optional-dependencies"]
    wanted = [*project["project"]["dependencies"], *extras["train"], *extras["serve"], *extras["dev"], *extras["docs"]]
    names = {plain(re.match(r"[\w.-]+", line).group()) for line in wanted}
    assert names - {plain(name) for name in pins()} == {"llmga"}  # an extra that takes another one in


def test_the_tested_versions_are_exact_and_hold_no_place() -> None:
    text = (ROOT / "constraints.txt").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []


def test_torchvision_is_not_wanted() -> None:
    assert "torchvision" not in pins()
