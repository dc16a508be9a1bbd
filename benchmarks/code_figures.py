"""What a stranger has to find their way through, read from the source: `python benchmarks/code_figures.py [FOLDER]`.

* `files`, `lines`: of Python, all lines.
* `file_lines`, `function_lines`: median, 90th percentile and most; a function's from `def` on, its docstring included.
* `classes_repeated`, `files_repeated`: names that stand for several classes or files, and how many each.
* `functions_repeated`: the same of functions and methods, with or without a leading underscore, above `--most`.
* `take_namespace`: functions with a parameter that is annotated as argparse's `Namespace`.
"""

import argparse
import ast
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1] / "llmga"
NAMESPACE = re.compile(r"\bNamespace\b")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def length(function: Function) -> int:
    """Lines, without decorators."""
    return function.end_lineno - function.lineno + 1


def takes_namespace(function: Function) -> bool:
    """Whether a parameter is what `argparse` parses."""
    given = function.args
    annotations = (each.annotation for each in (*given.posonlyargs, *given.args, *given.kwonlyargs))
    return any(each is not None and NAMESPACE.search(ast.unparse(each)) for each in annotations)


def spread(numbers: Iterable[int]) -> dict[str, int]:
    """Median, 90th percentile and most."""
    ordered = sorted(numbers)
    return {"median": ordered[len(ordered) // 2], "p90": ordered[len(ordered) * 9 // 10], "most": ordered[-1]}


def repeated(names: Iterable[str], most: int = 1) -> dict[str, int]:
    """The names that stand more than `most` times, the most frequent first."""
    return {name: count for name, count in Counter(names).most_common() if count > most}


def words(functions: Iterable[Function]) -> Iterator[str]:
    """Their names, `told` for `_told`, too; those that Python gives a meaning are left out."""
    return (each.name.lstrip("_") for each in functions if not each.name.endswith("__"))


def figures(folder: Path, most: int) -> dict[str, Any]:
    """Everything that is printed."""
    sources = {path: path.read_text("utf-8") for path in sorted(folder.rglob("*.py"))}
    modules = [ast.parse(source) for source in sources.values()]
    every = [node for module in modules for node in ast.walk(module)]
    functions = [node for node in every if isinstance(node, FUNCTIONS)]
    lines = [len(source.splitlines()) for source in sources.values()]
    return {
        "files": len(sources),
        "lines": sum(lines),
        "file_lines": spread(lines),
        "functions": len(functions),
        "function_lines": spread(map(length, functions)),
        "classes_repeated": repeated(node.name for node in every if isinstance(node, ast.ClassDef)),
        "files_repeated": repeated(path.name for path in sources if not path.name.startswith("__")),
        "functions_repeated": repeated(words(functions), most),
        "take_namespace": sum(map(takes_namespace, functions)),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures as JSON, one a line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=PACKAGE, help="with sources (default: llmga)")
    parser.add_argument("--most", type=int, default=5, help="functions that may share a name (default: 5)")
    options = parser.parse_args(argv)
    rows = figures(options.folder, options.most)
    print("{" + ",\n ".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items()) + "}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
