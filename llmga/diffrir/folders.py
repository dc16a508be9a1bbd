"""Restoration of files or folders paired by name, done once, each with its entry in a manifest."""

import argparse
import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from PIL import Image

from llmga.choices import RESTORER
from llmga.compositing import paste_back
from llmga.deep import into_png, levels, of_levels, tiff
from llmga.diffrir.checkpoints import default_path
from llmga.diffrir.listing import KINDS
from llmga.diffrir.restoration import PAINTED, DiffRIR, open_diffrir
from llmga.diffrir.restorers import RESTORERS, Restorer, Weighted
from llmga.errors import UserError
from llmga.images import check_file, open_image, to_rgb
from llmga.seams import seam
from llmga.typed import read_json, typed

MASK_NAMES = ("{name}", "{name}_mask", "{name}_mask000", "{start}_mask000")  # {start}: up to the first dot
LOSSLESS = (".png", ".webp", ".tif", ".tiff")  # what a result may be, since kept pixels are to stay what they are
MANIFEST, LONGEST = "manifest.json", 640_000_000  # bytes


@dataclass(frozen=True)
class Job:
    """One picture to restore, and where the result goes; a part that has no file is None.

    Attributes:
        guided: whether there should be a reference and a mask; without them the whole picture is enlarged.
    """

    name: str
    image: Path
    reference: Path | None
    mask: Path | None
    output: Path
    guided: bool = True

    def check(self) -> None:
        """Raises: UserError naming the part that is missing."""
        for part in ("reference", "mask"):
            if self.guided and getattr(self, part) is None:
                raise UserError(f"picture {self.image.name!r} has no {part} of its name; add one to the {part} folder.")

    def fingerprint(self) -> str:
        """Of the bytes of all inputs, so that a changed one is done again.  Raises: UserError."""
        whole = hashlib.sha256()
        for path in filter(None, (self.image, self.reference, self.mask)):
            check_file(path, f"picture {str(path)!r}")
            try:
                whole.update(hashlib.sha256(path.read_bytes()).digest())
            except OSError as problem:
                raise UserError(f"{str(path)!r} cannot be read ({problem.strerror}); check the path.") from None
        return whole.hexdigest()


@dataclass(frozen=True)
class Opened:
    """The pictures of a job; the original's transparency, colour profile and depth go into the result.

    Attributes:
        deep: the original as its file has it, when that has 16 bits a channel.
    """

    image: Image.Image
    reference: Image.Image | None
    mask: Image.Image | None
    alpha: Image.Image | None
    profile: bytes | None
    deep: Image.Image | None = None

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        return tuple(part.size for part in (self.image, self.reference, self.mask) if part is not None)


def open_job(job: Job) -> Opened:
    """Raises: UserError when a file is missing or no picture, and when the mask covers nothing or everything."""
    job.check()
    if not job.guided:
        return Opened(open_image(job.image, working_side=None), None, None, None, _open_reference(job.image)[2])
    image, mask = open_image(job.image, working_side=None), _open_mask(job.mask)
    reference, alpha, profile = _open_reference(job.reference)
    covered = np.asarray(mask) >= PAINTED
    if not covered.any():
        raise UserError(f"mask {str(job.mask)!r} is empty, so nothing was painted; make the painted region white.")
    if covered.all():
        raise UserError(f"mask {str(job.mask)!r} covers the whole picture, so nothing is kept to agree with; "
                        "make the kept region black.")  # fmt: skip
    deep = _with_gray_levels(open_image(job.reference, exact=True))
    if levels(deep) is None:
        return Opened(image, reference, mask, alpha, profile)
    reference, fine = of_levels(levels(deep)[..., :3]), open_image(job.image, exact=True)
    return Opened(fine if fine.mode == "RGB" else image, reference, mask, alpha, profile, deep)


def _with_gray_levels(original: Image.Image) -> Image.Image:
    """A gray original of 16 bits in RGB, which what is painted into it may need; all others as they are."""
    if not original.mode.startswith("I;16"):
        return original
    gray = np.asarray(original).astype(np.uint16)
    return of_levels(np.stack([gray] * 3, axis=-1), original.info)


def _open_mask(path: Path) -> Image.Image:
    """Levels from 0 to 255; where a mask is transparent nothing was painted."""
    drawn = open_image(path, exact=True)
    if not drawn.has_transparency_data:
        return to_rgb(drawn).convert("L")
    whole = drawn.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", whole.size, (0, 0, 0, 255)), whole).convert("L")


def _open_reference(path: Path) -> tuple[Image.Image, Image.Image | None, bytes | None]:
    """The original in RGB, its transparency as it is instead of laid over white, and its colour profile."""
    original = open_image(path, exact=True)
    profile = original.info.get("icc_profile") if original.mode in ("RGB", "RGBA", "P") else None
    if not original.has_transparency_data:
        return to_rgb(original), None, profile
    whole = original.convert("RGBA")
    return whole.convert("RGB"), whole.getchannel("A"), profile


Ready = tuple[Job, str, Opened]  # with the fingerprint of its inputs


def find_jobs(image: Path, reference: Path | None, mask: Path | None, output: Path) -> list[Job]:
    """One job for files, one for each picture for folders; without reference and mask, of pictures alone.

    Raises: UserError when one is a file and another a folder, no picture is there, or a result would replace an input.
    """
    jobs = _listed(image, reference, mask, output)
    inputs = {path.resolve() for job in jobs for path in (job.image, job.reference, job.mask) if path}
    for job in jobs:
        if job.output.resolve() in inputs:
            raise UserError(f"the result would replace the input {str(job.output)!r}; give another --output.")
    return jobs


def _listed(image: Path, reference: Path | None, mask: Path | None, output: Path) -> list[Job]:
    if image.is_dir():
        for name, path in (("--reference", reference), ("--mask", mask)):
            if path is not None and not path.is_dir():
                raise UserError(
                    f"--image is a folder, but {name} {str(path)!r} is not; give three folders or three files."
                )
        return list(_paired(image, reference, mask, output))
    if output.suffix.lower() in KINDS and output.suffix.lower() not in LOSSLESS:
        raise UserError(f"--output {str(output)!r} would change kept pixels; use one of {', '.join(LOSSLESS)}.")
    target = output if output.suffix.lower() in LOSSLESS else output / f"{image.stem}.png"
    return [Job(image.stem, image, reference, mask, target, guided=reference is not None)]


def _paired(image: Path, reference: Path | None, mask: Path | None, output: Path) -> Iterator[Job]:
    references, masks = ({} if folder is None else _by_stem(folder) for folder in (reference, mask))
    pictures = _by_stem(image)
    if not pictures:
        raise UserError(f"folder {str(image)!r} holds no pictures ({', '.join(KINDS)}); check --image.")
    for name, path in pictures.items():
        names = (pattern.format(name=name, start=name.split(".")[0]) for pattern in MASK_NAMES)
        found = next((masks[known] for known in names if known in masks), None)
        yield Job(name, path, references.get(name), found, output / f"{name}.png", guided=reference is not None)


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in KINDS):
        if path.stem in found:
            raise UserError(f"folder {str(folder)!r} holds {found[path.stem].name!r} and {path.name!r}; rename one, "
                            "since pictures are paired by name.")  # fmt: skip
        found[path.stem] = path
    return found


class _Before(TypedDict, total=False):
    """What an earlier run wrote."""

    settings: dict[str, Any]
    pictures: dict[str, dict[str, Any]]


class Manifest:
    """What was done, as `manifest.json` beside the results: settings, and an entry for each picture by name."""

    def __init__(self, folder: Path, settings: dict[str, Any]):
        self.path, self.settings = folder / MANIFEST, settings
        self.pictures: dict[str, dict[str, Any]] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            before = typed(_Before, read_json(self.path, longest=LONGEST, most=LONGEST) if self.path.exists() else {})
        except (OSError, ValueError, TypeError):
            raise UserError(f"{str(self.path)!r} cannot be used as a manifest; choose another --output.") from None
        if before.get("settings") == settings:
            self.pictures = before.get("pictures", {})

    def done(self, job: Job, fingerprint: str) -> bool:
        """Whether this very result is there already."""
        entry = self.pictures.get(job.name, {})
        return entry.get("status") == "done" and entry.get("inputs") == fingerprint and job.output.exists()

    def write(self, name: str, **entry: Any) -> None:
        """Record one picture; whole or not at all on disk."""
        self.pictures[name] = entry
        content = json.dumps({"settings": self.settings, "pictures": self.pictures}, indent=1, sort_keys=True)
        draft = self.path.with_suffix(".part")
        try:
            draft.write_text(content + "\n", encoding="utf-8")
            os.replace(draft, self.path)
        except OSError as problem:
            raise UserError(
                f"{str(self.path)!r} cannot be written ({problem.strerror}); choose another --output."
            ) from None


def save(opened: Opened, restored: Image.Image, path: Path, soft: bool = False) -> None:
    """Write the result with the original's transparency, profile and depth, whole or not at all.  Raises: UserError."""
    if opened.deep is not None and opened.deep.size == opened.mask.size == restored.size:
        mask = opened.mask if soft else opened.mask.point(lambda level: 255 if level >= PAINTED else 0)
        restored = paste_back(opened.deep, restored, mask)
    elif opened.alpha is not None and opened.alpha.size == restored.size:
        restored = restored.copy()
        restored.putalpha(opened.alpha)
    draft = path.with_name(path.stem + ".part" + path.suffix)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(_encoded(restored, opened.profile, path))
        os.replace(draft, path)
    except (OSError, ValueError) as problem:
        draft.unlink(missing_ok=True)
        raise UserError(f"{str(path)!r} cannot be written ({problem}); choose another --output.") from None


def _encoded(image: Image.Image, profile: bytes | None, path: Path) -> bytes:
    fine, kind = levels(image), path.suffix.lower()
    if fine is not None and kind in (".tif", ".tiff"):
        return tiff(fine, profile)
    buffer = io.BytesIO()
    form = Image.registered_extensions()[kind]
    image.save(buffer, form, icc_profile=profile, lossless=True, exact=True)  # the last two are WEBP's
    if fine is None:
        return buffer.getvalue()
    if kind != ".png":
        print(f"{str(path)!r} holds 8 of the original's 16 bits; give a .png or .tif for all.", file=sys.stderr)
        return buffer.getvalue()
    return into_png(buffer.getvalue(), fine)


class Run:
    """Does jobs one after the other, or several of one size at once; what fails is passed over and remembered.

    Attributes:
        failures: complaints by picture.
    """

    def __init__(self, restorer: Restorer, manifest: Manifest, batch: int = 1):
        self.restorer, self.manifest = restorer, manifest
        self.batch = batch if isinstance(restorer, DiffRIR) else 1
        self.soft = isinstance(restorer, DiffRIR) and restorer.soft
        self.failures: dict[str, str] = {}

    def __call__(self, jobs: Sequence[Job]) -> None:
        """Everything that is not done yet."""
        for group in _batches(self._ready(jobs), self.batch):
            with self._passing_over(*(job for job, _, _ in group)):
                self._restore(group)

    def _ready(self, jobs: Sequence[Job]) -> Iterator[Ready]:
        for job in jobs:
            with self._passing_over(job):
                job.check()
                fingerprint = job.fingerprint()
                if not self.manifest.done(job, fingerprint):
                    yield job, fingerprint, open_job(job)

    def _restore(self, group: list[Ready]) -> None:
        started = time.perf_counter()
        results = self._restored([opened for _, _, opened in group])
        seconds = (time.perf_counter() - started) / len(group)
        for (job, fingerprint, opened), result in zip(group, results, strict=True):
            save(opened, result, job.output, self.soft)
            self.manifest.write(job.name, **_entry(job, fingerprint, opened, result, seconds))

    def _restored(self, opened: list[Opened]) -> list[Image.Image]:
        given = [(each.image, each.reference, each.mask) for each in opened]
        if isinstance(self.restorer, DiffRIR):
            return self.restorer.many(*zip(*given, strict=True))
        return [self.restorer(*three) for three in given]

    @contextmanager
    def _passing_over(self, *jobs: Job) -> Iterator[None]:
        """A person's mistake inside is remembered for these pictures, which have one size and so one fate."""
        try:
            yield
        except UserError as problem:
            for job in jobs:
                self.failures[job.name] = str(problem)
                self.manifest.write(job.name, status="failed", error=str(problem))


def _batches(ready: Iterator[Ready], size: int) -> Iterator[list[Ready]]:
    """Neighbours of the same sizes, at most `size` of them."""
    for _, same in groupby(ready, key=lambda three: three[2].sizes):
        while group := list(islice(same, size)):
            yield group


def _entry(job: Job, inputs: str, opened: Opened, result: Image.Image, seconds: float) -> dict[str, Any]:
    return {
        "status": "done",
        "inputs": inputs,
        "image": str(job.image),
        "output": str(job.output),
        "size": list(result.size),
        "seconds": round(seconds, 3),
        **({} if opened.mask is None else _seams(opened, result)),
    }


def _seams(opened: Opened, result: Image.Image) -> dict[str, Any]:
    """How much the mask's edge shows, before and after."""
    mask, pasted = opened.mask, opened.image
    if opened.reference.size == mask.size == pasted.size:
        pasted = Image.composite(pasted, opened.reference, mask.point(lambda level: 255 if level >= PAINTED else 0))
    before, after = (seam(picture, mask.resize(picture.size, Image.Resampling.NEAREST)) for picture in (pasted, result))
    return {"seam_before": asdict(before), "seam_after": asdict(after)}


def pick_restorer(args: argparse.Namespace) -> tuple[str, Restorer]:
    """What was asked for, or the best there is, and its name for the manifest.  Raises: UserError."""
    row = RESTORERS[args.restorer] if args.restorer else Weighted(args.scale)
    if isinstance(row, Weighted) and args.restorer and row.scale != args.scale:
        raise UserError(
            f"restorer {args.restorer!r} has scale {row.scale}, but --scale is {args.scale}; give --scale {row.scale}."
        )
    if not isinstance(row, Weighted):
        if args.scale != 1 or args.weights:
            raise UserError(f"restorer {args.restorer!r} has scale 1 and no weights; leave out --scale and --weights.")
        return args.restorer, row
    try:
        weights = args.weights or default_path(args.scale)
    except UserError:
        if args.restorer or args.scale != 1:
            raise
        print(f"No DiffRIR weights of scale 1 are at hand: {RESTORER} restores.", file=sys.stderr)
        return RESTORER, RESTORERS[RESTORER]
    options = {"seed": args.seed, "tile": args.tile, "overlap": args.overlap, "soft": args.soft_mask}
    return str(weights), open_diffrir(weights, args.scale, device=args.device, dtype=args.dtype, **options)


def restore(args: argparse.Namespace) -> int:
    """0 when everything is done, 1 when some pictures of a folder failed.  Raises: UserError."""
    jobs = find_jobs(args.image, args.reference, args.mask, args.output)
    name, restorer = pick_restorer(args)
    settings = {key: getattr(args, key) for key in ("scale", "seed", "tile", "overlap", "soft_mask", "dtype")}
    manifest = Manifest(jobs[0].output.parent, {"restorer": name, **settings})
    run = Run(restorer, manifest, args.batch)
    run(jobs)
    print(f"{len(jobs) - len(run.failures)} of {len(jobs)} pictures are in {str(jobs[0].output.parent)!r}.")
    for picture, complaint in run.failures.items():
        print(f"error: {picture}: {complaint}", file=sys.stderr)
    return 1 if run.failures else 0
