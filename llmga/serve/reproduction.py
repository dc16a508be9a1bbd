"""Make a picture again from what stands in its file.

The file may come from anybody.  The pipeline and the restorer are found by their names in the model directories here,
nowhere else, and must have the recorded weights; any other one is given by its flag.  The language model is not needed.
A picture that was made from another one needs that one and its mask: from the session that has it (`--session`, or the
folder of the file where it is one), or as `--image-file` and `--mask-file`.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from llmga.assistant.credentials import unsigned
from llmga.assistant.image_files import encoded, kind_of, read
from llmga.assistant.loading import Guide
from llmga.assistant.painting import ImageRequest, Postprocessing, paint
from llmga.assistant.provenance import source_in
from llmga.assistant.record import ModelMark, Record, picture_hash
from llmga.assistant.safety import Watermark
from llmga.assistant.session import Region
from llmga.assistant.session_file import INDEX, load_pictures
from llmga.diffrir.restorers import RESTORERS, LazyDiffRIR, Restorer, load_restorer
from llmga.diffusers.assembly import assemble
from llmga.diffusers.canvas import FILLS, Canvas
from llmga.diffusers.checkpoints import find_checkpoint, read_index
from llmga.diffusers.control import Control, parse_controls
from llmga.diffusers.parts import PARTS, find_part
from llmga.diffusers.pipelines import PIPELINES, Pipeline, family_of, load_pipeline
from llmga.diffusers.samplers import SAMPLERS
from llmga.errors import UserError
from llmga.files import fingerprint, write_whole
from llmga.images import open_image
from llmga.masks import read_mask
from llmga.model_directories import MODEL_DIRECTORIES, in_model_directories
from llmga.serve import parsed_args
from llmga.typed import is_one_part

NOTHING: Mapping[str, str | None] = {}
DTYPES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}  # torch's names and ours


def replayed(
    record: Record,
    pipeline: Pipeline,
    postprocessing: Postprocessing,
    region: Region | None,
    controls: tuple[Control, ...] | None = None,
) -> Image.Image:
    """The picture that the record tells of.

    Args:
        pipeline: set up as it was.
        postprocessing: restorer and upscaler, set up as they were.
        region: the picture that was changed; None for one from words.
        controls: which pictures guided it; None is how the pipeline was set up.

    Raises:
        UserError: it cannot be painted so.
    """
    order = ImageRequest(
        prompt=record.prompt,
        seed=record.seed,
        region=region,
        negative_prompt=record.negative_prompt or None,
        steps=record.steps,
        guidance_scale=record.guidance_scale,
        clip_skip=record.clip_skip,
        size=record.work_size,
        controls=controls,
    )
    return paint(pipeline, order, postprocessing)


def region_of(record: Record, pictures: Mapping[str, Image.Image]) -> Region | None:
    """The picture that was changed and its mask, of pictures by their hash.

    Raises:
        UserError: one lacks.
    """
    if record.parent is None:
        return None
    parent = _known(pictures, record.parent, "parent", "--image-file")
    if record.outpaint is not None:
        picture, added = Canvas.parse(record.outpaint, parent.size).grow(parent, record.fill or "edge")
        return Region(picture, added, record.changes, parent, record.outpaint, record.fill)
    mask = _known(pictures, record.mask, "mask", "--mask-file") if record.mask else None
    return Region(parent, mask, record.changes, parent)


def controls_of(record: Record, pictures: Mapping[str, Image.Image]) -> tuple[Control, ...] | None:
    """Which pictures guided it, of pictures by their hash.

    Raises:
        UserError: one lacks, or a name is unknown here.
    """
    if record.control is None:
        return None
    named = record.control_images
    found = [name if name is None else _known(pictures, name, "control picture", "--control-image") for name in named]
    return parse_controls(record.control, found)


def _known(pictures: Mapping[str, Image.Image], wanted: str, what: str, flag: str) -> Image.Image:
    if wanted not in pictures:
        raise UserError(
            f"the picture's {what} ({wanted[:10]}) is not among the {len(pictures)} pictures given; give the session "
            f"with --session, or the very {what} with {flag}."
        )
    return pictures[wanted]


def given_pictures(
    record: Record,
    session: str | Path | None,
    image_file: str | None,
    mask_file: str | None,
    control_images: Sequence[str] = (),
) -> dict[str, Image.Image]:
    """What a session and files hold of what is needed, by hash.

    Raises:
        UserError: one cannot be read.
    """
    needed = [name for name in (record.parent, record.mask, *record.control_images) if name is not None]
    found = dict(load_pictures(session, needed)) if session is not None and needed else {}
    for file in control_images:
        found |= _versions(file)
    if image_file is not None:
        parent = open_image(image_file, exact=True)
        found |= _versions(image_file)
        if mask_file is not None:
            drawn = open_image(mask_file, exact=True)
            whole = (record.changes.get("strength") or 1) < 1
            mask = read_mask(drawn, parent.size, soft=record.changes.get("soft", False), whole=whole)
            found[picture_hash(mask)] = mask
    return found


def _versions(file: str) -> dict[str, Image.Image]:
    """A picture as it is in its file, and as it is looked at."""
    return {picture_hash(version): version for version in (open_image(file, exact=True), open_image(file))}


def check_rows(record: Record) -> None:
    """See that the tables here have every name.

    Raises:
        UserError: one is missing.
    """
    setup = record.painter
    if (dtype := setup.get("dtype")) is not None and dtype not in DTYPES:
        raise UserError(f"the painter's number format {dtype!r} is unknown; known are {', '.join(DTYPES)}.")
    for table, name in (
        (PIPELINES, setup.get("family")),
        (SAMPLERS, setup.get("sampler")),
        (RESTORERS, record.restorer),
        (RESTORERS, record.upscaler),
        (FILLS, record.fill),
    ):
        if name is not None:
            table[name]


def open_painter(
    record: Record,
    place: str | None,
    device: str | None,
    loras: Sequence[str],
    guides: Sequence[Guide],
    parts: Mapping[str, str | None] = NOTHING,
    embeddings: Sequence[str] = (),
    controls: tuple[Control, ...] | None = None,
    quant: str | None = None,
) -> Pipeline:
    """The pipeline as it was set up.

    Args:
        place: where it lies; None is the model directory.
        parts: where the `unet` and the `vae` lie that took the place of its own, and a `tokenizer`, likewise.
        device: None is the recorded one.
        quant: the .gguf file of its denoiser; None is how the record says that it was held.

    Raises:
        UserError: it is not here, or has other weights.
    """
    mark, setup = record.model("painter"), record.painter
    folder = find_checkpoint(place_of(mark, "painter", place, "--sdmodel_id"))
    check_weights(mark, folder, "--sdmodel_id")
    given: dict[str, Any] = dict(parts) | {role: _part_of(record, role, parts.get(role)) for role in PARTS}
    _check_family(setup.get("family"), folder, given)
    pipeline = load_pipeline(
        folder,
        unet=given["unet"],
        vae=given["vae"],
        tokenizer=given["tokenizer"],
        name=setup.get("family"),
        device=device or setup.get("device", "auto"),
        dtype=DTYPES.get(setup.get("dtype", "")),
        sampler=setup.get("sampler"),
        tile_vae=setup.get("tile_vae", False),
        weighted=setup.get("weighted", False),
        loras=loras,
        embeddings=embeddings,
        quant=quant or _quant(setup.get("quant")),
    )
    for guide in guides:
        guide.use(pipeline)
    here = [*pipeline.added, *pipeline.guides.described(pipeline.controls(controls))]
    _check_added(setup.get("added", []), here)
    return pipeline


def _quant(recorded: str | None) -> str | None:
    """Raises: UserError where it is a file that has to be given."""
    if recorded == "gguf":
        raise UserError("the painter's denoiser was a .gguf file; give it with --painter-quant.")
    return recorded


def _part_of(record: Record, role: str, given: str | None) -> str | None:
    """Where a part lies that took the place of the painter's own; None where none did.

    Raises:
        UserError: it is not here, has other weights, or was not recorded.
    """
    mark = record.model(role)
    if mark is None:
        if given is not None:
            raise UserError(f"the picture was painted with the painter's own {role}; leave out --{role} {given!r}.")
        return None
    place = place_of(mark, role, given, f"--{role}")
    check_weights(mark, find_part(role, place), f"--{role}")
    return place


def _check_family(name: str | None, folder: Path, parts: Mapping[str, str | None]) -> None:
    """Raises: UserError when the folder holds a pipeline of another family than the recorded one."""
    configs = assemble(folder, **parts).configs
    own = family_of(read_index(configs).get("_class_name"), configs)
    if name is not None and PIPELINES[name].architecture not in (own.architecture, "auto"):
        raise UserError(f"the picture was painted by a {name} model, but {str(folder)!r} is {own.name}; "
                        "give the painter with --sdmodel_id.")  # fmt: skip


def _check_added(recorded: Sequence[Mapping[str, Any]], here: Sequence[Mapping[str, Any]]) -> None:
    """Raises: UserError when other weights are added to the pipeline than were."""
    if list(recorded) != list(here):
        told = ", ".join(f"{each['kind']} {each['name']} ({each['sha256'][:10]})" for each in recorded) or "nothing"
        raise UserError(
            f"the picture was painted with {told} added to the painter, here it is something else; give just that with "
            "--lora, --controlnet or --ip-adapter, and the same picture and scale; a taught word with --embedding."
        )


def open_postprocessing(
    record: Record, restorer_path: str | None, upscaler_path: str | None, device: str | None
) -> Postprocessing:
    """The restorer and the upscaler.

    Raises:
        UserError: one is not here, or has other weights.
    """
    restorer = _opened(record, "restorer", record.restorer or "none", restorer_path, device)
    if record.upscaler is None:
        return Postprocessing(restorer)
    return Postprocessing(restorer, _opened(record, "upscaler", record.upscaler, upscaler_path, device))


def _opened(record: Record, role: str, name: str, given: str | None, device: str | None) -> Restorer:
    mark, place, flag = record.model(role), given, f"--{role}-path"
    if isinstance(RESTORERS[name], LazyDiffRIR):
        place = place_of(mark, role, given, flag)
        check_weights(mark, place, flag)
    return load_restorer(name, place, device or record.painter.get("device", "auto"))


def place_of(mark: ModelMark | None, role: str, given: str | None, flag: str) -> str:
    """Where a model lies: as the person gave it, or in a model directory under its recorded name.

    Raises:
        UserError: the record alone does not tell which weights are meant, and that they are here.
    """
    if given is not None:
        return given
    if mark is None:
        raise UserError(f"the record names no {role}; give it with {flag}.")
    if mark.sha256 is None:
        raise UserError(f"the record does not say which weights the {role} {mark.name!r} had; "
                        f"to use weights that cannot be checked, give them with {flag}.")  # fmt: skip
    places = in_model_directories(mark.name) if is_one_part(mark.name) else ()
    found = next((place for place in places if place.exists()), None)
    if found is None:
        known = ", ".join(MODEL_DIRECTORIES)
        raise UserError(f"the {role} {mark.name!r} is in none of {known}; give it with {flag}.")
    return str(found)


def check_weights(mark: ModelMark | None, place: str | Path, flag: str) -> None:
    """See that a model's weights are the recorded ones; where none are recorded, that is told.

    Raises:
        UserError: they are others.
    """
    if mark is None or mark.sha256 is None:
        print(f"the weights of {str(place)!r} were not checked: the record does not say which it had.", file=sys.stderr)
        return
    here = fingerprint(place)
    if here != mark.sha256:
        raise UserError(
            f"the {mark.role} {str(place)!r} has other weights ({(here or 'none')[:10]}) than {mark.name!r} had "
            f"({mark.sha256[:10]}) when the picture was made; give those with {flag}."
        )


def replay(args: argparse.Namespace) -> int:
    """Make the picture again and say whether it is the same; 1 if not.

    Raises:
        UserError: something of it is not here.
    """
    record, file = read(args.file), Path(args.file)
    check_rows(record)
    session = args.session or (file.parent if (file.parent / INDEX).is_file() else None)
    pictures = given_pictures(record, session, args.image_file, args.mask_file, args.control_image or ())
    region, controls = region_of(record, pictures), controls_of(record, pictures)
    parts = {name: getattr(args, name) for name in (*PARTS, "tokenizer")}
    pipeline = open_painter(record, args.sdmodel_id, args.device, args.lora, parsed_args.guides(args), parts,
                            args.embedding, controls, args.painter_quant)  # fmt: skip
    postprocessing = open_postprocessing(record, args.restorer_path, args.upscaler_path, args.device)
    image = replayed(record, pipeline, postprocessing, region, controls)
    if record.watermark is not None:
        image = Watermark.of(record.watermark)(image, None if region is None else region.mask)
    kind, there = kind_of(file), file.read_bytes()
    before = unsigned(there, kind)
    content = encoded(image, record, kind, quality=record.quality, said=source_in(file) is not None)
    out = Path(args.out or file.with_stem(f"{file.stem}-again"))
    try:
        write_whole(out, content)
    except OSError as problem:
        raise UserError(f"{str(out)!r} cannot be written ({problem.strerror}); give another --out.") from None
    same, signed = content == before, " before it was signed" * (before != there)
    print(
        f"saved {out}: " + (f"the same bytes{signed}." if same else "not the same bytes (another machine or version?).")
    )
    return 0 if same else 1
