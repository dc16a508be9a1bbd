"""Figures of what prompts keep of a benchmark's rows, with intervals, misses with reasons, languages compared."""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

from llmga.errors import UserError
from llmga.evaluation.intervals import wilson
from llmga.evaluation.prompt_answers import AnswerFile, Asking, ask_planner, read_prompts, texts
from llmga.evaluation.prompt_length import LIMIT, Counter, clip_counter
from llmga.evaluation.prompt_rules.judging import Verdict, judge
from llmga.evaluation.prompt_rules.rows import TEST_POINT, Demand, Row, language_of, read_rows
from llmga.evaluation.prompts import ANSWERS
from llmga.jobs import write_result
from llmga.llava.endpoint.keys import key_of_environment
from llmga.llava.sampling import Sampling

WRITTEN = "a prompt is written"


@dataclass
class Tally:
    """How many are right of how many, by claim.

    Attributes:
        unseen: how many the rules could not see.
    """

    right: dict[str, int] = field(default_factory=dict)
    of: dict[str, int] = field(default_factory=dict)
    unseen: dict[str, int] = field(default_factory=dict)

    def add(self, claim: str, kept: bool | None) -> None:
        """Count a case; None is one that cannot be seen."""
        if kept is None:
            self.unseen[claim] = self.unseen.get(claim, 0) + 1
            return
        self.right[claim] = self.right.get(claim, 0) + kept
        self.of[claim] = self.of.get(claim, 0) + 1

    def figures(self) -> dict[str, dict[str, float]]:
        """Every claim with its share and interval."""
        return {claim: figure(self.right[claim], self.of[claim]) for claim in self.of}


def figure(right: int, of: int) -> dict[str, float]:
    """A share with Wilson's interval at 95 %."""
    low, high = wilson(right, of)
    share = right / of if of else 0.0
    return {"right": right, "of": of, "share": round(share, 4), "low": round(low, 4), "high": round(high, 4)}


@dataclass(frozen=True)
class Judged:
    """A row, its prompt, and a verdict for each of the demands that it was held against.

    Attributes:
        held: the row; where the prompt is in the other language, that one's, if it was given.
    """

    row: Row
    prompt: str | None
    held: Row
    verdicts: tuple[Verdict, ...]

    @property
    def kept(self) -> bool | None:
        """Whether everything that the rules see is kept; None where they see nothing."""
        seen = [verdict.kept for verdict in self.verdicts if verdict.kept is not None]
        return all(seen) if seen else None

    def lost(self) -> Iterator[tuple[Demand, Verdict]]:
        """What is lost, and why."""
        yield from (pair for pair in zip(self.held.demands, self.verdicts, strict=True) if pair[1].kept is False)


def judge_all(rows: Sequence[Row], prompts: Sequence[str | None]) -> list[Judged]:
    """Every row's prompt, held against the row, or against the same row in the language of the prompt."""
    known = {(row.benchmark, row.key, row.language): row for row in rows}
    found = []
    for row, prompt in zip(rows, prompts, strict=True):
        other = known.get((row.benchmark, row.key, language_of(prompt or "")))
        points = any(demand.kind == TEST_POINT for demand in row.demands)
        held = other if prompt and other and points else row
        found.append(Judged(row, prompt, held, tuple(judge(held, prompt))))
    return found


def tallied(judged: Sequence[Judged]) -> Tally:
    """Rows, groups of rows, and demands by their kind."""
    tally = Tally()
    for each in judged:
        name = f"{each.row.benchmark}.{each.row.language}"
        tally.add(f"{name}.rows", each.kept)
        if each.row.group:
            tally.add(f"{name}.rows, {each.row.group}", each.kept)
        for demand, verdict in zip(each.held.demands, each.verdicts, strict=True):
            tally.add(f"{name}.{kind_of(demand)}", verdict.kept)
        tally.add(f"{name}.{WRITTEN}", bool(each.prompt))
    return tally


def kind_of(demand: Demand) -> str:
    """What a demand is counted as; a test point by the dimension that its label begins with."""
    if demand.kind != TEST_POINT:
        return demand.kind
    return f"{TEST_POINT}, {demand.label.partition('-')[0].strip()}"


def parity(judged: Sequence[Judged]) -> dict[str, Any]:
    """By benchmark: rows that are there in English and in Chinese, and in which of them everything is kept."""
    rows = {(each.row.benchmark, each.row.key, each.row.language): each.kept for each in judged}
    found: dict[str, Any] = {}
    for benchmark in dict.fromkeys(each.row.benchmark for each in judged):
        keys = [key for name, key, language in rows if (name, language) == (benchmark, "en")]
        pairs = [(rows[benchmark, key, "en"], rows.get((benchmark, key, "zh"))) for key in keys]
        seen = [(en, zh) for en, zh in pairs if en is not None and zh is not None]
        if seen:
            found[benchmark] = _compared(seen)
    return found


def _compared(pairs: list[tuple[bool, bool]]) -> dict[str, Any]:
    en, zh = (figure(sum(pair[side] for pair in pairs), len(pairs)) for side in (0, 1))
    apart = en["low"] > zh["high"] or zh["low"] > en["high"]
    counts = {"both": (True, True), "only en": (True, False), "only zh": (False, True), "neither": (False, False)}
    told = {name: pairs.count(pair) for name, pair in counts.items()}
    return {"en": en, "zh": zh, **told, "verdict": "apart" if apart else "not told apart"}


def lengths(prompts: Sequence[str | None], counter: Counter) -> dict[str, Any]:
    """Tokens of the prompts against CLIP's 77."""
    counts = sorted(counter(prompt) for prompt in texts(prompts))
    if not counts:
        return {"counted": counter.told}
    within = figure(sum(count <= LIMIT for count in counts), len(counts))
    return {"counted": counter.told, "exact": counter.exact, "mean": round(mean(counts), 1), "median": median(counts),
            "longest": counts[-1], f"within {LIMIT}": within}  # fmt: skip


# The command.


def score(options: argparse.Namespace) -> int:
    """Judge the prompts, and print and write the figures.

    Raises:
        UserError: rows, prompts or planner cannot be used.
    """
    rows = [row for file in options.file for row in read_rows(file)[: options.limit]]
    _once(rows)
    counter = clip_counter(options.clip)
    for path in filter(None, (options.output, options.misses)):
        _writable(path)
    whose, prompts = _prompts(options, rows)
    judged = judge_all(rows, prompts)
    asked = tallied(judge_all(rows, [row.prompt for row in rows])).figures()
    report = _report(options, whose, judged, asked, lengths(prompts, counter))
    print(table(report))
    if options.output:
        write_result(
            options.output, json.dumps(report, ensure_ascii=False, indent=2).encode() + b"\n", "choose another"
        )
    if options.misses:
        lines = "".join(json.dumps(miss, ensure_ascii=False) + "\n" for miss in misses(judged))
        write_result(options.misses, lines.encode(errors="replace"), "choose another")
    return 0


def _once(rows: Sequence[Row]) -> None:
    """Every row once: else its partner in the other language would be a guess."""
    seen: set[tuple[str, str, str]] = set()
    for row in rows:
        name = (row.benchmark, row.key, row.language)
        if name in seen:
            raise UserError(f"row {row.key} of {row.benchmark} ({row.language}) is given twice; give a file of each "
                            "language once.")  # fmt: skip
        seen.add(name)


def _writable(path: Path) -> None:
    if not path.parent.is_dir() or path.is_dir():
        raise UserError(f"{str(path)!r} cannot be written; give a file in a folder that is there.")


def _prompts(options: argparse.Namespace, rows: Sequence[Row]) -> tuple[str, list[str | None]]:
    """Whose prompts they are, and the prompts."""
    if options.prompts is not None:
        return str(options.prompts), read_prompts(options.prompts, rows)
    from llmga.command_line import quiet_libraries

    quiet_libraries()
    from llmga.assistant.loading import BUNDLED_MLLM, bundled
    from llmga.llava.endpoint.address import Endpoint
    from llmga.llava.loading import open_planner

    sampling = Sampling(options.temperature, 1.0, options.max_new_tokens, options.seed, options.picture)
    if options.server is not None:
        planner: Any = Endpoint(options.server, options.server_model, key_of_environment()).named()
        name, place = f"{planner.model} at {planner.shown}", {}
    else:
        planner = options.model_path or bundled(BUNDLED_MLLM, "--model-path")
        name, place = Path(planner).name, {"device": options.device}
    asking = Asking(name, options.ask, sampling)
    file = AnswerFile(options.answers or asking.file(ANSWERS), asking.header)
    return name, ask_planner(
        rows, lambda: open_planner(planner, options.model_base, conv_mode=options.conv_mode, **place), asking, file
    )


def _report(options: Any, whose: str, judged: list[Judged], asked: Any, length: dict[str, Any]) -> dict[str, Any]:
    tally = tallied(judged)
    return {
        "files": [str(file) for file in options.file],
        "prompts": whose,
        "rows": len(judged),
        "figures": tally.figures(),
        "requests themselves": asked,
        "unseen": tally.unseen,
        "parity": parity(judged),
        "length": length,
    }


def table(report: dict[str, Any]) -> str:
    """The figures; beside them what the rules find kept in the requests themselves, which is what they can see."""
    lines = [f"prompts of {report['prompts']}, {report['rows']} rows",
             f"{'claim':52} {'kept':>11} {'share':>7} {'95 %':>15} {'request':>8}"]  # fmt: skip
    for claim, found in sorted(report["figures"].items()):
        own = report["requests themselves"].get(claim, {}).get("share")
        shown = "" if own is None or claim.endswith(WRITTEN) else f"{own:8.1%}"
        lines.append(f"{claim:52} {_cells(found)} {shown:>8}")
    lines += [f"{claim}: {count} not seen by rule" for claim, count in sorted(report["unseen"].items())]
    lines += [line for benchmark, found in report["parity"].items() for line in _parity_lines(benchmark, found)]
    return "\n".join([*lines, *_length_lines(report["length"])])


def _cells(found: dict[str, float]) -> str:
    kept, interval = f"{found['right']}/{found['of']}", f"{found['low']:.1%}-{found['high']:.1%}"
    return f"{kept:>11} {found['share']:7.1%} {interval:>15}"


def _parity_lines(benchmark: str, found: dict[str, Any]) -> Iterator[str]:
    for language in ("en", "zh"):
        yield f"{f'parity, {benchmark}.{language}':52} {_cells(found[language])}"
    counts = ", ".join(f"{name} {found[name]}" for name in ("both", "only en", "only zh", "neither"))
    yield f"parity, {benchmark}: {counts}; the intervals are {found['verdict']}"


def _length_lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"tokens are counted {found['counted']}"
    if "mean" in found:
        yield f"{f'length, within {LIMIT} tokens':52} {_cells(found[f'within {LIMIT}'])}"
        yield f"tokens: mean {found['mean']}, median {found['median']:g}, longest {found['longest']}"


def misses(judged: Sequence[Judged]) -> Iterator[dict[str, Any]]:
    """Every row of which something is lost."""
    for each in judged:
        lost = [{"demand": kind_of(demand), "thing": demand.thing or demand.value, "reason": verdict.reason}
                for demand, verdict in each.lost()]  # fmt: skip
        if lost:
            where = {"benchmark": each.row.benchmark, "row": each.row.key, "language": each.row.language}
            yield {**where, "asked": each.row.prompt, "prompt": each.prompt, "lost": lost}
