"""Masked edits asked of any server, and how many of the kept pixels came back as they were sent."""

import base64
import binascii
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import httpx
import numpy as np
from PIL import Image, ImageDraw

from llmga.errors import UserError
from llmga.images import open_image, to_rgb
from llmga.llava.endpoint.address import Endpoint, connection_errors
from llmga.llava.endpoint.refusals import server_message

NEAR = 8  # levels of 255, which a lossy file or a round trip through a VAE's tones may cost


@dataclass(frozen=True)
class MaskedEdit:
    """One request.

    Attributes:
        picture: RGB.
        mask: mode L and of the same size, 255 where it is to be painted.
    """

    picture: Image.Image
    mask: Image.Image

    @property
    def openai_mask(self) -> Image.Image:
        """The mask in OpenAI's form: the picture, transparent where it is to be painted."""
        clear = self.picture.convert("RGBA")
        clear.putalpha(self.mask.point(lambda level: 255 - level))
        return clear


def cases(picture: Image.Image | None, size: tuple[int, int], count: int) -> Iterator[MaskedEdit]:
    """Requests with a box and an ellipse in turn, each at another place.

    Args:
        picture: what is changed; None draws one with tones, edges and grain, which no painter makes again by chance.
        size: (width, height) in pixels of the drawn ones.
    """
    for number in range(count):
        rng = np.random.default_rng(number)
        shown = _drawn(size, rng) if picture is None else picture
        wide, high = (max(8, round(side * rng.uniform(0.25, 0.5))) for side in shown.size)
        left, top = (int(rng.integers(0, side)) for side in (shown.width - wide + 1, shown.height - high + 1))
        mask = Image.new("L", shown.size)
        draw = ImageDraw.Draw(mask)
        (draw.ellipse if number % 2 else draw.rectangle)((left, top, left + wide - 1, top + high - 1), fill=255)
        yield MaskedEdit(shown, mask)


def _drawn(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    width, height = size
    down, across = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    tones = np.stack([across, down, 1 - (across + down) / 2], axis=-1) * 200 + 20
    image = Image.fromarray((tones + rng.integers(-12, 13, tones.shape)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, side = int(rng.integers(0, width)), int(rng.integers(0, height)), min(size) // 6
        draw.ellipse((x, y, x + side, y + side), fill=tuple(int(level) for level in rng.integers(0, 256, 3)))
    return image


@dataclass(frozen=True)
class EditServer:
    """A server that changes pictures."""

    endpoint: Endpoint

    def edited(self, case: MaskedEdit, prompt: str) -> Image.Image:
        """The picture that it answers with.

        Raises:
            UserError: it cannot be reached, refuses, or answers with no picture.
        """
        endpoint = self.endpoint
        fields = {"prompt": prompt, "n": "1", "size": "{}x{}".format(*case.picture.size)}
        if endpoint.model is not None:
            fields["model"] = endpoint.model
        files = {name: (f"{name}.png", _png(picture), "image/png")
                 for name, picture in (("image", case.picture), ("mask", case.openai_mask))}  # fmt: skip
        with connection_errors(endpoint), httpx.Client(**endpoint.client_settings()) as client:
            answer = client.post(endpoint.path("images/edits"), data=fields, files=files)
            if answer.status_code != 200:
                said = server_message(answer.text, endpoint)
                raise UserError(f"{endpoint.shown} answers with {answer.status_code} ({said}); see what it takes.")
            return self._picture(answer, client)

    def _picture(self, answer: httpx.Response, client: httpx.Client) -> Image.Image:
        try:
            (first, *_) = answer.json()["data"]
            content, url = first.get("b64_json"), first.get("url") or ""
            if content is None and url.startswith("data:"):
                content = url.partition(",")[2]
            data = base64.b64decode(content) if content is not None else client.get(url).raise_for_status().content
            return to_rgb(open_image(data, exact=True))
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, httpx.HTTPError):
            raise UserError(f"{self.endpoint.shown} answers with no picture in data[0].b64_json or .url; "
                            "give a server of OpenAI's form.") from None  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """What came back of the pixels that were to be kept.

    Attributes:
        size: (width, height) in pixels of the answer.
        asked: of the picture that was sent; another size is scaled to it before it is compared.
        changed: share of the kept pixels that differ at all.
        far: share of them that differ by more than `NEAR` levels in a channel.
        mean: mean difference of kept pixels, in levels of 255.
        largest: the greatest difference.
        painted: mean difference within the mask; about 0 says that nothing was painted.
    """

    size: tuple[int, int]
    asked: tuple[int, int]
    changed: float
    far: float
    mean: float
    largest: int
    painted: float

    @classmethod
    def of(cls, case: MaskedEdit, answer: Image.Image) -> "Kept":
        """Compare an answer with what was sent."""
        same = (
            answer if answer.size == case.picture.size else answer.resize(case.picture.size, Image.Resampling.LANCZOS)
        )
        apart = np.abs(np.asarray(same, np.int16) - np.asarray(case.picture, np.int16))
        marked = np.asarray(case.mask) > 0
        worst, kept = apart.max(axis=-1)[~marked], apart[~marked]
        return cls(
            answer.size,
            case.picture.size,
            float((worst > 0).mean()),
            float((worst > NEAR).mean()),
            float(kept.mean()),
            int(worst.max()),
            float(apart[marked].mean()),
        )

    @property
    def exact(self) -> bool:
        """Whether every kept pixel is the one that was sent."""
        return self.size == self.asked and self.changed == 0

    @property
    def verdict(self) -> str:
        """`exact`, `near` (within `NEAR` levels for 99 % of the kept pixels) or `ignored`."""
        return "exact" if self.exact else "near" if self.far < 0.01 else "ignored"

    def to_json(self) -> str:
        """As one line."""
        return json.dumps({**asdict(self), "verdict": self.verdict})

    def told(self) -> str:
        """As a sentence."""
        resized = "" if self.size == self.asked else " ({}x{} came back of {}x{})".format(*self.size, *self.asked)
        idle = "; nothing was painted where the mask is" if self.painted < 1 else ""
        return (
            f"{self.verdict}: {self.changed:.1%} of the kept pixels changed, mean {self.mean:.1f} levels, "
            f"largest {self.largest}{resized}{idle}"
        )


def summary(found: Sequence[Kept]) -> str:
    """What all cases say together."""
    counts: dict[str, Any] = {
        name: sum(each.verdict == name for each in found) for name in ("exact", "near", "ignored")
    }
    return "masks: " + ", ".join(f"{name} in {count} of {len(found)}" for name, count in counts.items())


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
