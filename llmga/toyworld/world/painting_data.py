"""What painters learn from.

`python -m llmga.toyworld.world latents --vae vae --output data --parts 40` writes scenes drawn and encoded ahead, with
where their things are and captions, in parts of a thousand, as far as they are not there yet.
`python -m llmga.toyworld.world pictures --output painting` writes pictures and prompts as stage 2 reads them.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers.models import AutoencoderKL
from torch import Tensor, nn

from llmga.toyworld.fitting import save_atomically
from llmga.toyworld.world.autoencoder import to_tensor
from llmga.toyworld.world.captions import canonical
from llmga.toyworld.world.drawing import draw
from llmga.toyworld.world.sampling import random_scene
from llmga.toyworld.world.scene import Scene
from llmga.toyworld.world.wordings import detailed, short

PART = 1000
COUNTS, SHARES = (1, 2, 3), (0.4, 0.35, 0.25)


@dataclass(frozen=True)
class Drawn:
    """Scenes as the painter learns them.

    Attributes:
        latents: float16 (n, channels, 24, 24).
        things: float16 (n, 1, 24, 24), share of a latent pixel that a thing covers.
        counts: uint8 (n,), how many things.
        captions: n times the canonical sentences and a short caption.
    """

    latents: Tensor
    things: Tensor
    counts: Tensor
    captions: list[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.latents)


@torch.no_grad()
def encoded(vae: AutoencoderKL, scenes: Sequence[Scene], rng: random.Random) -> Drawn:
    """Draw and encode."""
    latents, things = [], []
    for start in range(0, len(scenes), 50):
        some = scenes[start : start + 50]
        pictures, grounds = to_tensor(some), to_tensor(replace(scene, things=(), bond="") for scene in some)
        with torch.autocast("cpu", torch.bfloat16):
            latents.append(vae.encode(pictures).latent_dist.mean.half())
        changed = ((pictures - grounds).abs().amax(1, keepdim=True) > 0.02).float()
        things.append(nn.functional.avg_pool2d(changed, 4).half())
    captions = [(canonical(scene), short(scene, rng)) for scene in scenes]
    counts = torch.tensor([len(scene.things) for scene in scenes], dtype=torch.uint8)
    return Drawn(torch.cat(latents), torch.cat(things), counts, captions)


def write(vae: AutoencoderKL, folder: Path, parts: int, seed: int = 0, size: int = PART) -> None:
    """Write the parts that are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(parts):
        file = folder / f"part-{number:03}.pt"
        if file.exists():
            continue
        rng = random.Random(seed * 1_000_003 + number)
        scenes = [random_scene(rng, rng.choices(COUNTS, SHARES)[0]) for _ in range(size)]
        save_atomically(vars(encoded(vae, scenes, rng)), file)


def read(folder: Path) -> Drawn:
    """All parts as one."""
    parts = [torch.load(file, weights_only=True) for file in sorted(folder.glob("part-*.pt"))]
    latents, things, counts = (torch.cat([part[name] for part in parts]) for name in ("latents", "things", "counts"))
    return Drawn(latents, things, counts, [caption for part in parts for caption in part["captions"]])


def write_pictures(folder: Path, count: int, seed: int = 0) -> None:
    """Write `stage2.json` and the pictures it names, each with a canonical prompt and one in all detail."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    records = []
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        scene, name = random_scene(rng, rng.choices(COUNTS, SHARES)[0]), f"{number:05d}.png"
        draw(scene).save(folder / "images" / name)
        records += [{"image": name, "caption": caption} for caption in (canonical(scene), detailed(scene, rng))]
    lines = ",\n".join(json.dumps(record) for record in records)
    (folder / "stage2.json").write_text(f"[\n{lines}\n]\n")
