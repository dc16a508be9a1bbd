"""A picture book as data: what a language model plans, what a person may change, what the pipeline is told.

{"title": "Mia and the moon", "request": "…", "style": "watercolour", "seed": 7, "seeds": "same",
 "characters": [{"name": "Mia", "look": "a small girl with red hair and a yellow coat"}],
 "pages": [{"text": "Mia looks up.", "prompt": "Mia at a window at night", "picture": "page-01.png"}]}
"""

import json
import re
import reprlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from llmga.errors import UserError
from llmga.jobs import write_result
from llmga.llava.generation_prompt import GenerationPrompt, Spoken, parse
from llmga.llava.instructions import language_of
from llmga.llava.planner import Dialogue, Planner
from llmga.llava.sampling import Sampling
from llmga.registry import Registry
from llmga.typed import one_part, read_json, row_of, typed, up_to, within

# page, seed of the book -> seed of the page's picture.  One seed for all keeps light and composition alike.
SEEDS: Registry[Callable[[int, int], int]] = Registry(
    "seed policy", {"same": lambda page, seed: seed, "next": lambda page, seed: seed + page}
)
CARD = re.compile(r"^\W{0,4}(?P<name>[^\s:：][^:：]{0,39}?)\W{0,2}[:：]\s*(?P<look>\S.*)$")
MOST_CHARACTERS = 8
LONGEST_BOOK, LONGEST_CAST = 400, 100  # what a person may have added to
Text = Annotated[str, up_to(100_000)]

ASK = {
    "en": {
        "characters": "We make a picture book of {count} pages: {request}\nList the characters that appear again and "
        "again, one a line, as NAME: how they look (age, hair, clothes, colours). Write nothing else.",
        "page": "Write page {number} of {count} of the picture book about: {request}\nTell the page in one or two "
        "sentences, then write its picture.",
    },
    "zh": {
        "characters": "我们来做一本{count}页的绘本：{request}\n请列出反复出现的角色，每行一个，格式为“名字: 外貌"
        "（年龄、头发、衣服、颜色）”，不要写别的内容。",
        "page": "请写绘本的第{number}页（共{count}页），主题是：{request}\n用一两句话讲述这一页，然后画出它的画面。",
    },
}


@dataclass(frozen=True)
class Character:
    """Somebody who appears again: described in the same words on every page."""

    name: Annotated[str, up_to(200)]
    look: Text

    @classmethod
    def read(cls, line: str) -> "Character":
        """A character from a line such as `Mia: a small girl with red hair`.

        Raises:
            UserError: the line does not read so.
        """
        card = CARD.match(line.strip())
        if not card:
            raise UserError(f"character {line!r} cannot be read; write NAME: how they look.")
        return cls(card["name"].strip(), card["look"].strip())

    def is_in(self, *texts: str) -> bool:
        """Whether one of the texts names them, as a whole word where words have spaces between them."""
        around = r"\b" if self.name.isascii() else ""
        name = re.compile(f"{around}{re.escape(self.name)}{around}", re.IGNORECASE)
        return any(name.search(text) for text in texts)


@dataclass(frozen=True)
class BookPage:
    """A page of a book: what is read on it, what is painted, and the picture's file once it is there."""

    text: Text
    prompt: Text
    picture: Annotated[str, one_part] | None = None


@dataclass(frozen=True)
class Story:
    """A picture book.

    Attributes:
        style: ends every prompt; "" for none.
        seeds: a row of `SEEDS`.
    """

    title: Text
    request: Text
    seed: Annotated[int, within(0, 2**62)]
    style: Text = ""
    seeds: Annotated[str, row_of(SEEDS)] = "same"
    characters: Annotated[tuple[Character, ...], up_to(LONGEST_CAST)] = ()
    pages: Annotated[tuple[BookPage, ...], up_to(LONGEST_BOOK)] = ()

    def prompt(self, number: int) -> str:
        """What the pipeline is told for page `number` (from 0): every character in the same words, one style."""
        page = self.pages[number]
        seen = [each for each in self.characters if each.is_in(page.text, page.prompt)]
        looks = (f"{each.name} is {each.look.rstrip('.')}." for each in seen if each.look not in page.prompt)
        sentences = [page.prompt.rstrip(), *looks, *([self.style] if self.style else [])]
        return " ".join(each if each.endswith((".", "。", "!", "?")) else f"{each}." for each in sentences)

    def page_seed(self, number: int) -> int:
        """The seed of this page's picture, by the policy `seeds`."""
        return SEEDS[self.seeds](number, self.seed)

    def with_picture(self, number: int, file: str | None) -> "Story":
        """The book with this page's picture."""
        pages = list(self.pages)
        pages[number] = replace(pages[number], picture=file)
        return replace(self, pages=tuple(pages))

    def save(self, path: Path) -> None:
        """Write the book as JSON.

        Raises:
            UserError: the disk does not take it.
        """
        write_result(path, (json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n").encode(), "make room")

    @classmethod
    def load(cls, path: str | Path) -> "Story":
        """A book from its file.

        Raises:
            UserError: there is none, or what a person changed in it cannot be read.
        """
        try:
            book = read_json(path)
            story = typed(cls, book)
            parts = ((cls, [book]), (Character, book.get("characters", ())), (BookPage, book.get("pages", ())))
            for kind, objects in parts:
                _check_names(kind, objects)
            if not story.pages:
                raise ValueError("it has no pages")
            return story
        except (OSError, ValueError, TypeError) as problem:
            raise UserError(f"{str(path)!r} is no story ({problem}); give the story.json of a picture book.") from None


def _check_names(kind: type, objects: Sequence[dict[str, Any]]) -> None:
    """Check the names of the fields, in which a pen may slip.

    Raises:
        ValueError: one is not known.
    """
    known = {entry.name for entry in fields(kind)}
    for name in set().union(*objects) - known:
        raise ValueError(f"{reprlib.repr(name)} is unknown, known are {', '.join(sorted(known))}")


def plan(
    planner: Planner, request: str, pages: int, sampling: Sampling, characters: tuple[Character, ...] = (), **book: Any
) -> Iterator[Story]:
    """The book, growing by a page at a time.

    Args:
        planner: who writes it, in one conversation.
        sampling: of the words; pictures are asked for by force where the planner can be.
        characters: known from the start; without any, the planner is asked for them.
        book: further fields of `Story`.

    Yields:
        The book with one page more each time.

    Raises:
        UserError: the language model cannot be asked, or says nothing for a page.
    """
    ask, dialogue = ASK[language_of(request)], Dialogue(planner)
    if not characters:
        said = _answer(dialogue, ask["characters"].format(count=pages, request=request), sampling)[0]
        characters = _cards(said)
    story = Story(request=request, characters=characters, **book)
    steered = replace(sampling, picture="always") if planner.steers else sampling
    for number in range(1, pages + 1):
        one = replace(steered, seed=None if sampling.seed is None else sampling.seed + number)
        text, prompts = _answer(dialogue, ask["page"].format(number=number, count=pages, request=request), one)
        if not text and not prompts:
            raise UserError(f"the language model said nothing for page {number}; try another --seed or --temperature.")
        story = replace(story, pages=(*story.pages, BookPage(text, prompts[0] if prompts else text)))
        yield story


def _answer(dialogue: Dialogue, text: str, sampling: Sampling) -> tuple[str, list[str]]:
    """One answer of the language model: (words, prompts)."""
    events = list(parse(dialogue.say(text, sampling=sampling)))
    words = "".join(event.text for event in events if isinstance(event, Spoken))
    return words.strip(), [event.text for event in events if isinstance(event, GenerationPrompt)]


def _cards(said: str) -> tuple[Character, ...]:
    """The lines of an answer that describe somebody."""
    found = [Character.read(line) for line in said.splitlines() if CARD.match(line.strip())]
    return tuple(found[:MOST_CHARACTERS])
