"""A page of samples as a model reads them: static HTML, its pictures inside, what the model learns to say in colour."""

import base64
import html
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from PIL import Image

from llmga.llava.conversation import Conversation
from llmga.llava.mllm import Mllm
from llmga.llava.tokenization import IGNORED, Encoded, decode

SIDE, QUALITY = 320, 85  # of a picture on the page
HEAD = """<!DOCTYPE html>
<html><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title><style>
:root {{ color-scheme: light dark; }}
body {{ max-width: 60rem; margin: auto; padding: 1rem; font: 1rem/1.5 sans-serif; }}
article {{ border: 1px solid #8888; border-radius: .4rem; margin: 1.5rem 0; padding: 0 1rem; }}
h2 {{ font-size: 1rem; }}
p.said {{ white-space: pre-wrap; overflow-wrap: anywhere; font-family: monospace; }}
mark {{ background: #2a93; color: inherit; border-bottom: 2px solid #2a9; }}
del {{ opacity: .5; }}
img {{ max-width: 100%; vertical-align: middle; border-radius: .2rem; }}
</style></head><body><h1>{title}</h1>
<p>{about}</p>
<p><mark>This is what the model learns to say</mark>; the rest is what it reads.
<del>This lies beyond the length limit.</del></p>
"""


@dataclass(frozen=True)
class Shown:
    """A sample of the page.

    Attributes:
        place: where it stands, in words.
        conversation: what it says; None of one that is left out.
        reason: why it is left out.
    """

    place: str
    conversation: Conversation | None
    reason: str = ""


@dataclass(frozen=True)
class Run:
    """Tokens of one sort that follow each other.

    Attributes:
        text: as the tokenizer reads it back; "" of a picture.
        learnt: whether they are supervised.
        beyond: whether they lie beyond the length limit.
        picture: whether they stand for a picture.
    """

    text: str
    learnt: bool = False
    beyond: bool = False
    picture: bool = False


def runs(encoded: Encoded, mllm: Mllm, limit: int) -> Iterator[Run]:
    """A sample in runs: words by what becomes of them, each picture by itself."""
    places = range(len(encoded.input_ids))
    is_picture = [token == mllm.image_token_id for token in encoded.input_ids]
    for picture, piece in groupby(places, key=is_picture.__getitem__):
        own = list(piece)
        if picture:
            count = mllm.tokens_per_image
            yield from (Run("", picture=True, beyond=own[at] >= limit) for at in range(0, len(own), count))
            continue
        read = ""
        for (learnt, beyond), part in groupby(own, key=lambda at: (encoded.labels[at] != IGNORED, at >= limit)):
            end = list(part)[-1] + 1  # read back with what is before: a token may mean something else at a start
            whole = decode(encoded.input_ids[own[0] : end], mllm.tokenizer)
            yield Run(whole[len(read) :], learnt, beyond)
            read = whole


def page(title: str, about: str, samples: Sequence[Shown], mllm: Mllm, limit: int) -> str:
    """The whole page."""
    articles = [_article(sample, mllm, limit) for sample in samples]
    return "".join([HEAD.format(title=html.escape(title), about=html.escape(about)), *articles, "</body></html>\n"])


def _article(sample: Shown, mllm: Mllm, limit: int) -> str:
    if sample.conversation is None:
        return _framed(sample.place, f"<p>left out: {html.escape(sample.reason)}</p>")
    encoded = mllm.encode(sample.conversation)
    learnt = sum(label != IGNORED for label in encoded.labels[:limit])
    pictures = iter(sample.conversation.images())
    told = f"{sample.place}: {len(encoded.input_ids)} tokens, {learnt} of them learnt"
    said = "".join(_drawn(run, pictures) for run in runs(encoded, mllm, limit))
    return _framed(told, f'<p class="said">{said}</p>')


def _framed(head: str, body: str) -> str:
    return f"<article><h2>{html.escape(head)}</h2>\n{body}\n</article>\n"


def _drawn(run: Run, pictures: Iterator[Image.Image]) -> str:
    said = _picture(next(pictures)) if run.picture else html.escape(run.text)
    said = f"<mark>{said}</mark>" if run.learnt else said
    return f"<del>{said}</del>" if run.beyond else said


def _picture(image: Image.Image) -> str:
    small, buffer = image.copy(), io.BytesIO()
    small.thumbnail((SIDE, SIDE))
    small.save(buffer, "JPEG", quality=QUALITY)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="picture, {image.width} x {image.height}" src="data:image/jpeg;base64,{data}">'
