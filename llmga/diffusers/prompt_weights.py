"""Bracket syntax: which words of a prompt count more, as A1111 and many other tools write it."""

import re

STEP = 1.1  # what one pair of brackets multiplies or divides by
MOST = 100.0  # a number beyond it means nothing and would overflow
TOKEN = re.compile(
    r"\\(?P<escaped>[()\[\]\\])|:\s*(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))\s*\)|(?P<bracket>[()\[\]])|(?P<text>[^\\()\[\]:]+|.)",
    re.DOTALL,
)


def parse_weights(prompt: str) -> list[tuple[str, float]]:
    r"""The runs of a prompt and how much each counts; neighbours of equal weight are one run.

    `(x)` counts 1.1 times, `[x]` 1/1.1 times, `(x:1.4)` 1.4 times; nested brackets multiply, one that is never closed
    acts to the end, `\(` is a bracket of the text, and none counts more than 100 times.

    >>> parse_weights("a (red:1.5) [dot]")
    [('a ', 1.0), ('red', 1.5), (' ', 1.0), ('dot', 0.9090909090909091)]
    """
    runs: list[list] = []
    open_at: dict[str, list[int]] = {"(": [], "[": []}

    def close(kind: str, factor: float) -> None:
        for run in runs[open_at[kind].pop() :]:
            run[1] = _bounded(run[1] * _bounded(factor))

    for match in TOKEN.finditer(prompt):
        bracket = match["bracket"]
        if match["weight"] is not None and open_at["("]:
            close("(", float(match["weight"]))
        elif bracket in ("(", "["):
            open_at[bracket].append(len(runs))
        elif bracket == ")" and open_at["("]:
            close("(", STEP)
        elif bracket == "]" and open_at["["]:
            close("[", 1 / STEP)
        else:
            runs.append([match["escaped"] or match[0], 1.0])
    for kind, factor in (("(", STEP), ("[", 1 / STEP)):
        while open_at[kind]:
            close(kind, factor)
    return _merged(runs)


def _bounded(weight: float) -> float:
    return min(max(weight, -MOST), MOST)


def _merged(runs: list[list]) -> list[tuple[str, float]]:
    merged: list[tuple[str, float]] = []
    for text, weight in runs:
        if merged and merged[-1][1] == weight:
            merged[-1] = (merged[-1][0] + text, weight)
        else:
            merged.append((text, weight))
    return merged or [("", 1.0)]
