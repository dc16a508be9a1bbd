"""The steps that make the toy world's data and base models; what is done is skipped, what was interrupted goes on."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from llmga.errors import UserError
from llmga.toyworld import autoencoder, clip, dataset, language_model, sdxl, textures
from llmga.toyworld.scenes import held_out_scenes

DATA, RUNS = Path("data/toyworld"), Path("runs/toyworld")
LEAST_PSNR = 30.0  # dB on held-out scenes; latents of a worse VAE are not worth training on
DONE = "done.json"


def make_data(folder: Path) -> dict[str, Any]:
    """Pictures, and the records of stages 1 and 2."""
    dataset.write(DATA)
    return {"pictures": len(list((DATA / "images").rglob("*.*")))}


def make_vae(folder: Path) -> dict[str, Any]:
    """The autoencoder.  Raises: UserError where it is not good enough."""
    vae = autoencoder.pretrain(folder)
    quality = autoencoder.psnr(vae, held_out_scenes())
    if quality < LEAST_PSNR:
        raise UserError(f"the VAE reconstructs held-out scenes at {quality:.1f} dB, at least {LEAST_PSNR} are needed; "
                        "train it longer.")  # fmt: skip
    vae.save_pretrained(folder)
    return {"held_out_psnr_db": round(quality, 2), "recipe": vars(autoencoder.RECIPE)}


def make_clip(folder: Path) -> dict[str, Any]:
    """A vision tower and two text towers, which learn together."""
    model, tokenizers = clip.pretrain(folder)
    clip.save(model, tokenizers, folder)
    return {"recipe": vars(clip.RECIPE)}


def sharpen_vision(folder: Path) -> dict[str, Any]:
    """The vision tower, which learns on its own for some time more."""
    vision = clip.sharpen(RUNS / "clip", folder / "state.pt")
    vision.save_pretrained(folder / "vision_tower")
    clip.processor().save_pretrained(folder / "vision_tower")
    return {"recipe": vars(clip.SHARPENING)}


def make_language_model(folder: Path) -> dict[str, Any]:
    """The base language model and its tokenizer."""
    model, tokenizer = language_model.pretrain(folder)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {"recipe": vars(language_model.RECIPE)}


def make_textures(folder: Path) -> dict[str, Any]:
    """Pictures from which the restorer learns."""
    return {"pictures": textures.write(DATA / "restoration")}


def make_sdxl(folder: Path) -> dict[str, Any]:
    """An untrained SDXL around the VAE and the text towers."""
    sdxl.assemble(RUNS / "vae", RUNS / "clip", folder)
    return {}


STEPS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "data": make_data,
    "vae": make_vae,
    "clip": make_clip,
    "vision": sharpen_vision,
    "lm": make_language_model,
    "sdxl-random": make_sdxl,
    "textures": make_textures,
}


def run(step: str) -> None:
    """Do one step unless its note says that it is done."""
    folder = RUNS / step
    note = folder / DONE
    if note.exists():
        print(f"{step}: already done ({note})")
        return
    folder.mkdir(parents=True, exist_ok=True)
    facts = STEPS[step](folder)
    note.write_text(json.dumps({"torch": torch.__version__, **facts}, indent=2) + "\n")
    (folder / "state.pt").unlink(missing_ok=True)
    print(f"{step}: done, {facts}")


def make(steps: Sequence[str], threads: int | None = None) -> int:
    """Do the steps in this order, in so many threads.

    Raises:
        UserError: what a step made is not good enough.
    """
    if threads:
        torch.set_num_threads(threads)
    for step in steps:
        run(step)
    return 0
