"""What the page says to who comes new: what can be done here, and what this language model paints.

A model says the latter itself, in a `welcome.json` beside its weights:

    {"examples": ["a big red circle"], "paints": {"en": "Simple shapes.", "zh": "简单图形。"},
     "cards": ["say", "upload", "fill", "larger"]}
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Annotated

from llmga.errors import UserError
from llmga.serve.page.art import ART
from llmga.serve.page.icons import icon
from llmga.serve.page.strings import Strings, code_of
from llmga.typed import parsed, row_of, typed, up_to

FILE = "welcome.json"
LONGEST = 20_000  # characters
EXAMPLES = ("example 1", "example 2", "example 3")  # keys of the strings, for models that give none

Words = Annotated[str, up_to(300)]


@dataclass(frozen=True)
class Welcome:
    """What a language model says of itself.

    Attributes:
        examples: messages in its own language, to begin with; without any the page has some of its own.
        paints: what it can paint, by the code of the page's language.
        cards: what can be done with it, in order: keys of `ART`.
    """

    examples: Annotated[tuple[Words, ...], up_to(6)] = ()
    paints: dict[str, Annotated[str, up_to(1000)]] = field(default_factory=dict)
    cards: tuple[Annotated[str, row_of(ART)], ...] = tuple(ART)

    @classmethod
    def of(cls, folder: Path | None) -> "Welcome":
        """That of the model in this folder; the usual one where it says nothing.

        Raises:
            UserError: its file is none.
        """
        if folder is None or not (folder / FILE).is_file():
            return cls()
        try:
            return typed(cls, parsed((folder / FILE).read_bytes(), longest=LONGEST))
        except (OSError, TypeError, ValueError) as problem:
            raise UserError(f"{FILE} of model {folder.name!r} cannot be read ({problem}); mend or remove it.") from None


def cards(welcome: Welcome, strings: Strings) -> str:
    """What stands in the conversation before anything was said."""
    say = {key: escape(text) for key, text in strings.items()}
    drawn = "".join(
        f'<button type="button" class="card" data-card="{name}">{ART[name]}<strong>{say[f"card {name}"]}</strong>'
        f"<span>{say[f'card {name} help']}</span></button>"
        for name in welcome.cards
    )
    return (
        f'<h2>{say["welcome"]}</h2><div class="cards">{drawn}</div>'
        f'<p id="examples">{say["examples"]}</p><div class="examples" role="group" aria-labelledby="examples">'
        f"{_examples(welcome, strings)}</div>"
    )


def about(welcome: Welcome, strings: Strings) -> str:
    """What stands where pictures will be."""
    paints = welcome.paints.get(code_of(strings), "")
    told = f"<h3>{escape(strings['paints'])}</h3><p>{escape(paints)}</p>" if paints else ""
    return f'<div class="none">{icon("picture")}<p>{escape(strings["no pictures"])}</p>{told}</div>'


def _examples(welcome: Welcome, strings: Strings) -> str:
    texts: Sequence[str] = welcome.examples or [strings[key] for key in EXAMPLES]
    return "".join(
        f'<button type="button" data-do="say" data-text="{escape(text)}">{escape(text)}</button>' for text in texts
    )
