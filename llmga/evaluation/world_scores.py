"""The language bars of the larger toy world: shares of right turns with Wilson's intervals, and verdicts."""

import argparse
import json
import multiprocessing
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from math import exp, log, sqrt
from pathlib import Path
from typing import Any, NamedTuple

from llmga.command_line import quiet_libraries
from llmga.errors import UserError
from llmga.evaluation.intervals import wilson
from llmga.evaluation.world_talk import held
from llmga.llava.chat import Chat
from llmga.llava.loading import load_mllm
from llmga.llava.planner import Planner
from llmga.toyworld.world.talk.bars import BARS, Case
from llmga.toyworld.world.talk.cases import FEW, cases, from_json

# What the project promises of the bundled planner, as fractions; kinds of change share two of them.
PROMISED = {
    "one thing": 0.98, "two things": 0.95, "three things": 0.90, "held-out phrasings": 0.92, "chinese": 0.90,
    "yes": 0.95, "no": 0.95, "shown in turn 1": 0.95, "shown later": 0.95, "outside": 0.95, "small talk": 0.97,
}  # fmt: skip
EACH_CHANGE, ALL_CHANGES = 0.75, 0.88
DRIFT, EARLY = 0.97, 5  # turns 25-30 against the first five
CHANGES, LATER, FIRST = "change ", "turns 25-30", "turns 1-5"
Z = 1.959964  # of a confidence of 95 %


class Marked(NamedTuple):
    """A judged turn.

    Attributes:
        part: the bar, or which part of a long conversation.
        right: whether all is as it was asked for; the language of the words beside a prompt is a claim of its own.
    """

    part: str
    right: bool
    missed: tuple[str, ...]
    said: str
    answer: str
    kind: str


class Share(NamedTuple):
    """How many turns were right."""

    right: int
    of: int

    @property
    def value(self) -> float:
        """0 to 1."""
        return self.right / self.of if self.of else 0.0


def judged(bar: str, made: Iterable[Case], planner: Planner, seed: int) -> Iterator[Marked]:
    """Hold the conversations of a bar."""
    for case in made:
        for number, (answer, found) in sorted(held(case, planner, seed).items()):
            turn = case.turns[number]
            missed = tuple(claim for claim, is_held in found.items() if not is_held)
            ignored = {"language"} if turn.painted else set()
            part = bar if len(case.judged) == 1 else f"{bar}, {FIRST if number < EARLY else LATER}"
            yield Marked(part, not set(missed) - ignored, missed, turn.person, answer, turn.kind)


def judge_bar(bar: str, model_path: str, made: Sequence[dict[str, Any]] | int, seed: int) -> list[Marked]:
    """A bar in a process of its own.

    Args:
        made: cases as `cases.as_json` gives them, or how many are to be made.

    Raises:
        UserError: the model cannot be opened.
    """
    chat = _chat(model_path)
    return list(judged(bar, cases(bar, made, seed) if isinstance(made, int) else map(from_json, made), chat, seed))


@cache
def _chat(model_path: str) -> Chat:
    """One for all bars of a process; another conversation rolls its cache back."""
    quiet_libraries()
    return Chat(load_mllm(model_path, device="cpu"))


def shares(marked: Iterable[Marked]) -> dict[str, Share]:
    """Right turns by part, and of all kinds of change together."""
    found: dict[str, Share] = {}
    for one in marked:
        names = [one.part, *(["all changes"] if one.part.startswith(CHANGES) else [])]
        for name in names:
            share = found.get(name, Share(0, 0))
            found[name] = Share(share.right + one.right, share.of + 1)
    return found


def ratio(late: Share, early: Share) -> tuple[float, float, float]:
    """Late turns against early ones: the ratio, and the interval by Katz's logarithm (all right: half a miss)."""
    values = [(share.right or 0.5, share.of) for share in (late, early)]
    value = (values[0][0] / values[0][1]) / (values[1][0] / values[1][1])
    reach = Z * sqrt(sum(1 / right - 1 / (of + 0.5) for right, of in values))
    return value, exp(log(value) - reach), exp(log(value) + reach)


def promised(part: str) -> float | None:
    """The bar of a part, if there is one."""
    if part == "all changes":
        return ALL_CHANGES
    return EACH_CHANGE if part.startswith(CHANGES) else PROMISED.get(part)


def verdict(low: float, high: float, bar: float | None) -> str:
    """What the interval allows to say."""
    if bar is None:
        return ""
    return "held" if low >= bar else "missed" if high < bar else "open"


def report(found: Mapping[str, Share]) -> dict[str, dict[str, Any]]:
    """Figures by part: right, of, share, interval, bar and verdict."""
    rows: dict[str, dict[str, Any]] = {}
    for part, share in found.items():
        low, high = wilson(share.right, share.of)
        bar = promised(part)
        rows[part] = {"right": share.right, "of": share.of, "share": round(share.value, 4),
                      "low": round(low, 4), "high": round(high, 4), "bar": bar,
                      "verdict": verdict(low, high, bar)}  # fmt: skip
    long = [found.get(f"long conversation, {when}") for when in (LATER, FIRST)]
    if long[0] and long[1]:
        value, low, high = ratio(long[0], long[1])
        rows["drift"] = {"share": round(value, 4), "low": round(low, 4), "high": round(high, 4), "bar": DRIFT,
                         "verdict": verdict(low, high, DRIFT)}  # fmt: skip
    return rows


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The figures as text."""
    lines = [f"{'part':34} {'right/of':>10} {'share':>6} {'interval':>13} {'bar':>5}"]
    for part, row in rows.items():
        counted = f"{row['right']}/{row['of']}" if "of" in row else ""
        bar = "" if row["bar"] is None else f"{row['bar']:.2f}"
        interval = f"{row['low']:.3f}-{row['high']:.3f}"
        lines.append(f"{part:34} {counted:>10} {row['share']:6.3f} {interval:>13} {bar:>5}  {row['verdict']}".rstrip())
    return "\n".join(lines)


def _read(file: Path) -> dict[str, list[dict[str, Any]]]:
    """Cases by bar.

    Raises:
        UserError: the file is not there.
    """
    if not file.is_file():
        raise UserError(
            f"the file of cases {str(file)!r} does not exist; `python -m llmga.toyworld.world cases` writes one."
        )
    found: dict[str, list[dict[str, Any]]] = {}
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            case = json.loads(line)
            found.setdefault(case["bar"], []).append(case)
    return found


def work(options: argparse.Namespace) -> dict[str, Sequence[dict[str, Any]] | int]:
    """What is judged: bar -> its cases, or how many.

    Raises:
        UserError: a bar is unknown, or the file has none of it.
    """
    given: dict[str, Sequence[dict[str, Any]] | int]
    if options.cases:
        given = dict(_read(options.cases))
    else:
        given = {bar: max(1, round(FEW.get(bar, 1.0) * options.count)) for bar in BARS}
    if unknown := [bar for bar in options.bars or () if bar not in given]:
        raise UserError(f"bar {unknown[0]!r} is unknown; known are {', '.join(given)}.")
    return {bar: made for bar, made in given.items() if not options.bars or bar in options.bars}


def score(options: argparse.Namespace) -> int:
    """Judge what was asked for, and print and write the figures.

    Raises:
        UserError: the model or the cases cannot be opened.
    """
    start = time.monotonic()
    jobs = [(bar, options.model_path, made, options.seed) for bar, made in work(options).items()]
    if options.processes == 1:
        marked = [one for job in jobs for one in judge_bar(*job)]
    else:
        with ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn")) as pool:
            marked = [one for found in pool.map(judge_bar, *zip(*jobs, strict=True)) for one in found]
    rows = report(shares(marked))
    if options.output and options.output.is_file():
        rows = json.loads(options.output.read_text())["figures"] | rows
    print(table(rows))
    if options.output:
        said = {"figures": rows, "model": options.model_path, "seed": options.seed,
                "seconds": round(time.monotonic() - start)}  # fmt: skip
        options.output.write_text(json.dumps(said, indent=2) + "\n")
    if options.misses:
        missed = (json.dumps(one._asdict(), ensure_ascii=False) for one in marked if not one.right)
        options.misses.write_text("\n".join(missed) + "\n", encoding="utf-8")
    return 0
