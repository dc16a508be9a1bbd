"""What one picture file says of its making: our record, Content Credentials, IPTC's source type, a watermark."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from llmga.assistant.credentials import Credentials, credentials_in
from llmga.assistant.image_files import kind_of, read
from llmga.assistant.provenance import source_in
from llmga.assistant.record import Record
from llmga.assistant.safety import READABLE, SMALLEST_MARKED, Watermark
from llmga.errors import UserError
from llmga.images import open_image
from llmga.plain_text import plain


@dataclass(frozen=True)
class Verified:
    """What a file says.

    Attributes:
        file: as it was named.
        record: how llmga made it, by the file's own word, which anybody may write.
        credentials: the signed statement; None where there is none.
        source: IPTC's digital source type.
        watermark: the share of the text's bits that the pixels hold; None where it cannot be looked for.
    """

    file: str
    record: Record | None
    credentials: Credentials | None
    source: str | None
    watermark: float | None

    @classmethod
    def of(cls, file: str, text: str) -> "Verified":
        """Look into a file.

        Args:
            text: the watermark to look for.

        Raises:
            UserError: it is no PNG, JPEG or WEBP, or the package that reads signatures is not installed.
        """
        record = None
        with suppress(UserError):
            record = read(file)
        return cls(file, record, credentials_in(file, kind_of(file)), source_in(file), _hidden(file, text))

    @property
    def generated(self) -> bool:
        """Whether anything in it says that a model took part."""
        signed = self.credentials is not None and any("lgorithmicMedia" in each for each in self.credentials.sources)
        hidden = self.watermark is not None and self.watermark >= READABLE
        return self.record is not None or self.source is not None or signed or hidden

    @property
    def broken(self) -> bool:
        """Whether it was changed since it was signed."""
        return self.credentials is not None and self.credentials.state == "invalid"

    def to_json(self) -> str:
        """As one line."""
        return json.dumps({**asdict(self), "generated": self.generated, "broken": self.broken}, ensure_ascii=False)

    def told(self) -> str:
        """For a person to read."""
        return plain("\n".join([f"{self.file}:", *(f"  {line}" for line in self._lines())]))

    def _lines(self) -> Iterator[str]:
        yield from _of_credentials(self.credentials)
        if self.source is not None:
            yield f"IPTC digital source type: {Path(self.source).name}"
        if self.record is not None:
            models = ", ".join(f"{mark.role} {mark.name!r}" for mark in self.record.models)
            yield f"record of llmga {self.record.llmga}: {self.record.task}, seed {self.record.seed}, {models}"
        if self.watermark is not None:
            found = "found" if self.watermark >= READABLE else "not found"
            yield f"watermark: {found} ({self.watermark:.0%} of its bits)"
        if not self.generated:
            yield "nothing says that a model made it, which does not say that none did"


def _of_credentials(found: Credentials | None) -> Iterator[str]:
    if found is None:
        yield "no Content Credentials"
        return
    state = {
        "trusted": "whole, by a trusted certificate",
        "valid": "whole, by a certificate that is on no list of trust here",
    }
    yield f"Content Credentials: {state.get(found.state, 'BROKEN: ' + ', '.join(found.problems))}"
    if found.generator or found.issuer:
        yield f"  by {found.generator or 'an unnamed program'}, signed by {found.issuer or 'nobody that it names'}"
    if found.actions:
        sources = ", ".join(Path(source).name for source in found.sources)
        yield f"  {', '.join(found.actions)} ({sources or 'no source'})"
    if found.ingredients:
        yield f"  made from: {', '.join(found.ingredients)}"
    for mark in found.models:
        yield f"  {mark.get('role')}: {mark.get('name')} ({str(mark.get('sha256'))[:10]})"
    if found.prompt is not None:
        yield f"  prompt: {found.prompt}"


def _hidden(file: str, text: str) -> float | None:
    """None for a picture that cannot be seen or is too small to hide a text, or without the package that looks."""
    with suppress(UserError):
        image = open_image(file)
        if min(image.size) >= SMALLEST_MARKED:
            return Watermark.of(text).found_in(image)
    return None
