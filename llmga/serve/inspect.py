"""Say what files and folders of weights are, and what opens them; no weights are loaded.

llmga inspect style.safetensors
llmga inspect checkpoints/Inference/llmga-toy-sdxl-t2i --json
llmga inspect checkpoints/Inference/llmga-toy-sdxl-t2i --plan --painter-quant nf4
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmga.choices import DTYPES, OFFLOADS, PAINTER_QUANTS
from llmga.command_line import Parser, size
from llmga.errors import UserError, command_line

if TYPE_CHECKING:
    from llmga.diffusers.file_kinds import FileKind

WEIGHTS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf")
PAINTING = ("checkpoint", "unet", "transformer", "vae", "text-encoder", "unknown")  # kinds that a plan is made of
PARTS = ("unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3", "vae")


def build_parser() -> Parser:
    """The flags."""
    parser = Parser(prog="python -m llmga.serve.inspect", description=__doc__.splitlines()[0])
    parser.add_argument(
        "place", nargs="+", metavar="PATH", help="a file of weights, a folder, or the name of a model here"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object each, for programs")
    plan = parser.add_argument_group("memory")
    plan.add_argument("--plan", action="store_true", help="of a painter: what memory it will take, part by part")
    plan.add_argument("--dtype", default="fp16", metavar="NAME", help=f"one of: {', '.join(DTYPES)} (default: fp16)")
    quants = f"of the denoiser: {', '.join(PAINTER_QUANTS)} or a .gguf file"
    plan.add_argument("--painter-quant", metavar="NAME", help=quants)
    plan.add_argument("--offload", default="none", metavar="NAME", help=f"one of: {', '.join(OFFLOADS)}")
    plan.add_argument("--size", type=size, metavar="WxH", help="of the picture; left out: the model's own")
    return parser


def planned(place: Path, args: argparse.Namespace) -> str:
    """What memory a painter will take.

    Raises:
        UserError: it is none, or a name is unknown.
    """
    from llmga.diffusers.plan import painter_memory

    place = _of_painter(place)
    plan = painter_memory(place, dtype=args.dtype, quant=args.painter_quant, offload=args.offload, size=args.size)
    return json.dumps(plan.to_dict()) if args.json else str(plan)


def _of_painter(place: Path) -> Path:
    """The place, or the one file in it.

    Raises:
        UserError: what is there does not paint.
    """
    found = described(place)
    if place.is_dir() and found["path"] != str(place):
        place = Path(found["path"])
    if found["kind"] not in PAINTING:
        raise UserError(f"{str(place)!r} is {found['said']}, and --plan is for painters; leave --plan out, or give a "
                        "diffusers folder or a single file of one.")  # fmt: skip
    return place


def described(place: Path) -> dict[str, Any]:
    """What is known of a file or a folder; its keys are those of `--json`.

    Raises:
        UserError: it is not there, damaged, or holds no weights.
    """
    if place.is_dir():
        return _folder(place)
    if not place.is_file():
        raise UserError(f"{str(place)!r} is not there; give a file of weights, or a folder.")
    if place.suffix.lower() not in WEIGHTS:
        from llmga.filetypes import file_type

        kind = file_type(place)
        told = f"is {kind.said} and no file of weights" if kind else "is no file of weights that is read"
        if kind and not kind.remedy.endswith(f" {place.suffix}"):  # its name says so already
            told += f"; {kind.remedy}"
        raise UserError(f"{str(place)!r} {told}; these end with {', '.join(WEIGHTS)}.")
    return _file(place)


def _file(path: Path, *, alone: bool = True) -> dict[str, Any]:
    from dataclasses import replace

    from llmga.diffusers.file_facts import beside, facts_of
    from llmga.diffusers.file_headers import read_header
    from llmga.diffusers.file_kinds import recognise

    header = read_header(path)
    kind = recognise(header.shapes, header.metadata)
    if alone and kind.name == "lora":
        header = replace(header, metadata={**beside(path), **header.metadata})
    facts = asdict(facts_of(header, adapter=kind.name == "lora"))
    if kind.name == "embedding":
        facts["words"] = _words(header.shapes, path)
        facts["width"] = ", ".join(dict.fromkeys(str(shape[-1]) for shape in header.shapes.values() if len(shape) == 2))
    return {
        "path": str(path), "kind": kind.name, "said": kind.whole, "family": kind.family, "layout": kind.layout,
        "opens": _opens(path, kind), **_hint(path, kind.name), **facts,
    }  # fmt: skip


def _opens(path: Path, kind: "FileKind") -> str:
    """A denoiser in llama.cpp's format goes beside the folder that has the rest."""
    if path.suffix.lower() == ".gguf" and kind.name in ("transformer", "unet"):
        return "give its diffusers folder as --sdmodel_id and this file as --painter-quant"
    return kind.opens


def _words(shapes: Mapping[str, tuple[int, ...]], path: Path) -> tuple[str, ...]:
    """The words that a textual inversion teaches; where its file names none, the file's name stands for it."""
    forms = ("string_to", "emb_params", "clip_l", "clip_g", "tensor")
    own = [name for name in shapes if not name.startswith(forms)]
    return tuple(own or [path.stem])


def _hint(path: Path, kind: str) -> dict[str, str]:
    """What only a file's name says: distilled UNets have the tensors of others."""
    import re

    found = re.search(r"(?i)(lightning|hyper|turbo|lcm|dmd2?|schnell)\D*(\d+)?[-_ ]?step", path.name)
    if kind not in ("unet", "lora", "checkpoint", "transformer") or found is None:
        return {}
    return {"hint": f"its name says that it was distilled for {found[2] or 'few'} steps: give --steps "
                    f"{found[2] or 4} and its --sampler"}  # fmt: skip


def _folder(folder: Path) -> dict[str, Any]:
    from llmga.diffusers.folder_kinds import lacking_parts, recognise_folder

    found = recognise_folder(folder)
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.suffix.lower() in WEIGHTS)
    if found is None:
        return _files(folder, files)
    kind, config = found
    parts = {name: folder / name for name in PARTS if (folder / name).is_dir()}
    inside = [file for part in parts.values() for file in sorted(part.iterdir()) if file.is_file()]
    counted = inside if parts and kind.name == "checkpoint" else [*files, *inside]  # beside parts lie notes and caches
    whole = {
        "path": str(folder), "kind": kind.name, "said": kind.said, "family": None, "layout": kind.layout,
        "opens": kind.opens, "class": _class(config), **_counted(counted),
    }  # fmt: skip
    if kind.name == "lora" and files:
        return {**_file(files[0]), "path": str(folder), "layout": kind.layout, "opens": kind.opens,
                "class": _class(config), "base": config.get("base_model_name_or_path")}  # fmt: skip
    if parts:
        whole["parts"] = {name: _counted(sorted(file for file in part.iterdir() if file.is_file()))
                          for name, part in parts.items()}  # fmt: skip
        whole["family"] = _family(folder)
    if kind.name == "checkpoint" and (lacking := lacking_parts(folder, config)):
        whole |= {"said": f"a pipeline of diffusers that lacks {', '.join(lacking)}",
                  "opens": "copy the whole diffusers folder, then give it as --sdmodel_id"}  # fmt: skip
    return whole


def _files(folder: Path, files: Sequence[Path]) -> dict[str, Any]:
    """Raises: UserError when a folder without a JSON file that tells its kind holds no weights either."""
    if not files:
        raise UserError(f"the folder {str(folder)!r} holds no weights that are known here: no model_index.json, "
                        f"config.json or file that ends with {', '.join(WEIGHTS)}; give another.")  # fmt: skip
    if len(files) == 1:
        return _file(files[0])
    return {"path": str(folder), "kind": "folder", "said": f"a folder with {len(files)} files of weights",
            "opens": "give one of them", "files": [_file(file) for file in files[:50]]}  # fmt: skip


def _class(config: Mapping[str, Any]) -> str | None:
    named = config.get("_class_name") or next(iter(config.get("architectures") or []), None) or config.get("peft_type")
    return str(named)[:100] if named is not None else None


def _family(folder: Path) -> str | None:
    """By the head of the denoiser's first file."""
    from llmga.diffusers.file_headers import read_header
    from llmga.diffusers.file_kinds import recognise

    for part in ("unet", "transformer"):
        for file in sorted((folder / part).glob("*.safetensors")):
            return recognise(read_header(file).shapes, {}).family
    return None


def _counted(files: Sequence[Path]) -> dict[str, Any]:
    """Of all files together; a variant beside the same weights counts, too."""
    from collections import Counter

    from llmga.diffusers.file_facts import facts_of
    from llmga.diffusers.file_headers import read_header

    known = [file for file in files if file.suffix.lower() in WEIGHTS]
    facts = [facts_of(read_header(file), adapter=False) for file in known]
    formats: Counter[str] = Counter()
    for each in facts:
        formats[each.precision] += each.weights
    return {
        "precision": ", ".join(name for name, _ in formats.most_common()) or None,
        "weights": sum(each.weights for each in facts),
        "tensors": sum(each.tensors for each in facts),
        "size": sum(each.size for each in facts),
    }


SHOWN = (
    ("family", "family"), ("layout", "layout"), ("class", "class"), ("precision", "precision"), ("methods", "method"),
    ("rank", "rank"), ("alpha", "alpha"), ("trainer", "written by"), ("base", "trained beside"), ("words", "words"),
    ("width", "width"), ("hint", "hint"),
)  # fmt: skip


def told(found: Mapping[str, Any], indent: str = "") -> str:
    """For people: a line each."""
    lines = [f"{indent}{found['path']}: {found['said']}"]
    rows = [(label, _plain(found[name])) for name, label in SHOWN if found.get(name)]
    if found.get("tensors"):
        rows.insert(3, ("weights", f"{found['weights']:,} in {found['tensors']:,} tensors, {_size(found['size'])}"))
    rows += [(name, _plain(text)) for name, text in (found.get("stated") or {}).items()]
    rows += [(name, f"{part['weights']:,} weights, {part['precision']}, {_size(part['size'])}")
             for name, part in found.get("parts", {}).items()]  # fmt: skip
    rows.append(("opens", found["opens"]))
    lines += [f"{indent}  {label:15} {text}" for label, text in rows]
    return "\n".join([*lines, *(told(each, indent + "  ") for each in found.get("files", []))])


def _plain(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _size(count: int) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count = count / 1000  # type: ignore[assignment]
    return f"{count:.3g} GB"


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    args = build_parser().parse_args(argv)
    from llmga.model_directories import places

    _check_plan_flags(args)
    code = 0
    for name in args.place:
        try:
            print(_answer(next((place for place in places(name) if place.exists()), Path(name)), args))
        except UserError as problem:  # of one place; the others are told all the same
            print(f"error: {problem}", file=sys.stderr)
            code = 2
    return code


def _answer(place: Path, args: argparse.Namespace) -> str:
    """What is printed of a place."""
    if args.plan:
        return planned(place, args)
    found = described(place)
    return json.dumps(found, ensure_ascii=False) if args.json else told(found)


def _check_plan_flags(args: argparse.Namespace) -> None:
    """Raises: UserError for a flag of the plan without one."""
    usual = build_parser().parse_args(["."])
    flags = ("dtype", "painter_quant", "offload", "size")
    given = [name for name in flags if getattr(args, name) != getattr(usual, name)]
    if given and not args.plan:
        raise UserError(f"--{given[0].replace('_', '-')} is for the plan of memory; add --plan, or leave it out.")


if __name__ == "__main__":
    sys.exit(main())
