"""Pictures to restore, one by one or in folders, each paired with its reference and mask by name."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmga.diffrir.listing import KINDS
from llmga.errors import UserError
from llmga.images import check_file

MASK_NAMES = ("{name}", "{name}_mask", "{name}_mask000", "{start}_mask000")  # {start}: up to the first dot
LOSSLESS = (".png", ".webp", ".tif", ".tiff")  # what a result may be, since kept pixels are to stay what they are


@dataclass(frozen=True)
class RestoreJob:
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

    def original(self) -> tuple[Path, Path] | None:
        """Reference and mask; None where the whole picture is enlarged.

        Raises:
            UserError: naming the part that is missing.
        """
        if not self.guided:
            return None
        return self._found(self.reference, "reference"), self._found(self.mask, "mask")

    def _found(self, path: Path | None, part: str) -> Path:
        if path is None:
            raise UserError(f"picture {self.image.name!r} has no {part} of its name; add one to the {part} folder.")
        return path

    def fingerprint(self) -> str:
        """SHA-256 over those of all inputs, so that a changed one is done again.

        Raises:
            UserError: for one that cannot be read.
        """
        whole = hashlib.sha256()
        for path in filter(None, (self.image, self.reference, self.mask)):
            check_file(path, f"picture {str(path)!r}")
            try:
                whole.update(hashlib.sha256(path.read_bytes()).digest())
            except OSError as problem:
                raise UserError(f"{str(path)!r} cannot be read ({problem.strerror}); check the path.") from None
        return whole.hexdigest()


def find_jobs(image: Path, reference: Path | None, mask: Path | None, output: Path) -> list[RestoreJob]:
    """One job for files, one for each picture for folders; without reference and mask, of pictures alone.

    Raises:
        UserError: when one is a file and another a folder, no picture is there, or a result would replace an input.
    """
    jobs = _listed(image, reference, mask, output)
    inputs = {path.resolve() for job in jobs for path in (job.image, job.reference, job.mask) if path}
    for job in jobs:
        if job.output.resolve() in inputs:
            raise UserError(f"the result would replace the input {str(job.output)!r}; give another --output.")
    return jobs


def _listed(image: Path, reference: Path | None, mask: Path | None, output: Path) -> list[RestoreJob]:
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
    return [RestoreJob(image.stem, image, reference, mask, target, guided=reference is not None)]


def _paired(image: Path, reference: Path | None, mask: Path | None, output: Path) -> Iterator[RestoreJob]:
    references, masks = ({} if folder is None else _by_stem(folder) for folder in (reference, mask))
    pictures = _by_stem(image)
    if not pictures:
        raise UserError(f"folder {str(image)!r} holds no pictures ({', '.join(KINDS)}); check --image.")
    for name, path in pictures.items():
        names = (pattern.format(name=name, start=name.split(".")[0]) for pattern in MASK_NAMES)
        found = next((masks[known] for known in names if known in masks), None)
        yield RestoreJob(name, path, references.get(name), found, output / f"{name}.png", guided=reference is not None)


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in KINDS):
        if path.stem in found:
            raise UserError(f"folder {str(folder)!r} holds {found[path.stem].name!r} and {path.name!r}; rename one, "
                            "since pictures are paired by name.")  # fmt: skip
        found[path.stem] = path
    return found
