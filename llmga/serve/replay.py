"""Make a picture again from what stands in its file: `python -m llmga.serve.replay FILE [--out FILE]`.

The painter and the restorer are found by their names and must have the recorded weights; the language model is not
needed.  A picture that was made from another one needs that one and its mask: from the session that has it
(`--session`, or the folder of the file where it is one), or as `--image-file` and `--mask-file`.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

from llmga.diffrir.restorers import Restorer, open_restorer
from llmga.diffusers.canvas import Canvas
from llmga.diffusers.checkpoints import SHELVES, find_checkpoint
from llmga.diffusers.generators import Generator, load_generator
from llmga.errors import UserError, command_line
from llmga.files import write_whole
from llmga.images import open_image
from llmga.masks import read_mask
from llmga.runtime import quiet_libraries
from llmga.serve import args as flags
from llmga.serve.history import Region
from llmga.serve.metadata import encoded, kind_of, read
from llmga.serve.painting import Finish, Order, paint
from llmga.serve.portable import INDEX, load_session
from llmga.serve.provenance import ModelMark, Record, fingerprint, picture_hash

DTYPES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}  # torch's names and ours


def replayed(record: Record, generator: Generator, finish: Finish, region: Region | None) -> Image.Image:
    """The picture that the record tells of.

    Args:
        generator, finish: the painter, the restorer and the upscaler, set up as they were.
        region: the picture that was changed; None for one from words.

    Raises: UserError.
    """
    order = Order(
        prompt=record.prompt,
        seed=record.seed,
        region=region,
        negative_prompt=record.negative_prompt or None,
        steps=record.steps,
        guidance_scale=record.guidance_scale,
        size=record.work_size,
    )
    return paint(generator, order, finish)


def region_of(record: Record, pictures: Mapping[str, Image.Image]) -> Region | None:
    """The picture that was changed and its mask, of pictures by their hash.  Raises: UserError when one lacks."""
    if record.parent is None:
        return None
    parent = _known(pictures, record.parent, "parent", "--image-file")
    if record.outpaint is not None:
        picture, mask = Canvas.parse(record.outpaint, parent.size).grow(parent, record.fill or "edge")
        return Region(picture, mask, record.changes, parent, record.outpaint, record.fill)
    mask = _known(pictures, record.mask, "mask", "--mask-file") if record.mask else None
    return Region(parent, mask, record.changes, parent)


def _known(pictures: Mapping[str, Image.Image], wanted: str, what: str, flag: str) -> Image.Image:
    if wanted not in pictures:
        raise UserError(
            f"the picture's {what} ({wanted[:10]}) is not among the {len(pictures)} pictures given; give the session "
            f"with --session, or the very {what} with {flag}."
        )
    return pictures[wanted]


def given_pictures(record: Record, args: argparse.Namespace) -> dict[str, Image.Image]:
    """What the flags and the session hold, by hash.  Raises: UserError."""
    beside = Path(args.file).parent
    session = args.session or (beside if (beside / INDEX).is_file() else None)
    found = dict(load_session(session).pictures) if session is not None else {}
    if args.image_file is not None:
        parent = open_image(args.image_file, exact=True)
        found |= {picture_hash(version): version for version in (parent, open_image(args.image_file))}
        if args.mask_file is not None:
            drawn = open_image(args.mask_file, exact=True)
            mask = read_mask(drawn, parent.size, soft=record.changes.get("soft", False))
            found[picture_hash(mask)] = mask
    return found


def open_painter(record: Record, args: argparse.Namespace) -> Generator:
    """The painter as it was set up.  Raises: UserError when it is not here, or has other weights."""
    mark, setup = record.model("painter"), record.painter
    if args.sdmodel_id is None and mark is None:
        raise UserError("the record names no painter; give it with --sdmodel_id.")
    folder = find_checkpoint(args.sdmodel_id or shelved(mark.name))
    check_weights(mark, folder, "--sdmodel_id")
    generator = load_generator(
        folder,
        name=setup.get("family"),
        device=args.device or setup.get("device", "auto"),
        dtype=DTYPES.get(setup.get("dtype", "")),
        sampler=setup.get("sampler"),
        tile_vae=setup.get("tile_vae", False),
        weighted=setup.get("weighted", False),
        loras=args.lora,
    )
    flags.guide(generator, args)
    _check_added(setup.get("added", []), generator.added)
    return generator


def _check_added(recorded: Sequence[Mapping[str, Any]], here: Sequence[Mapping[str, Any]]) -> None:
    """Raises: UserError when other weights are added to the painter than were."""
    if list(recorded) != list(here):
        told = ", ".join(f"{each['kind']} {each['name']} ({each['sha256'][:10]})" for each in recorded) or "nothing"
        raise UserError(
            f"the picture was painted with {told} added to the painter, here it is something else; give just that with "
            "--lora, --controlnet or --ip-adapter, and the same picture and scale."
        )


def open_finish(record: Record, args: argparse.Namespace) -> Finish:
    """The restorer and the upscaler.  Raises: UserError."""
    restorer = _opened(record, "restorer", record.restorer or "none", args.restorer_path, args.device)
    if record.upscaler is None:
        return Finish(restorer)
    return Finish(restorer, _opened(record, "upscaler", record.upscaler, args.upscaler_path, args.device))


def _opened(record: Record, role: str, name: str, path: str | None, device: str | None) -> Restorer:
    mark = record.model(role)
    place = path or (mark and shelved(mark.name))
    if place is not None:
        check_weights(mark, place, f"--{role}-path")
    return open_restorer(name, place, device or record.painter.get("device", "auto"))


def shelved(name: str) -> str:
    """The model of this name on the shelves here or beside the package; the name itself where there is none."""
    places = (Path(shelf, name) for shelf in SHELVES)
    found = next((place for place in places if place.exists()), None)
    with suppress(UserError):
        return str(found or flags.shipped(str(Path(SHELVES[0], name)), ""))
    return name


def check_weights(mark: ModelMark | None, place: str | Path, flag: str) -> None:
    """Raises: UserError when a model's weights are not the recorded ones."""
    here = fingerprint(place)
    if mark is not None and mark.sha256 is not None and here != mark.sha256:
        raise UserError(
            f"the {mark.role} {str(place)!r} has other weights ({(here or 'none')[:10]}) than {mark.name!r} had "
            f"({mark.sha256[:10]}) when the picture was made; give those with {flag}."
        )


def replay(args: argparse.Namespace) -> int:
    """Make the picture again and say whether it is the same; 1 if not.  Raises: UserError."""
    record, file = read(args.file), Path(args.file)
    region = region_of(record, given_pictures(record, args))
    image = replayed(record, open_painter(record, args), open_finish(record, args), region)
    content = encoded(image, record, kind_of(file), quality=record.quality)
    out = Path(args.out or file.with_stem(f"{file.stem}-again"))
    try:
        write_whole(out, content)
    except OSError as problem:
        raise UserError(f"{str(out)!r} cannot be written ({problem.strerror}); give another --out.") from None
    same = content == file.read_bytes()
    print(f"saved {out}: " + ("the same bytes." if same else "not the same bytes (another machine or version?)."))
    return 0 if same else 1


def build_parser() -> flags.Parser:
    """The flags."""
    parser = flags.Parser(prog="python -m llmga.serve.replay", description="Make a picture again.", allow_abbrev=False)
    parser.add_argument("file", metavar="FILE", help="a picture that llmga saved")
    parser.add_argument("--out", metavar="FILE", help="where it goes; left out: FILE with -again in its name")
    parser.add_argument("--session", metavar="PATH", help="session (folder or .zip) that has the picture's parent")
    parser.add_argument("--image-file", metavar="FILE", help="the parent itself")
    parser.add_argument("--mask-file", metavar="FILE", help="the mask itself")
    parser.add_argument("--sdmodel_id", "--sdmodel-id", metavar="FOLDER", help="painter, if it lies elsewhere")
    parser.add_argument("--lora", action="append", default=[], metavar="FILE[:WEIGHT]", help="low-rank weights")
    flags.add_guides(parser)
    parser.add_argument("--restorer-path", metavar="PATH", help="weights of the restorer, if they lie elsewhere")
    parser.add_argument("--upscaler-path", metavar="PATH", help="weights of the upscaler, if they lie elsewhere")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:N or mps; left out: the recorded one")
    return parser


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    quiet_libraries()
    return replay(build_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
