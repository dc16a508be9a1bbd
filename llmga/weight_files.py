"""Which files of a folder are the weights of one model: whole or in shards, and in which variant.

Told by the names that diffusers and transformers write: `STEM[.VARIANT][-00001-of-00002].safetensors`, or `.bin`, and
for shards an index beside them.  Diffusers once put the variant behind the numbers.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmga.errors import UserError

# Library -> how it calls the files of each kind, in the order in which it looks for them.
STEMS = {
    "diffusers": {"safetensors": "diffusion_pytorch_model", "bin": "diffusion_pytorch_model"},
    "transformers": {"safetensors": "model", "bin": "pytorch_model"},
}
NOT_NEEDED = ("safety_checker", "feature_extractor", "image_encoder")  # parts of a pipeline that are never opened
PROCESSORS = ("Processor", "Extractor")  # how classes without weights end
KNOWN = (None, "fp16", "bf16")  # variants in the order of preference; others, such as non_ema, come after these

_POINTER = b"version https://git-lfs"
_NUMBERS = r"-(?P<number>\d+)-of-(?P<count>\d+)"
_WEIGHTS = (
    re.compile(rf"(?P<stem>\w+)(?:\.(?P<variant>\w+))?(?:{_NUMBERS})?\.(?P<kind>safetensors|bin)"),
    re.compile(rf"(?P<stem>\w+){_NUMBERS}\.(?P<variant>\w+)\.(?P<kind>safetensors|bin)"),
    re.compile(r"(?P<stem>\w+)\.(?P<kind>safetensors|bin)\.(?P<index>index)(?:\.(?P<variant>\w+))?\.json"),
)


@dataclass
class WeightFiles:
    """The files of one model in one number format.

    Attributes:
        kind: "safetensors" or "bin".
        names: all of them.
        whole: the file that is all of it, if there is one.
        index: what lists the shards, if it is there.
        shards: numbers of those that are there.
        count: how many there should be.
    """

    stem: str
    variant: str | None
    kind: str
    names: list[str] = field(default_factory=list)
    whole: str | None = None
    index: str | None = None
    shards: set[int] = field(default_factory=set)
    count: int = 0

    def add(self, name: str, parts: Mapping[str, str | None]) -> None:
        """Take in one more file.

        Args:
            name: of the file.
            parts: what its name says, the groups of the pattern that it fits.
        """
        self.names.append(name)
        number, count = parts.get("number"), parts.get("count")
        if parts.get("index"):
            self.index = name
        elif number and count:
            self.shards.add(int(number))
            self.count = max(self.count, int(count))
        else:
            self.whole = name

    def lacking(self) -> str | None:
        """What keeps the library from opening them; None when nothing does."""
        index_first = self.stem == STEMS["diffusers"][self.kind]  # diffusers believes an index beside a whole file
        if self.whole and not (self.index and index_first):
            return None
        variant = f".{self.variant}" if self.variant else ""
        if not self.index:
            return f"{self.stem}.{self.kind}.index{variant}.json"
        if not self.shards:
            return f"the shards that {self.index} lists"
        missing = next((number for number in range(1, self.count + 1) if number not in self.shards), None)
        return None if missing is None else f"{self.stem}{variant}-{missing:05}-of-{self.count:05}.{self.kind}"


def weight_files(names: Iterable[str], library: str) -> list[WeightFiles]:
    """What a library could open among these files, the preferred first: without variant, safetensors."""
    stems = STEMS.get(library, STEMS["diffusers"])
    found: dict[tuple[str | None, str], WeightFiles] = {}
    for name in sorted(names):
        match = next(filter(None, (pattern.fullmatch(name) for pattern in _WEIGHTS)), None)
        if match and match["stem"] == stems[match["kind"]]:
            parts = match.groupdict()
            key = parts.get("variant"), parts["kind"]
            found.setdefault(key, WeightFiles(match["stem"], *key)).add(name, parts)
    return sorted(found.values(), key=_rank)


def _rank(files: WeightFiles) -> tuple[int, str, bool]:
    known = KNOWN.index(files.variant) if files.variant in KNOWN else len(KNOWN)
    return known, files.variant or "", files.kind != "safetensors"


def choose(folder: Path, library: str) -> WeightFiles:
    """The first in a model's folder that is all there.

    Raises:
        UserError: that says what is there, and what would be opened.
    """
    names = [file.name for file in folder.iterdir()]
    found = weight_files(names, library)
    if whole := next((files for files in found if not files.lacking()), None):
        return whole
    if found:
        raise UserError(
            f"{str(folder)!r} lacks {found[0].lacking()}, which belongs to {', '.join(found[0].names)}; copy it, too."
        )
    others = [name for name in sorted(names) if name.endswith((".safetensors", ".bin", ".index.json"))]
    wanted = f"{STEMS.get(library, STEMS['diffusers'])['safetensors']}.safetensors"
    raise UserError(
        f"{str(folder)!r} lacks {wanted} (.fp16, .bf16 and shards with their index are opened, too, and .bin); "
        f"it holds {', '.join(others) or 'no weights'}."
    )


def common_variant(names: Iterable[str]) -> str | None:
    """The variant in which a pipeline is to be fetched, from the paths of all its files: None, or one that some part
    alone has."""
    parts: dict[str, list[str]] = {}
    for name in names:
        part, _, file = name.rpartition("/")
        parts.setdefault(part, []).append(file)
    found = (files for part in parts.values() for library in STEMS if (files := weight_files(part, library)))
    return next((files[0].variant for files in found if files[0].variant), None)


def from_pretrained_options(folder: Path, library: str) -> dict[str, Any]:
    """Keywords of `from_pretrained` that open what `choose` finds.

    Raises:
        UserError: when no weights are there, or not all of them.
    """
    files = choose(folder, library)
    return {"variant": files.variant, "use_safetensors": files.kind == "safetensors"}


def damaged(folder: Path) -> str | None:
    """The first .safetensors file below a folder that is none, and why; None when each can be looked into."""
    from safetensors import SafetensorError, safe_open

    for file in sorted(folder.rglob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):
                pass
        except SafetensorError as problem:
            if file.read_bytes()[: len(_POINTER)] == _POINTER:
                return f"{str(file)!r} only points to the weights; fetch them with git lfs pull"
            return f"{str(file)!r} is damaged ({problem}); copy it again"
    return None
