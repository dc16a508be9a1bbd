"""Restoration of many pictures: each done once, with its entry in a manifest; what fails is passed over."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypedDict

from PIL import Image

from llmga.diffrir.job_images import JobImages, Original, open_job, save
from llmga.diffrir.jobs import RestoreJob
from llmga.diffrir.restorer import DiffRIR
from llmga.diffrir.restorers import Restorer
from llmga.errors import UserError
from llmga.files import write_whole
from llmga.seams import seam
from llmga.typed import read_json, typed

MANIFEST, LONGEST = "manifest.json", 640_000_000  # bytes
Ready = tuple[RestoreJob, str, JobImages]  # with the fingerprint of its inputs


class _ManifestFile(TypedDict, total=False):
    """What an earlier run wrote."""

    settings: dict[str, Any]
    pictures: dict[str, dict[str, Any]]


class RestoreManifest:
    """What was done, as `manifest.json` beside the results: settings, and an entry for each picture by name."""

    def __init__(self, folder: Path, settings: dict[str, Any]):
        self.path: Path = folder / MANIFEST
        self.settings = settings
        self.pictures: dict[str, dict[str, Any]] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            before = typed(
                _ManifestFile, read_json(self.path, longest=LONGEST, most=LONGEST) if self.path.exists() else {}
            )
        except (OSError, ValueError, TypeError):
            raise UserError(f"{str(self.path)!r} cannot be used as a manifest; choose another --output.") from None
        if before.get("settings") == settings:
            self.pictures = before.get("pictures", {})

    def done(self, job: RestoreJob, fingerprint: str) -> bool:
        """Whether this very result is there already."""
        entry = self.pictures.get(job.name, {})
        return entry.get("status") == "done" and entry.get("inputs") == fingerprint and job.output.exists()

    def write(self, name: str, **entry: Any) -> None:
        """Record one picture; whole or not at all on disk.

        Raises:
            UserError: when the file cannot be written.
        """
        self.pictures[name] = entry
        content = json.dumps({"settings": self.settings, "pictures": self.pictures}, indent=1, sort_keys=True)
        try:
            write_whole(self.path, f"{content}\n".encode())
        except OSError as problem:
            raise UserError(
                f"{str(self.path)!r} cannot be written ({problem.strerror}); choose another --output."
            ) from None


class RestoreRunner:
    """Does jobs one after the other, or several of one size at once; what fails is passed over and remembered.

    Attributes:
        failures: complaints by picture.
    """

    def __init__(self, restorer: Restorer, manifest: RestoreManifest, batch: int = 1):
        self.restorer = restorer
        self.manifest = manifest
        self.batch: int = batch if isinstance(restorer, DiffRIR) else 1
        self.soft: bool = isinstance(restorer, DiffRIR) and restorer.soft
        self.failures: dict[str, str] = {}

    def __call__(self, jobs: Sequence[RestoreJob]) -> None:
        """Everything that is not done yet."""
        for group in _batches(self._ready(jobs), self.batch):
            with self._passing_over(*(job for job, _, _ in group)):
                self._restore(group)

    def _ready(self, jobs: Sequence[RestoreJob]) -> Iterator[Ready]:
        for job in jobs:
            with self._passing_over(job):
                job.original()  # complains before any file is read
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

    def _restored(self, opened: Sequence[JobImages]) -> list[Image.Image]:
        given = [each.given for each in opened]
        if isinstance(self.restorer, DiffRIR):
            images, references, masks = zip(*given, strict=True)
            return self.restorer.many(images, references, masks)
        return [self.restorer(*three) for three in given]

    @contextmanager
    def _passing_over(self, *jobs: RestoreJob) -> Iterator[None]:
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


def _entry(job: RestoreJob, inputs: str, opened: JobImages, result: Image.Image, seconds: float) -> dict[str, Any]:
    return {
        "status": "done",
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
