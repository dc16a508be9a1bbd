"""A picture of the conversation: its face, the row of what can be done with it, and what the light box says of it."""

import json
from html import escape
from typing import Any

from llmga.serve.page.icons import icon, icon_button
from llmga.serve.page.strings import Strings
from llmga.serve.page.transcript import ShownImage

SMALL = 256  # sides in pixels up to which the dots of an enlarged picture stay sharp
VERBS = ("similar", "change", "mark", "larger", "look")


def picture(image: ShownImage, prompt: str, address: str, strings: Strings) -> str:
    """The picture and what can be done with it; only the picture where it is shown again.

    Args:
        prompt: what was painted; "" for a picture that a person gave.
        address: of the prompt, the same for all its versions.
    """
    say = {key: escape(text) for key, text in strings.items()}
    label = f"{say['picture']} {image.number + 1}"
    return _face(image, prompt, address, label, strings) + ("" if image.again else _verbs(image, label, say))


def grain(image: ShownImage) -> str:
    """The class of an `img`: whether its dots are to stay sharp."""
    return "small" if max(image.size) <= SMALL else ""


def _face(image: ShownImage, prompt: str, address: str, label: str, strings: Strings) -> str:
    name = "" if image.again else f' id="picture-{image.number}"{_seen(image, prompt, address, strings)}'
    width, height = image.size
    say = f' data-say="{label}: {escape(prompt)}"' if prompt else ""
    seen = f"{label}, {escape(strings['marked'])}" if image.marks else escape(prompt) or label
    opens = f"{escape(strings['open'])}: {label}"
    return (
        f'<div class="face" style="--w:{width};--h:{height}"{name}{say}>'
        f'<button type="button" class="open" data-open="{image.number}" aria-label="{opens}">'
        f'<img src="{escape(image.marks or image.url)}" class="{grain(image)}" '
        f'width="{width}" height="{height}" alt="{seen}"></button>'
        f'<span class="number">{image.number + 1}</span></div>'
    )


def _verbs(image: ShownImage, label: str, say: Strings) -> str:
    buttons = "".join(icon_button(verb, say[verb], f' data-number="{image.number}"', label) for verb in VERBS)
    download = (
        f'<a class="verb" href="{escape(image.url)}" download="{_file(image)}" data-tip="{say["download"]}" '
        f'aria-label="{say["download"]}: {label}">{icon("download")}</a>'
    )
    return f'<div class="actions" role="group" aria-label="{label}">{buttons}{download}</div>'


def _seen(image: ShownImage, prompt: str, address: str, strings: Strings) -> str:
    """What `lightbox.js` shows of it, as an attribute."""
    told: dict[str, Any] = {
        "number": image.number,
        "url": image.url,
        "size": image.size,
        "prompt": prompt,
        "address": address,
        "before": image.before,
        "file": _file(image),
        "made": [(strings[key], said) for key, said in image.made],
    }
    return f' data-picture="{escape(json.dumps(told, ensure_ascii=False))}"'


def _file(image: ShownImage) -> str:
    return f"llmga-{image.number + 1:03d}.png"
