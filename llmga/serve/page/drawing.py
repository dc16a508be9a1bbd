"""What a visit shows: blocks of the conversation in order, each drawn as HTML on its own.

Pure functions from data to HTML; everything that a person or a model said is escaped here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape

from markdown_it import MarkdownIt

from llmga.llava.generation_prompt import GenerationPrompt, Spoken, parse
from llmga.serve.page.strings import Words

# Neither HTML nor pictures of elsewhere: a model's words must not make the reader's browser ask anybody anything.
_MARKDOWN = MarkdownIt("commonmark", {"html": False, "breaks": True}).disable("image")
SMALL = 256  # sides in pixels up to which a picture is not blown up to the column's width
VERBS = ("similar", "change", "mark", "look")


@dataclass(frozen=True)
class Shown:
    """A picture as the page needs it.

    Attributes:
        number: of the picture in the conversation, from 0; what the buttons name it by.
        url: where the browser gets the file.
        facts: what is said of how it was made, such as its seed.
        again: it was shown before, under the same number.
    """

    number: int
    url: str
    size: tuple[int, int]
    facts: tuple[str, ...] = ()
    again: bool = False


@dataclass
class Progress:
    """A painting at work.

    Attributes:
        exchange, prompt: which prompt of which exchange is painted.
        total: 0 until the pipeline has begun.
        preview: a data URI of the unfinished picture.
        size: its width and height in pixels.
    """

    exchange: int
    prompt: int
    step: int = 0
    total: int = 0
    preview: str = ""
    size: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Entry:
    """A turn and what came of it so far.

    Attributes:
        asked: what the person said.
        attached: pictures that went with it.
        reply: the answer so far, with its generation prompts in their tags.
        pictures: of each prompt, by its number in the reply.
        troubles: what went wrong, in order; `Mark` is a word of the page.
    """

    asked: str
    attached: Sequence[Shown] = ()
    reply: str = ""
    pictures: Mapping[int, Sequence[Shown]] = field(default_factory=dict)
    troubles: Sequence["str | Mark"] = ()

    def all_pictures(self) -> list[Shown]:
        """Those that are shown here first, in the order of their numbers."""
        shown = [*self.attached, *(picture for prompt in self.pictures.values() for picture in prompt)]
        return [picture for picture in shown if not picture.again]


@dataclass(frozen=True)
class Mark:
    """A line of the page itself: a key of its words."""

    key: str


Block = tuple[str, str, str]  # key, kind, HTML


def blocks(number: int, entry: Entry, progress: Progress | None, words: Words) -> Iterator[Block]:
    """What exchange `number` looks like."""
    yield f"{number}.asked", "user", _asked(entry, words)
    prompts = 0
    for place, event in enumerate(_events(entry.reply)):
        if isinstance(event, Spoken) and event.text.strip():
            yield f"{number}.words{place}", "words", _rendered(event.text)
        elif isinstance(event, GenerationPrompt):
            here = progress if progress and (progress.exchange, progress.prompt) == (number, prompts) else None
            yield from _painted(f"{number}.{prompts}", event.text, entry.pictures.get(prompts, ()), here, words)
            prompts += 1
    for place, trouble in enumerate(entry.troubles):
        told = words[trouble.key] if isinstance(trouble, Mark) else trouble
        yield f"{number}.trouble{place}", "note" if isinstance(trouble, Mark) else "trouble", escape(told)


# What was said long ago is drawn again with every token that comes.
_events = lru_cache(1024)(lambda reply: tuple(parse([reply])))
_rendered = lru_cache(1024)(_MARKDOWN.render)


def _asked(entry: Entry, words: Words) -> str:
    pictures = "".join(f'<div class="painted attached">{_picture(shown, "", words)}</div>' for shown in entry.attached)
    return f'{pictures}<div class="bubble">{escape(entry.asked)}</div>'


def _painted(
    address: str, text: str, pictures: Sequence[Shown], progress: Progress | None, words: Words
) -> Iterator[Block]:
    """One block for each picture of a prompt, or for the prompt alone; the painting at work comes last."""
    for place, shown in enumerate(pictures):
        small = " small" if max(shown.size) <= SMALL else ""
        inside = _picture(shown, text, words) + _prompt(address, text, shown.facts, words)
        yield f"{address}.{place}", f"painted{small}", inside
    if progress is not None:
        yield f"{address}.{len(pictures)}", "painted small", _unfinished(progress, words)
    elif not pictures:
        yield f"{address}.0", "painted waiting", _prompt(address, text, (), words, waits=True)


def _picture(shown: Shown, alt: str, words: Words) -> str:
    """The picture and what can be done with it; only the picture where it is shown again."""
    say = {key: escape(word) for key, word in words.items()}
    url, label = escape(shown.url), f"{say['picture']} {shown.number + 1}"
    verbs = "".join(
        f'<button type="button" data-do="{verb}" data-number="{shown.number}" '
        f'aria-label="{say[verb]}: {label}">{say[verb]}</button>'
        for verb in VERBS
    )
    name = "" if shown.again else f' id="picture-{shown.number}"'
    face = (
        f'<div class="face"{name}><img src="{url}" width="{shown.size[0]}" height="{shown.size[1]}" '
        f'alt="{escape(alt) or label}"><span class="number">{shown.number + 1}</span></div>'
    )
    if shown.again:
        return face
    download = f'<a class="button" href="{url}" download="llmga-{shown.number + 1:03d}.png">{say["download"]}</a>'
    return f'{face}<div class="actions">{verbs}{download}</div>'


def _unfinished(progress: Progress, words: Words) -> str:
    said = escape(words["painting"])
    width, height = progress.size  # known before it is decoded, or the conversation would jump with every step
    inside = f'<img src="{progress.preview}" width="{width}" height="{height}" alt="">' if progress.preview else said
    return (
        f'<div class="face{"" if progress.preview else " empty"}">{inside}</div>'
        f'<progress max="{progress.total or 1}" value="{progress.step}" aria-label="{said}"></progress>'
    )


def _prompt(address: str, text: str, facts: Sequence[str], words: Words, waits: bool = False) -> str:
    summary = " · ".join([words["prompt"], *filter(None, facts)])
    hint = f"<p>{escape(words['waiting'])}</p>" if waits else ""
    return (
        f"<details{' open' if waits else ''}><summary>{escape(summary)}</summary>{hint}"
        f'<textarea aria-label="{escape(words["prompt"])}">{escape(text)}</textarea>'
        f'<button type="button" data-do="paint" data-address="{address}">{escape(words["paint"])}</button></details>'
    )


def welcome(words: Words) -> Block:
    """What stands there before anything was said."""
    examples = (escape(words[f"example {number}"]) for number in (1, 2, 3))
    buttons = "".join(f'<button type="button" data-do="say" data-text="{text}">{text}</button>' for text in examples)
    return "welcome", "welcome", f"<p>{escape(words['welcome'])}</p>{buttons}"


def log(drawn: Sequence[Block], words: Words) -> list[list[str]]:
    """The blocks as `log.js` takes them; of a list gradio sends what changed only."""
    return [list(block) for block in drawn] or [list(welcome(words))]


def gallery(pictures: Sequence[Shown], words: Words) -> str:
    """Thumbnails of all pictures; each leads to its place in the conversation."""
    if not pictures:
        return f'<p class="none">{escape(words["no pictures"])}</p>'
    label = escape(words["picture"])
    return "".join(
        f'<button type="button" data-goto="picture-{shown.number}" aria-label="{label} {shown.number + 1}">'
        f'<img src="{escape(shown.url)}" alt="" loading="lazy"><span class="number">{shown.number + 1}</span></button>'
        for shown in pictures
    )


def about(key: str, shown: Shown | None, words: Words) -> str:
    """The line above the message box that says what the next message is about; empty without a subject."""
    if not key:
        return ""
    said = words[f"about {key}"].format("" if shown is None else shown.number + 1)
    thumb = f'<img src="{escape(shown.url)}" alt="">' if shown else ""
    button = f'<button type="button" data-do="drop">{escape(words["put down"])}</button>'
    return f'<div class="about">{thumb}<span>{escape(said)}</span>{button}</div>'
