"""Rows of the benchmarks GenEval, GenEval 2 and UniGenBench++, as what each demands of a picture or a prompt."""

import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

from llmga.errors import UserError, system_reason
from llmga.evaluation.prompt_rules import words
from llmga.files import plain_file
from llmga.typed import parsed, typed, up_to, within

LARGEST_FILE = 64_000_000  # bytes
LONGEST_LINE = 100_000  # characters
LONGEST_PROMPT = 20_000  # characters
MOST_ROWS = 20_000
CHINESE = re.compile(r"[\u4e00-\u9fff]")
TEST_POINT = "test point"

Text = Annotated[str, up_to(LONGEST_PROMPT, 1)]
Word = Annotated[str, up_to(100, 1)]
Number = Annotated[int, within(1, 100)]


@dataclass(frozen=True)
class Demand:
    """One thing that a row asks for.

    Attributes:
        kind: object, count, colour, attribute, position, verb, exclusion, or `TEST_POINT`.
        thing: what it is about.
        number: of a count, how many; of an exclusion, how many there must not be.
        value: an attribute, a relation, a verb, or the words of a test point.
        other: to which a thing stands in a relation.
        label: the name of a test point.
    """

    kind: str
    thing: str = ""
    number: int = 0
    value: str = ""
    other: str = ""
    label: str = ""


@dataclass(frozen=True)
class Row:
    """One row of a benchmark.

    Attributes:
        benchmark: geneval, geneval2 or unigenbench.
        key: the same in a file of the other language.
        language: en or zh, of the prompt.
        prompt: what is asked for.
        group: by which the benchmark sorts its figures: the tag, the number of atoms, the theme.
        demands: what it asks for.
    """

    benchmark: str
    key: str
    language: str
    prompt: str
    group: str
    demands: tuple[Demand, ...]

    @property
    def things(self) -> frozenset[str]:
        """All things that it names."""
        return frozenset(name for each in self.demands for name in (each.thing, each.other) if name)


# GenEval.

_ClauseNames = TypedDict("_ClauseNames", {"class": Word, "count": Number})


class Clause(_ClauseNames, total=False):
    """What has to be there; `position` is how it stands to the clause of that number."""

    color: Word
    position: tuple[Word, Annotated[int, within(0, 49)]]


class _GenEvalNames(TypedDict):
    tag: Word
    include: Annotated[list[Clause], up_to(50)]
    prompt: Text


class GenEvalRow(_GenEvalNames, total=False):
    """A line of evaluation_metadata.jsonl."""

    exclude: Annotated[list[Clause], up_to(50)]


def geneval(asked: Any, key: str) -> Row:
    """A row of GenEval.

    Raises:
        ValueError, TypeError: it is none.
    """
    row = typed(GenEvalRow, asked)
    demands = [demand for clause in row["include"] for demand in _included(clause, row["include"])]
    demands += [Demand("exclusion", words.thing_of(clause["class"]), clause["count"])
                for clause in row.get("exclude", ())]  # fmt: skip
    return Row("geneval", key, language_of(row["prompt"]), row["prompt"], row["tag"], tuple(dict.fromkeys(demands)))


def _included(clause: Any, clauses: Any) -> Iterator[Demand]:
    thing = words.thing_of(clause["class"])
    yield Demand("object", thing)
    yield Demand("count", thing, clause["count"])
    if "color" in clause:
        yield Demand("colour", thing, value=words.family_of(clause["color"])[1])
    if "position" in clause:
        relation, target = _position(clause["position"], len(clauses))
        yield Demand("position", thing, value=relation, other=words.thing_of(clauses[target]["class"]))


def _position(value: tuple[str, int], clauses: int) -> tuple[str, int]:
    """A known relation, and the number of a clause that is there."""
    relation, target = value
    if relation not in words.OPPOSITE or target >= clauses:
        raise ValueError(f"position is {[*value]}; allowed is a relation ({', '.join(words.OPPOSITE)}) and the number "
                         f"of a clause, below {clauses}")  # fmt: skip
    return relation, target


# GenEval 2.


class GenEval2Row(TypedDict):
    """A line of geneval2_data.jsonl."""

    prompt: Text
    atom_count: Number
    vqa_list: Annotated[list[tuple[Text, Word]], up_to(100, 1)]
    skills: Annotated[list[Word], up_to(100, 1)]


_HOW_MANY = re.compile(r"how many (.+?) are (?:there )?in the (?:image|picture)", re.IGNORECASE)
_ANY = re.compile(r"(?:are|is) there (?:any|an?) (.+?) in the (?:image|picture)", re.IGNORECASE)
_ABOUT = re.compile(r"(?:is|are) the (.+?)\??$", re.IGNORECASE)


def geneval2(asked: Any, key: str) -> Row:
    """A row of GenEval 2.

    Raises:
        ValueError, TypeError: it is none.
    """
    row = typed(GenEval2Row, asked)
    if len(row["skills"]) != len(row["vqa_list"]):
        raise ValueError(f"skills are {len(row['skills'])}, questions {len(row['vqa_list'])}; each has one")
    named = {words.thing_of(found[1]) for question, _ in row["vqa_list"] for found in
             (_HOW_MANY.match(question), _ANY.match(question)) if found}  # fmt: skip
    pairs = zip(row["vqa_list"], row["skills"], strict=True)
    demands = [_atom(question, answer, skill, named) for (question, answer), skill in pairs]
    group = f"{row['atom_count']} atoms"
    return Row("geneval2", key, language_of(row["prompt"]), row["prompt"], group, tuple(dict.fromkeys(demands)))


def _atom(question: str, answer: str, skill: str, named: set[str]) -> Demand:
    if skill == "count" and (found := _HOW_MANY.match(question)):
        return Demand("count", words.thing_of(found[1]), _number(answer, question))
    if skill == "object" and (found := _ANY.match(question)):
        absent = answer.lower() in ("no", "none")
        return Demand("exclusion" if absent else "object", words.thing_of(found[1]), int(absent))
    if skill in ("attribute", "position", "verb") and (found := _ABOUT.match(question)):
        thing, rest = _subject(found[1], named)
        if thing and skill == "attribute":
            family, value = words.family_of(rest)
            return Demand("colour" if family == "colour" else "attribute", thing, value=value)
        relation, _, other = rest.rpartition(" the ")
        if thing and relation:
            return _relation(thing, relation, words.thing_of(other))
    raise ValueError(f"{skill} asks {question!r}, which is no question of that skill")


def _number(answer: str, question: str) -> int:
    number = int(answer) if answer.isdecimal() and len(answer) < 4 else words.NUMBERS.get(answer.lower(), 0)
    if number < 1:
        raise ValueError(f"{question!r} is answered {answer!r}, which is no number")
    return number


def _subject(text: str, named: set[str]) -> tuple[str, str]:
    """The thing that a question is about, and the rest."""
    parts = text.split(" ")
    for size in range(min(4, len(parts) - 1), 0, -1):
        thing = words.thing_of(" ".join(parts[:size]))
        if thing in named:
            return thing, " ".join(parts[size:])
    return "", text


def _relation(thing: str, said: str, other: str) -> Demand:
    """A place by its name, whatever words say it; anything else is a verb."""
    known = {word: name for name, each in words.RELATIONS.items() for word in each}
    if said in known:
        return Demand("position", thing, value=known[said], other=other)
    return Demand("verb", thing, value=said, other=other)


# UniGenBench++.

_KEYS = {
    "en": ("Testpoints", "Testpoint Description", "Primary Categories"),
    "zh": ("考点", "考点对应描述", "一级垂类"),
}


def unigenbench(cells: dict[str, str], suffix: str) -> Row:
    """A row of UniGenBench++; `suffix` ends the names of its columns.

    Raises:
        ValueError, TypeError: it is none.
    """
    prompt, about = cells[f"prompt{suffix}"], parsed(cells[f"sub_dims{suffix}"], longest=LONGEST_LINE)
    if not isinstance(about, dict):
        raise ValueError(f"sub_dims{suffix} is no JSON object")
    language = "zh" if _KEYS["zh"][0] in about else "en"
    points, described, theme = _KEYS[language]
    labels, texts = (_listed(about, name) for name in (points, described))
    if len(labels) != len(texts):
        raise ValueError(f"test points are {len(labels)}, descriptions {len(texts)}; each has one")
    pairs = zip(labels, texts, strict=True)
    demands = tuple(Demand(TEST_POINT, label=label, value=value.strip("\"' ")) for label, value in pairs)
    if not 0 < len(prompt) <= LONGEST_PROMPT:
        raise ValueError(f"prompt has {len(prompt)} characters; allowed is 1 to {LONGEST_PROMPT}")
    return Row("unigenbench", cells["index"].strip(), language, prompt, str(about.get(theme, ""))[:100], demands)


def _listed(about: dict[str, Any], name: str) -> list[str]:
    if name not in about:
        raise ValueError(f"{name!r} is missing")
    listed: Any = Annotated[list[Text], up_to(100)]
    found: list[str] = typed(listed, about[name])
    return found


# Files.


def language_of(text: str) -> str:
    """zh where any character is Chinese, else en."""
    return "zh" if CHINESE.search(text) else "en"


def read_rows(path: str | Path) -> list[Row]:
    """The rows of a file, whose first line tells of which benchmark it is.

    Raises:
        UserError: it cannot be read, is none of them, or is too large; or one of its rows is damaged.
    """
    text = read_text(path, "benchmark")
    first = next((line for line in text.split("\n") if line.strip()), "")
    rows = list(_json_rows(path, text) if first.startswith("{") else _csv_rows(path, text, first))
    if not rows:
        raise UserError(f"benchmark {str(path)!r} has no rows; give one with a row a line.")
    return rows


def read_text(path: str | Path, what: str) -> str:
    """A text file within bounds.

    Raises:
        UserError: it cannot be read, or is too large.
    """
    try:
        with plain_file(path).open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise UserError(f"{what} {str(path)!r} has more than {LARGEST_FILE} bytes; split it.")
        return content.decode("utf-8-sig")
    except UserError:
        raise
    except (OSError, ValueError) as problem:
        reason = system_reason(problem)
        raise UserError(f"{what} {str(path)!r} cannot be read ({reason}); give a UTF-8 text file.") from None


def numbered_lines(path: str | Path, text: str, what: str) -> Iterator[tuple[int, str]]:
    """(number from 1, line) of each line that is not empty.

    Raises:
        UserError: a line is too long, or there are too many.
    """
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if len(lines) > MOST_ROWS + 1:
        raise UserError(f"{what} {str(path)!r} has {len(lines)} lines; the limit is {MOST_ROWS}, split it.")
    for number, line in lines:
        if len(line) > LONGEST_LINE:
            raise UserError(f"line {number} of {str(path)!r} has {len(line)} characters; the limit is {LONGEST_LINE}.")
        yield number, line


def _json_rows(path: str | Path, text: str) -> Iterator[Row]:
    for index, (number, line) in enumerate(numbered_lines(path, text, "benchmark")):
        try:
            asked = parsed(line, longest=LONGEST_LINE)
            yield _maker(asked)(asked, str(index))
        except (ValueError, TypeError) as problem:
            raise _damaged(path, number, problem) from None


def _maker(asked: Any) -> Callable[[Any, str], Row]:
    if isinstance(asked, dict) and "include" in asked:
        return geneval
    if isinstance(asked, dict) and "vqa_list" in asked:
        return geneval2
    raise ValueError("it has neither `include`, as GenEval's rows, nor `vqa_list`, as GenEval 2's")


def _csv_rows(path: str | Path, text: str, header: str) -> Iterator[Row]:
    names = [name.strip() for name in header.split(",")]
    suffix = next((end for end in ("_en", "_zh", "") if {"index", f"prompt{end}", f"sub_dims{end}"} <= {*names}), None)
    if suffix is None:
        raise UserError(f"{str(path)!r} begins with {header[:60]!r}, which no benchmark does; give GenEval's or "
                        "GenEval 2's .jsonl, or a .csv of UniGenBench++.")  # fmt: skip
    csv.field_size_limit(LONGEST_LINE)
    reader = csv.DictReader(io.StringIO(text))
    try:
        for count, cells in enumerate(reader, 1):
            if count > MOST_ROWS:
                raise UserError(f"benchmark {str(path)!r} has more than {MOST_ROWS} rows; split it.")
            if None in cells or None in cells.values():
                raise ValueError(f"it does not have the {len(names)} columns of the first line")
            yield unigenbench({str(name).strip(): value for name, value in cells.items()}, suffix)
    except UserError:
        raise
    except (ValueError, TypeError, csv.Error) as problem:
        raise _damaged(path, reader.line_num, problem) from None


def _damaged(path: str | Path, number: int, problem: Exception) -> UserError:
    return UserError(f"line {number} of {str(path)!r} is no row of a benchmark ({str(problem).rstrip('.')}); mend it.")
