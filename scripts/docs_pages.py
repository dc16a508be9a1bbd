"""Pages of the documentation that are made when it is built: the file map, the flags, and copies of files elsewhere.

MkDocs runs this as a hook (mkdocs.yml).  Nothing is written into the repository.
"""

import argparse
import ast
import io
import posixpath
import re
import runpy
import sys
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from unittest.mock import patch

from markdown import Extension
from mkdocs.structure.files import File

from llmga.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
# page -> the file of the repository that it shows
COPIES = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "formats/data.md": "data/README.md",
    "formats/checkpoints.md": "checkpoints/README.md",
}
MAPPED = ("*.sh", "scripts/*.sh", "scripts/*.py", "llmga/**/*.py", "examples/**/*.py", "benchmarks/**/*.py")
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
FENCE = re.compile(r"(^ *```.*?^ *```)", re.MULTILINE | re.DOTALL)
MAIN = "llmga.serve.cli-sdxl"  # where a reader looks for the flags of a conversation
STARTED = re.compile(r"""^if __name__ == ["']__main__["']:""", re.MULTILINE)


# Links.


def page_of(path: str) -> str:
    """The page, or other file of the documentation, that shows a file of the repository; the path itself if none."""
    pages = {file: page for page, file in COPIES.items()}
    return pages.get(path, path.removeprefix("docs/"))


def relinked(text: str, page: str) -> str:
    """The text of a page with its links, which are those of the repository, as links between pages."""
    file = COPIES.get(page, f"docs/{page}")

    def link(found: re.Match[str]) -> str:
        target = found[2]
        if ":" not in target:
            path = posixpath.normpath(posixpath.join(posixpath.dirname(file), target))
            target = posixpath.relpath(page_of(path), posixpath.dirname(page) or ".")
        return f"{found[1]}{target}{found[3] or ''}"

    parts = FENCE.split(text)
    return "".join(part if index % 2 else LINK.sub(link, part) for index, part in enumerate(parts))


# The file map.


def about(path: Path) -> str:
    """The first sentence or line of a module's docstring, or of the comment below a script's first line."""
    text = path.read_text("utf-8")
    if path.suffix == ".sh":
        return text.splitlines()[1].removeprefix("#").strip()
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0].removesuffix(".")


def file_map() -> dict[str, str]:
    """Path -> what the file says of itself, for every module and script, folder by folder."""
    paths = sorted({path for pattern in MAPPED for path in ROOT.glob(pattern)}, key=lambda path: (path.parent, path))
    return {path.relative_to(ROOT).as_posix(): about(path) for path in paths}


def file_map_page() -> str:
    """The file map, a table per folder."""
    lines = ["# File map", "", "Every module and script with the first line of what it says of itself."]
    entries = file_map()
    for folder, paths in groupby(entries, key=posixpath.dirname):
        lines += ["", f"## {folder or 'The top of the repository'}", ""]
        named = {posixpath.basename(path): entries[path] for path in paths}
        if package := named.pop("__init__.py", None):
            lines += [f"{package}.", ""]
        lines += ["| file | what it is |", "|---|---|"] if named else []
        lines += [f"| `{name}` | {escaped(said)} |" for name, said in named.items()]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Words as a cell of a table: code stays code, everything else is plain."""
    parts = text.replace("|", r"\|").replace("\n", " ").split("`")
    return "`".join(part if index % 2 else re.sub(r"([*_\[\]{}#])", r"\\\1", part) for index, part in enumerate(parts))


# The flags.


class _Parsing(BaseException):
    """Raised where a command line would read its flags."""


@dataclass(frozen=True)
class Group:
    """Flags that belong together: title, then (names with value, help) of each."""

    title: str
    rows: tuple[tuple[str, str], ...]


def entry_points() -> list[str]:
    """Every module that is a command line of its own."""
    paths = sorted((ROOT / "llmga").rglob("*.py"))
    started = [path for path in paths if STARTED.search(path.read_text("utf-8"))]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in started if path.stem != "__main__"]


def parser_of(module: str) -> argparse.ArgumentParser:
    """The parser of a command line, which is started, and stopped where it would read its flags."""

    def stop(parser: argparse.ArgumentParser, *given: object, **named: object) -> None:
        raise _Parsing(parser)

    patched = patch.object(argparse.ArgumentParser, "parse_known_args", stop)
    with warnings.catch_warnings(), patched, patch.object(sys, "argv", [module]):
        try:
            warnings.simplefilter("ignore", RuntimeWarning)  # a package may have imported the module before
            with redirect_stdout(io.TextIOWrapper(io.BytesIO())), redirect_stderr(sys.stdout):
                runpy.run_module(module, run_name="__main__", alter_sys=True)
        except _Parsing as stopped:
            return stopped.args[0]
        except SystemExit:
            pass
    raise RuntimeError(f"{module} has ended without reading its flags with argparse")


def groups_of(parser: argparse.ArgumentParser) -> Iterator[Group]:
    """The flags of a parser as its own help shows them, without --help."""
    formatter = parser._get_formatter()
    for group in parser._action_groups:
        actions = [one for one in group._group_actions if one.help != argparse.SUPPRESS and one.dest != "help"]
        if actions:
            rows = tuple((_names(one, formatter), _help(one, parser)) for one in actions)
            yield Group(group.title or "", rows)


def _names(action: argparse.Action, formatter: argparse.HelpFormatter) -> str:
    if not action.option_strings:
        return f"`{action.metavar or action.dest}`"
    spellings = {name.replace("_", "-"): name for name in reversed(action.option_strings)}
    names = ", ".join(f"`{name}`" for name in reversed(spellings.values()))
    if action.nargs == 0:
        return names
    value = formatter._format_args(action, formatter._get_default_metavar_for_optional(action))
    return f"{names} `{value}`".replace("|", r"\|")


def _help(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    said = (action.help or "") % {**vars(action), "prog": parser.prog}
    unsaid = action.default in (None, False, argparse.SUPPRESS) or not action.option_strings or action.nargs == 0
    shown = "" if unsaid or "default" in said or action.default in ([], ()) else f" (default: {action.default})"
    return escaped(said + shown)


def flags_page() -> str:
    """Every command line with its flags; what several share stands once, at `MAIN`, else where the name is shortest."""
    lines = ["# Flags", "", "Every command line, `python -m MODULE`, and what it takes.", ""]
    lines += ["`--help` shows the same. Most flags with a hyphen in their name may be written with an underscore, too."]
    lines += commands_section()
    parsers = {module: parser_of(module) for module in entry_points()}
    groups = {module: list(groups_of(parser)) for module, parser in parsers.items()}
    ranked = sorted(groups, key=lambda module: (module == MAIN, -len(module)))
    owners = {group: module for module in ranked for group in groups[module]}  # the last one that has it
    for module, parser in parsers.items():
        said = parser.description or about(ROOT / f"{module.replace('.', '/')}.py")
        lines += ["", f"## {module}", "", f"{escaped(said.strip().rstrip('.'))}.", ""]
        lines += [_reference(group, owners[group]) for group in groups[module] if owners[group] != module]
        for group in groups[module]:
            if owners[group] == module:
                lines += ["", f"**{escaped(group.title.capitalize())}**", "", "| flag | what it does |", "|---|---|"]
                lines += [f"| {names} | {said} |" for names, said in group.rows]
    return "\n".join(lines) + "\n"


def commands_section() -> list[str]:
    """The table of the commands of `llmga`."""
    rows = [f"| `llmga {name}` | `{row.module}` | {escaped(row.help)} |" for name, row in COMMANDS.items()]
    return ["", "## The commands of llmga", "", "| command | module | what it does |", "|---|---|---|", *rows]


def _reference(group: Group, module: str) -> str:
    return f"* {escaped(group.title)}: those of [{module}](#{module.replace('.', '')})"


MADE = {"reference/files.md": file_map_page, "reference/flags.md": flags_page}


class PlainTags(Extension):
    """What looks like a tag of HTML, `<image>` in a docstring, is text: no page holds HTML of its own."""

    def extendMarkdown(self, md):
        md.preprocessors.deregister("html_block")
        md.inlinePatterns.deregister("html")


# What MkDocs calls.


def on_config(config):
    """Tags are text."""
    config.markdown_extensions.append(PlainTags())
    return config


def on_files(files, config):
    """Add the pages that are made and those that are copied."""
    for page, made in MADE.items():
        files.append(File.generated(config, page, content=made()))
    for page, file in COPIES.items():
        files.append(File.generated(config, page, content=(ROOT / file).read_text("utf-8")))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links between files of the repository lead to the pages that show them."""
    return relinked(markdown, page.file.src_uri)
