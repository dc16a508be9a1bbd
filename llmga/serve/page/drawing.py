"""The conversation as HTML: items in order, each drawn on its own.

Pure functions from data to HTML; everything that a person or a model said is escaped here.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from html import escape
from math import ceil

from markdown_it import MarkdownIt

from llmga.llava.generation_prompt import GenerationPrompt, Spoken, parse
from llmga.serve.page import pictures
from llmga.serve.page.icons import icon_button
from llmga.serve.page.strings import Strings
from llmga.serve.page.transcript import Entry, Notice, Progress, ShownImage
from llmga.serve.page.welcome import Welcome, about, cards

# Neither HTML nor pictures of elsewhere: a model's words must not make the reader's browser ask anybody anything.
_MARKDOWN = MarkdownIt("commonmark", {"html": False, "breaks": True}).disable("image")

LogItem = tuple[str, str, str]  # key, kind, HTML: what `log.js` draws


def log_items(
    number: int, entry: Entry, progress: Progress | None, strings: Strings, last: bool = False
) -> Iterator[LogItem]:
    """What exchange `number` looks like.

    Args:
        last: none follows it, so that it can be answered anew or taken back.
    """
    yield f"{number}.asked", "user", _asked(number, entry, strings, last)
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


def _asked(number: int, entry: Entry, strings: Strings, last: bool) -> str:
    attached = "".join(
        f'<div class="painted attached{" marked" if image.marks else ""}">'
        f"{pictures.picture(image, '', '', strings)}</div>"
        for image in entry.attached
    )
    return f'{attached}<div class="bubble">{escape(entry.asked)}</div>{_message_verbs(number, entry, strings, last)}'


def _message_verbs(number: int, entry: Entry, strings: Strings, last: bool) -> str:
    """What can be done with a message; one that came to nothing is not edited, but taken back and said anew."""
    verbs = [*(("edit",) if entry.kept else ()), *(("retry", "undo") if last else ())]
    buttons = (icon_button(verb, escape(strings[verb]), f' data-number="{number}"') for verb in verbs)
    hint = f' data-send="{escape(strings["send"])}" data-leave="{escape(strings["put down"])}"'
    return f'<div class="actions" role="group" aria-label="{escape(strings["message"])}"{hint}>{"".join(buttons)}</div>'


def _painted(
    address: str, text: str, shown: Sequence[ShownImage], progress: Progress | None, strings: Strings
) -> Iterator[LogItem]:
    """One item for each picture of a prompt, or for the prompt alone; the painting at work comes last."""
    for place, image in enumerate(shown):
        inside = pictures.picture(image, text, address, strings) + _prompt(address, text, image.facts, strings)
        yield f"{address}.{place}", "painted", inside
    if progress is not None:
        yield f"{address}.{len(shown)}", "painted", _unfinished(progress, strings)
    elif not shown:
        yield f"{address}.0", "painted waiting", _prompt(address, text, (), strings, waits=True)


def _unfinished(progress: Progress, strings: Strings) -> str:
    said = escape(strings["painting"])
    width, height = progress.size  # known before it is decoded, or the conversation would jump with every step
    inside = f'<img src="{progress.preview}" width="{width}" height="{height}" alt="">' if progress.preview else said
    return (
        f'<div class="face{"" if progress.preview else " empty"}" data-say="{said}">{inside}</div>'
        f'<progress max="{progress.total or 1}" value="{progress.step}" aria-label="{said}"></progress>'
        f'<p class="left">{escape(_how_far(progress, strings))}</p>'
    )


def _how_far(progress: Progress, strings: Strings) -> str:
    """In words: the step, and the time that is left."""
    if not progress.total:
        return strings["painting"]
    step = strings["step"].format(progress.step, progress.total)
    return step if progress.seconds is None else f"{step} · {_left(progress.seconds, strings)}"


def _left(seconds: float, strings: Strings) -> str:
    return strings["minutes left" if seconds > 90 else "seconds left"].format(
        ceil(seconds / 60) if seconds > 90 else max(1, ceil(seconds))
    )


def _prompt(address: str, text: str, facts: Sequence[str], strings: Strings, waits: bool = False) -> str:
    summary = " · ".join([strings["prompt"], *filter(None, facts)])
    hint = f"<p>{escape(strings['waiting'])}</p>" if waits else ""
    return (
        f"<details{' open' if waits else ''}><summary>{escape(summary)}</summary>{hint}"
        f'<textarea aria-label="{escape(strings["prompt"])}">{escape(text)}</textarea>'
        f'<button type="button" data-do="paint" data-address="{address}">{escape(strings["paint"])}</button></details>'
    )


def log(
    entries: Sequence[Entry], progress: Progress | None, strings: Strings, welcome: Welcome, taken_back: str = ""
) -> list[list[str]]:
    """The conversation as `log.js` takes it; of a list gradio sends what changed only.

    Args:
        welcome: what stands there before anything was said.
        taken_back: a key of the strings, what can be brought back; "" for nothing.
    """
    last = len(entries) - 1
    items = [item for at, each in enumerate(entries) for item in log_items(at, each, progress, strings, at == last)]
    items = items or [("welcome", "welcome", cards(welcome, strings))]
    if taken_back:
        items.append((f"back {taken_back}", "note", _taken_back(taken_back, strings)))
    return [list(item) for item in items]


def _taken_back(key: str, strings: Strings) -> str:
    button = f'<button type="button" data-do="bring back">{escape(strings["bring back"])}</button>'
    return f"<span>{escape(strings[key])}</span> {button}"


def gallery(shown: Sequence[ShownImage], strings: Strings, welcome: Welcome) -> str:
    """Thumbnails of all pictures, each opens large; before there are any, what they will be."""
    if not shown:
        return about(welcome, strings)
    label = escape(strings["picture"])
    return "".join(
        f'<button type="button" data-open="{image.number}" aria-label="{label} {image.number + 1}">'
        f'<img src="{escape(image.url)}" class="{pictures.grain(image)}" alt="" loading="lazy">'
        f'<span class="number">{image.number + 1}</span></button>'
        for image in shown
    )


def subject(key: str, image: ShownImage | None, strings: Strings) -> str:
    """The line above the message box that says what the next message is about; empty without a subject."""
    if not key:
        return ""
    said = strings[f"about {key}"].format("" if image is None else image.number + 1)
    thumb = f'<img src="{escape(image.url)}" alt="">' if image else ""
    button = f'<button type="button" data-do="drop">{escape(strings["put down"])}</button>'
    return f'<div class="subject">{thumb}<span>{escape(said)}</span>{button}</div>'
