"""The conversation as HTML: items in order, each drawn on its own.

Pure functions from data to HTML; everything that a person or a model said is escaped here.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from html import escape

from markdown_it import MarkdownIt

from llmga.llava.generation_prompt import GenerationPrompt, Spoken, parse
from llmga.serve.page.strings import Strings
from llmga.serve.page.transcript import Entry, Notice, Progress, ShownImage

# Neither HTML nor pictures of elsewhere: a model's words must not make the reader's browser ask anybody anything.
_MARKDOWN = MarkdownIt("commonmark", {"html": False, "breaks": True}).disable("image")
SMALL = 256  # sides in pixels up to which a picture is not blown up to the column's width
VERBS = ("similar", "change", "mark", "look")

LogItem = tuple[str, str, str]  # key, kind, HTML: what `log.js` draws


def log_items(number: int, entry: Entry, progress: Progress | None, strings: Strings) -> Iterator[LogItem]:
    """What exchange `number` looks like."""
    yield f"{number}.asked", "user", _asked(entry, strings)
    prompts = 0
    for place, event in enumerate(_events(entry.reply)):
        if isinstance(event, Spoken) and event.text.strip():
            yield f"{number}.words{place}", "words", _rendered(event.text)
        elif isinstance(event, GenerationPrompt):
            here = progress if progress and (progress.exchange, progress.prompt) == (number, prompts) else None
            yield from _painted(f"{number}.{prompts}", event.text, entry.pictures.get(prompts, ()), here, strings)
            prompts += 1
    for place, trouble in enumerate(entry.troubles):
        text = strings[trouble.key] if isinstance(trouble, Notice) else trouble
        yield f"{number}.trouble{place}", "note" if isinstance(trouble, Notice) else "trouble", escape(text)


# What was said long ago is drawn again with every token that comes.
_events = lru_cache(1024)(lambda reply: tuple(parse([reply])))
_rendered = lru_cache(1024)(_MARKDOWN.render)


def _asked(entry: Entry, strings: Strings) -> str:
    pictures = "".join(
        f'<div class="painted attached{" marked" if image.marks else ""}">{_picture(image, "", strings)}</div>'
        for image in entry.attached
    )
    return f'{pictures}<div class="bubble">{escape(entry.asked)}</div>'


def _painted(
    address: str, text: str, pictures: Sequence[ShownImage], progress: Progress | None, strings: Strings
) -> Iterator[LogItem]:
    """One item for each picture of a prompt, or for the prompt alone; the painting at work comes last."""
    for place, image in enumerate(pictures):
        small = " small" if max(image.size) <= SMALL else ""
        inside = _picture(image, text, strings) + _prompt(address, text, image.facts, strings)
        yield f"{address}.{place}", f"painted{small}", inside
    if progress is not None:
        yield f"{address}.{len(pictures)}", "painted small", _unfinished(progress, strings)
    elif not pictures:
        yield f"{address}.0", "painted waiting", _prompt(address, text, (), strings, waits=True)


def _picture(image: ShownImage, alt: str, strings: Strings) -> str:
    """The picture and what can be done with it; only the picture where it is shown again."""
    say = {key: escape(text) for key, text in strings.items()}
    url, label = escape(image.url), f"{say['picture']} {image.number + 1}"
    verbs = "".join(
        f'<button type="button" data-do="{verb}" data-number="{image.number}" '
        f'aria-label="{say[verb]}: {label}">{say[verb]}</button>'
        for verb in VERBS
    )
    seen, alt = escape(image.marks or image.url), f"{label}, {say['marked']}" if image.marks else escape(alt) or label
    name = "" if image.again else f' id="picture-{image.number}"'
    face = (
        f'<div class="face"{name}><img src="{seen}" width="{image.size[0]}" height="{image.size[1]}" '
        f'alt="{alt}"><span class="number">{image.number + 1}</span></div>'
    )
    if image.again:
        return face
    download = f'<a class="button" href="{url}" download="llmga-{image.number + 1:03d}.png">{say["download"]}</a>'
    return f'{face}<div class="actions">{verbs}{download}</div>'


def _unfinished(progress: Progress, strings: Strings) -> str:
    said = escape(strings["painting"])
    width, height = progress.size  # known before it is decoded, or the conversation would jump with every step
    inside = f'<img src="{progress.preview}" width="{width}" height="{height}" alt="">' if progress.preview else said
    return (
        f'<div class="face{"" if progress.preview else " empty"}">{inside}</div>'
        f'<progress max="{progress.total or 1}" value="{progress.step}" aria-label="{said}"></progress>'
    )


def _prompt(address: str, text: str, facts: Sequence[str], strings: Strings, waits: bool = False) -> str:
    summary = " · ".join([strings["prompt"], *filter(None, facts)])
    hint = f"<p>{escape(strings['waiting'])}</p>" if waits else ""
    return (
        f"<details{' open' if waits else ''}><summary>{escape(summary)}</summary>{hint}"
        f'<textarea aria-label="{escape(strings["prompt"])}">{escape(text)}</textarea>'
        f'<button type="button" data-do="paint" data-address="{address}">{escape(strings["paint"])}</button></details>'
    )


def welcome(strings: Strings) -> LogItem:
    """What stands there before anything was said."""
    examples = (escape(strings[f"example {number}"]) for number in (1, 2, 3))
    buttons = "".join(f'<button type="button" data-do="say" data-text="{text}">{text}</button>' for text in examples)
    return "welcome", "welcome", f"<p>{escape(strings['welcome'])}</p>{buttons}"


def log(drawn: Sequence[LogItem], strings: Strings) -> list[list[str]]:
    """The items as `log.js` takes them; of a list gradio sends what changed only."""
    return [list(item) for item in drawn] or [list(welcome(strings))]


def gallery(pictures: Sequence[ShownImage], strings: Strings) -> str:
    """Thumbnails of all pictures; each leads to its place in the conversation."""
    if not pictures:
        return f'<p class="none">{escape(strings["no pictures"])}</p>'
    label = escape(strings["picture"])
    return "".join(
        f'<button type="button" data-goto="picture-{image.number}" aria-label="{label} {image.number + 1}">'
        f'<img src="{escape(image.url)}" alt="" loading="lazy"><span class="number">{image.number + 1}</span></button>'
        for image in pictures
    )


def subject(key: str, image: ShownImage | None, strings: Strings) -> str:
    """The line above the message box that says what the next message is about; empty without a subject."""
    if not key:
        return ""
    said = strings[f"about {key}"].format("" if image is None else image.number + 1)
    thumb = f'<img src="{escape(image.url)}" alt="">' if image else ""
    button = f'<button type="button" data-do="drop">{escape(strings["put down"])}</button>'
    return f'<div class="subject">{thumb}<span>{escape(said)}</span>{button}</div>'
