"""What an entry point costs before it does anything: `python benchmarks/start.py [MODULE …]`.

Every module of llmga that is a command is started with `--help`, in a process of its own.  Printed for each:

* `cpu_seconds`: the processor's time, user and system, the least of the rounds.
* `ratio`: over that of `python -c pass`.
* `heavy`: which of the libraries that take long were imported.
* `exit`: what `--help` ended with, where that is not 0.
"""

import argparse
import ast
import json
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "llmga"
HEAVY = ("torch", "transformers", "diffusers", "scipy", "gradio", "numpy", "PIL")
PATIENCE = 300  # seconds
IMPORTED = "import time:"  # begins a line of `python -X importtime`


def entry_points() -> Iterator[str]:
    """The modules that are commands, as `python -m` takes them."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if path.name == "__main__.py":
            yield ".".join(parts[:-1])
        elif "-" in path.name or is_command(ast.parse(path.read_text("utf-8"))):
            yield ".".join(parts)


def is_command(module: ast.Module) -> bool:
    """Whether it has an `if __name__ == "__main__":`."""
    conditions = (ast.unparse(each.test) for each in module.body if isinstance(each, ast.If))
    return "__name__ == '__main__'" in conditions


def started(*command: str) -> tuple[float, subprocess.CompletedProcess[str]]:
    """Seconds of the processor, and how Python ended."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=PATIENCE
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, ended


def imported(told: str) -> set[str]:
    """The modules that `-X importtime` tells of."""
    return {line.rpartition("|")[2].strip() for line in told.splitlines() if line.startswith(IMPORTED)}


def measured(module: str, rounds: int, bare: float) -> dict[str, Any]:
    """The figures of one entry point."""
    runs = [started("-X", "importtime", "-m", module, "--help") for _ in range(rounds)]
    seconds, ended = min(runs, key=lambda run: run[0])
    found = {"cpu_seconds": round(seconds, 2), "ratio": round(seconds / bare, 1)}
    found["heavy"] = [name for name in HEAVY if name in imported(ended.stderr)]
    return found | ({"exit": ended.returncode} if ended.returncode else {})


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures as JSON, an entry point a line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="in place of all of them")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args(argv)
    bare = min(started("-c", "pass")[0] for _ in range(5))
    rows = {"python -c pass": {"cpu_seconds": round(bare, 3)}}
    rows |= {module: measured(module, options.rounds, bare) for module in options.modules or entry_points()}
    print("{" + ",\n ".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items()) + "}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
