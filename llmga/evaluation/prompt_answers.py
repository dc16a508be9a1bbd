"""What a planner writes for the rows of a benchmark, kept line by line so that a run that was ended goes on."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from tqdm import tqdm

from llmga.errors import UserError, system_reason
from llmga.evaluation.prompt_rules.rows import LONGEST_LINE, Row, numbered_lines, read_text
from llmga.llava.generation_prompt import GenerationPrompt, parse
from llmga.llava.planner import Dialogue, Planner
from llmga.llava.sampling import Sampling
from llmga.typed import parsed, typed

LONGEST_REPLY = 20_000  # characters of a reply that are kept


class _AskedName(TypedDict):
    asked: str


class Written(_AskedName, total=False):
    """A line of a file of prompts: what was asked, and the prompts, of which the first is judged."""

    prompt: str
    prompts: list[str]
    reply: str


@dataclass(frozen=True)
class Asking:
    """How a planner is asked.

    Attributes:
        planner: its name, for the file.
        words: what is said to it; {} stands for what a row asks for.
        sampling: how it chooses its words.
    """

    planner: str
    words: str
    sampling: Sampling

    @property
    def header(self) -> dict[str, Any]:
        """The first line of the file of answers."""
        chosen = self.sampling
        return {"planner": self.planner, "ask": self.words, "temperature": chosen.temperature, "seed": chosen.seed,
                "max_new_tokens": chosen.max_new_tokens, "picture": chosen.picture}  # fmt: skip

    def file(self, folder: str | Path) -> Path:
        """Where its answers are kept unless a person says where: other ways of asking have other files."""
        digest = hashlib.sha256(json.dumps(self.header, sort_keys=True).encode()).hexdigest()[:8]
        name = "".join(sign if sign.isalnum() or sign in "-." else "-" for sign in self.planner)[-60:].strip("-.")
        return Path(folder) / f"{name}-{digest}.jsonl"


class AnswerFile:
    """Answers by what was asked, each on disk as soon as it is there.

    Raises:
        UserError: the file holds something else, or the answers of another planner.
    """

    def __init__(self, path: Path, header: dict[str, Any]):
        self.path = path
        self.prompts: dict[str, list[str]] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                self._go_on(header)
            else:
                self._append(header)
        except OSError as problem:
            raise self._unusable(problem) from None

    def _go_on(self, header: dict[str, Any]) -> None:
        text = read_text(self.path, "file of answers")
        whole = text[: text.rfind("\n") + 1]  # a line that a kill cut is asked again
        lines = list(numbered_lines(self.path, whole, "file of answers"))
        if not lines or _object(self.path, *lines[0]) != header:
            raise UserError(f"{str(self.path)!r} holds other answers than of {header}; choose another --answers.")
        for number, line in lines[1:]:
            entry = _written(self.path, number, line)
            self.prompts[entry["asked"]] = entry.get("prompts", [])
        if whole != text:
            with self.path.open("r+b") as stream:
                stream.truncate(len(whole.encode()))

    def add(self, asked: str, prompts: list[str], reply: str) -> None:
        """Keep an answer.

        Raises:
            UserError: the disk does not take it.
        """
        self.prompts[asked] = prompts
        try:
            self._append({"asked": asked, "prompts": prompts, "reply": reply[:LONGEST_REPLY]})
        except OSError as problem:
            raise self._unusable(problem) from None

    def _append(self, entry: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8", errors="replace", newline="\n") as stream:
            stream.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def _unusable(self, problem: Exception) -> UserError:
        return UserError(f"{str(self.path)!r} cannot be used ({system_reason(problem)}); choose another --answers.")


def ask_planner(
    rows: Sequence[Row], open_planner: Callable[[], Callable[[], Planner]], asking: Asking, file: AnswerFile
) -> list[str | None]:
    """The first prompt of the answer to each row, each in a conversation of its own; None where there is none.

    Args:
        open_planner: opens it; not called where every answer is there already.

    Raises:
        UserError: it cannot be opened or does not answer; what was answered is kept.
    """
    missing = list(dict.fromkeys(row.prompt for row in rows if row.prompt not in file.prompts))
    new_chat = open_planner() if missing else None
    for asked in tqdm(missing, desc="prompts", disable=not missing):
        assert new_chat is not None
        pieces = Dialogue(new_chat()).say(asking.words.replace("{}", asked), sampling=asking.sampling)
        reply = "".join(pieces)
        file.add(asked, [event.text for event in parse([reply]) if isinstance(event, GenerationPrompt)], reply)
    return [next(iter(file.prompts[row.prompt]), None) for row in rows]


def read_prompts(path: str | Path, rows: Sequence[Row]) -> list[str | None]:
    """Prompts that somebody wrote: JSON lines by what was asked, or plain lines in the order of the rows.

    Raises:
        UserError: the file cannot be read, or does not fit the rows.
    """
    text = read_text(path, "file of prompts")
    if text.lstrip().startswith("{"):
        return _by_request(path, text, rows)
    lines = text.removesuffix("\n").split("\n")
    if len(lines) != len(rows):
        raise UserError(f"{str(path)!r} has {len(lines)} lines for {len(rows)} rows; give a prompt a line, an empty "
                        "one where there is none, or JSON lines with `asked` and `prompt`.")  # fmt: skip
    if long := next((line for line in lines if len(line) > LONGEST_LINE), None):
        raise UserError(f"a line of {str(path)!r} has {len(long)} characters; the limit is {LONGEST_LINE}.")
    return [line.strip() or None for line in lines]


def _by_request(path: str | Path, text: str, rows: Sequence[Row]) -> list[str | None]:
    found: dict[str, str | None] = {}
    for number, line in numbered_lines(path, text, "file of prompts"):
        if number == 1 and "planner" in _object(path, number, line):
            continue
        entry = _written(path, number, line)
        found[entry["asked"]] = next(iter(entry.get("prompts", [])), entry.get("prompt"))
    lacking = [row.prompt for row in rows if row.prompt not in found]
    if lacking:
        raise UserError(
            f"{str(path)!r} has no line whose `asked` is {lacking[0][:80]!r} ({len(lacking)} of {len(rows)} rows are "
            "missing); add them, with an empty `prompts` where none was written."
        )
    return [found[row.prompt] for row in rows]


def _object(path: str | Path, number: int, line: str) -> dict[str, Any]:
    try:
        entry = parsed(line, longest=LONGEST_LINE)
    except ValueError as problem:
        raise UserError(f"line {number} of {str(path)!r} is no JSON ({problem}); mend it.") from None
    if not isinstance(entry, dict):
        raise UserError(f"line {number} of {str(path)!r} is no JSON object; mend it.")
    return entry


def _written(path: str | Path, number: int, line: str) -> Written:
    try:
        return typed(Written, _object(path, number, line))
    except (TypeError, ValueError) as problem:
        if isinstance(problem, UserError):
            raise
        raise UserError(f"line {number} of {str(path)!r} holds no prompts ({problem}); mend it.") from None


def texts(prompts: Sequence[str | None]) -> Iterator[str]:
    """Those that were written."""
    yield from (prompt for prompt in prompts if prompt)
