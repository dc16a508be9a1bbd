"""The files that hosts, tools and newcomers read: citation, workflow, issue forms, changelog, package data."""

import re
import tomllib
from datetime import date
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ["3.11", "3.12", "3.13"]


def test_the_citation_is_valid_and_names_the_paper() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(cited)
    paper = cited["preferred-citation"]
    assert paper["type"] == "conference-paper" and paper["year"] == 2024
    assert [author["family-names"] for author in paper["authors"]] == ["Xia", "Wang", "Tao", "Wang", "Jia"]
    assert paper["url"].endswith("2311.16500")


def workflow() -> dict:
    return yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))["jobs"]["ci"]


def test_the_workflow_runs_what_runs_at_home_on_every_supported_python() -> None:
    job = workflow()
    assert job["strategy"]["matrix"]["python"] == VERSIONS
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]
    assert job["env"]["LLMGA_PYTHON"] == "python${{ matrix.python }}"
    assert "LLMGA_PYTHON" in (ROOT / "scripts/setup.sh").read_text("utf-8")


def test_the_package_names_the_pythons_of_the_workflow() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = [line.rpartition(" ")[2] for line in project["classifiers"] if ":: 3." in line]
    assert named == VERSIONS
    assert project["requires-python"] == f">={VERSIONS[0]}"


@pytest.mark.parametrize("name", ["bug", "feature", "question"])
def test_an_issue_form_asks_for_something(name: str) -> None:
    form = yaml.safe_load((ROOT / f".github/ISSUE_TEMPLATE/{name}.yml").read_text("utf-8"))
    assert form["name"] and form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert any(field.get("validations", {}).get("required") for field in fields)
    assert len({field["id"] for field in fields}) == len(fields)


def test_the_changelog_goes_from_the_version_in_the_making_to_the_first() -> None:
    heads = re.findall(r"^## \[([\d.]+)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert [version for version, _ in heads] == ["0.2.0", "0.1.0"]
    assert heads[0][1] == "Unreleased" or date.fromisoformat(heads[0][1])
    assert date.fromisoformat(heads[1][1])
