"""Restoration of many pictures: each done once, with its entry in a manifest; what fails is passed over."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypedDict

from PIL import Image

from llmga.diffrir.job_images import JobImages, Original, open_job, save
from llmga.diffrir.jobs import RestoreJob
from llmga.diffrir.restorer import DiffRIR
from llmga.diffrir.restorers import Restorer
from llmga.jobs import DONE, MANIFEST, Manifest
from llmga.seams import seam

Ready = tuple[RestoreJob, str, JobImages]  # with the fingerprint of its inputs


class _ManifestFile(TypedDict, total=False):
    """What an earlier run wrote."""

    settings: dict[str, Any]
    pictures: dict[str, dict[str, Any]]


def open_manifest(folder: Path, settings: dict[str, Any]) -> Manifest:
    """The manifest beside the results, with what earlier runs of the same settings did.

    Raises:
        UserError: the file there is no such manifest.
    """
    return Manifest(folder / MANIFEST, _ManifestFile, "pictures", "choose another --output", settings)


def is_done(manifest: Manifest, job: RestoreJob, fingerprint: str) -> bool:
    """Whether this very result is there already."""
    entry = manifest.done(job.name)
    return entry is not None and entry.get("inputs") == fingerprint and job.output.exists()


class RestoreRunner:
    """Does jobs one after the other, or several of one size at once; what fails is passed over and written down."""

    def __init__(self, restorer: Restorer, manifest: Manifest, batch: int = 1):
        self.restorer = restorer
        self.manifest = manifest
        self.batch: int = batch if isinstance(restorer, DiffRIR) else 1
        self.soft: bool = isinstance(restorer, DiffRIR) and restorer.soft

    def __call__(self, jobs: Sequence[RestoreJob]) -> None:
        """Everything that is not done yet."""
        for group in _batches(self._ready(jobs), self.batch):
            with self.manifest.attempt(*(job.name for job, _, _ in group)):  # one size, and so one fate
                self._restore(group)

    def _ready(self, jobs: Sequence[RestoreJob]) -> Iterator[Ready]:
        for job in jobs:
            with self.manifest.attempt(job.name):
                job.original()  # complains before any file is read
                fingerprint = job.fingerprint()
                if not is_done(self.manifest, job, fingerprint):
                    yield job, fingerprint, open_job(job)

    def _restore(self, group: list[Ready]) -> None:
        started = time.perf_counter()
        results = self._restored([opened for _, _, opened in group])
        seconds = (time.perf_counter() - started) / len(group)
        for (job, fingerprint, opened), result in zip(group, results, strict=True):
            save(opened, result, job.output, self.soft)
            self.manifest.write(job.name, DONE, **_entry(job, fingerprint, opened, result, seconds))

    def _restored(self, opened: Sequence[JobImages]) -> list[Image.Image]:
        given = [each.given for each in opened]
        if isinstance(self.restorer, DiffRIR):
            images, references, masks = zip(*given, strict=True)
            return self.restorer.many(images, references, masks)
        return [self.restorer(*three) for three in given]


def _batches(ready: Iterator[Ready], size: int) -> Iterator[list[Ready]]:
    """Neighbours of the same sizes, at most `size` of them."""
    for _, same in groupby(ready, key=lambda three: three[2].sizes):
        while group := list(islice(same, size)):
            yield group


def _entry(job: RestoreJob, inputs: str, opened: JobImages, result: Image.Image, seconds: float) -> dict[str, Any]:
    return {
        "inputs": inputs,
        "image": str(job.image),
        "output": str(job.output),
        "size": list(result.size),
        "seconds": round(seconds, 3),
        **({} if opened.original is None else _seams(opened.image, opened.original, result)),
    }


def _seams(pasted: Image.Image, original: Original, result: Image.Image) -> dict[str, Any]:
    """How much the mask's edge shows, before and after."""
    mask = original.mask
    if original.reference.size == mask.size == pasted.size:
        pasted = Image.composite(pasted, original.reference, original.painted)
    before, after = (seam(picture, mask.resize(picture.size, Image.Resampling.NEAREST)) for picture in (pasted, result))
    return {"seam_before": asdict(before), "seam_after": asdict(after)}
