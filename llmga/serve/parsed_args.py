"""What is made of the flags that a command line was given: which models, settings, and the first turn."""

import argparse
import os
import zipfile
from dataclasses import fields
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from llmga.assistant.bounds import UNBOUNDED, Bounds
from llmga.assistant.settings import SETTINGS, Changes, Settings
from llmga.choices import EDITING, INPAINTING
from llmga.errors import UserError
from llmga.llava.endpoint.keys import key_of_environment
from llmga.serve.args import GUIDES

if TYPE_CHECKING:  # they load libraries, which a --help does without
    from PIL import Image

    from llmga.assistant.loading import Guide, ModelSpec
    from llmga.assistant.session import Turn
    from llmga.llava.endpoint.address import Endpoint


def model_spec(args: argparse.Namespace) -> "ModelSpec":
    """Which models are meant.

    Raises:
        UserError: flags contradict each other.
    """
    from llmga.assistant.loading import ModelSpec

    given = {each.name: getattr(args, each.name) for each in fields(ModelSpec) if hasattr(args, each.name)}
    given |= {"mllm": endpoint(args) or args.model_path, "pipeline": args.sdmodel_id}
    given |= {"loras": tuple(args.lora or ()), "embeddings": tuple(args.embedding or ())}
    if given.get("c2pa"):
        given["c2pa"] = tuple(given["c2pa"])
    return ModelSpec(**given, guides=guides(args), bounds=bounds(args))


def named_models(args: argparse.Namespace) -> tuple[str, str]:
    """The language model and the painter that are going to be loaded, as the command line names them."""
    served = "the bundled language model" if args.mllm_url is None else "a server's language model"
    return args.model_path or served, args.sdmodel_id or "the bundled painter"


def check_files(args: argparse.Namespace) -> None:
    """Look whether the files of a command line are there, before libraries are imported, which takes seconds.

    Raises:
        UserError: one is not.
    """
    from llmga.images import check_file

    for flag in ("file", "image_file", "mask_file"):
        if (path := getattr(args, flag, None)) is not None:
            check_file(path, f"picture {path!r}")
    session = getattr(args, "session", None)
    if session is not None and os.path.isfile(session) and not zipfile.is_zipfile(session):
        raise UserError(f"{session!r} is no session; give a folder or a .zip that was saved here.")


def guides(args: argparse.Namespace) -> "tuple[Guide, ...]":
    """The pictures that guide the pipeline."""
    from llmga.assistant.loading import Guide

    found = []
    for name in GUIDES:
        given = (getattr(args, name.replace("-", "_") + part) or () for part in ("", "_image", "_scale"))
        rows = ((path, image, 1.0 if scale is None else scale) for path, image, scale in zip_longest(*given))
        found += [Guide(name, *row) for row in rows]  # type: ignore[arg-type]  # by its table
    return tuple(found)


def bounds(args: argparse.Namespace) -> Bounds:
    """What one answer may cost; without such flags anything."""
    if not hasattr(args, "max_message"):
        return UNBOUNDED
    found = Bounds(args.max_pixels_painted, args.max_steps, args.max_pixel_steps, args.max_prompt)
    return found if args.max_message is None else found.reading(args.max_message)


def endpoint(args: argparse.Namespace) -> "Endpoint | None":
    """The server that takes the place of --model-path, if one is given.

    Raises:
        UserError: flags contradict each other.
    """
    from llmga.llava.endpoint.address import Endpoint
    from llmga.llava.instructions import PLANNING

    if args.mllm_url is None:
        if args.mllm_model is not None:
            raise UserError(f"--mllm-model {args.mllm_model!r} needs a server that has it; give --mllm-url, too.")
        return None
    placed = ("load-8bit", "load-4bit", "device-map", "max-memory", "offload-folder")
    for flag in ("model-path", "model-base", "conv-mode", *placed):
        if getattr(args, flag.replace("-", "_")):
            raise UserError(f"--{flag} is about a model loaded here, --mllm-url about one of a server; give one.")
    system = PLANNING if args.mllm_system is None else args.mllm_system
    return Endpoint(args.mllm_url, args.mllm_model, key(args), args.mllm_connect_timeout, args.mllm_timeout, system)


def key(args: argparse.Namespace) -> str | None:
    """What opens a server that talks or paints: of the flag, else of the environment."""
    given: str | None = args.mllm_key
    return given or key_of_environment()


def settings(args: argparse.Namespace) -> Settings:
    """The settings that a session begins with.

    Raises:
        UserError: flags contradict each other.
    """
    given = {name: value for name, value in _chosen(args, "").items() if name != "restorer"}  # it is one of the models
    given["upscale"] = model_spec(args).with_upscaler().upscale
    given["control_images"] = _control_images(args)
    repaint = cast(Changes, _chosen(args, "repaint") if args.task == INPAINTING else {})
    edit = cast(Changes, _chosen(args, "edit")) if args.task == EDITING else None
    return Settings(**given, repaint=repaint, edit=edit)


def _control_images(args: argparse.Namespace) -> "tuple[Image.Image, ...]":
    """The pictures that guide.

    Raises:
        UserError: one cannot be read.
    """
    from llmga.images import open_image

    return tuple(open_image(file, exact=True) for file in getattr(args, "control_image", None) or ())


def _chosen(args: argparse.Namespace, part: str) -> dict[str, Any]:
    """The rows of a part of the settings that this command line has, by their names."""
    rows = ((row.name, row.flag.replace("-", "_")) for row in SETTINGS.values() if row.flag and row.part_of == part)
    return {name: getattr(args, given) for name, given in rows if hasattr(args, given)}


def first_picture(args: argparse.Namespace) -> "Image.Image | None":
    """The picture of the first message, as it is in its file.

    Raises:
        UserError: it cannot be read.
    """
    from llmga.images import open_image

    file = getattr(args, "image_file", None)
    return open_image(file, exact=True) if file is not None else None


def opening(args: argparse.Namespace, picture: "Image.Image | None") -> "Turn":
    """What goes with the first message: the picture, and in an inpainting command line what is done to it.

    Raises:
        UserError: they do not fit.
    """
    from llmga.assistant.session import Turn
    from llmga.diffusers.canvas import Canvas

    if args.task == INPAINTING:
        SETTINGS["area"].checked(args.area), SETTINGS["fill"].checked(args.fill)
    if args.task != INPAINTING or picture is None:
        return Turn("", () if picture is None else (picture,))
    if args.outpaint is not None:
        Canvas.parse(args.outpaint, picture.size)
        return Turn("", (picture,), outpaint=args.outpaint, fill=args.fill)
    if args.mask_file is None:
        return Turn("", (picture,))
    return Turn("", (picture,), open_mask(args.mask_file, picture.size, soft=args.soft_mask))


def open_mask(file: str | Path, size: tuple[int, int], *, soft: bool = False) -> "Image.Image":
    """A mask for a picture of this size, as it is in its file.

    Raises:
        UserError: it cannot be read or does not fit; the sentence names the file.
    """
    from llmga.images import open_image
    from llmga.masks import read_mask

    mask = open_image(file, exact=True)
    try:
        read_mask(mask, size, soft=soft)
    except UserError as problem:
        raise UserError(f"mask {str(file)!r}: {problem}") from None
    return mask
