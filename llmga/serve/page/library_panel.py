"""The list of kept conversations at the side: its components, and what they show."""

from datetime import UTC, datetime
from html import escape
from typing import Any

import gradio as gr

from llmga.assistant.library.library import Library, Listed
from llmga.serve.page.labels import Labels
from llmga.serve.page.scripts import script
from llmga.serve.page.strings import Strings
from llmga.serve.page.transcript import served
from llmga.serve.page.user_session import UserSession

PAGE = 30  # conversations that are listed at first, and more each time
GROUPS = ("today", "yesterday", "earlier")  # which the browser knows best where it stands
VERBS = {  # what is done, its word, and its sign
    "rename": ("rename talk", '<path d="M4 20h4L19 9l-4-4L4 16z"/>'),
    "delete": ("delete talk", '<path d="M5 7h14M10 4h4M7 7l1 13h8l1-13M10 11v5M14 11v5"/>'),
}
WORDS = '<path d="M4 5h16v11H9l-5 4z"/>'  # of a conversation without a picture


class LibraryPanel:
    """The components of the list.

    Args:
        visible: whether conversations are kept.

    Attributes:
        side: the whole, open where there is room.
        new: begins a new conversation.
        search: what is looked for.
        talks: the list itself; its buttons are `select` events.
    """

    def __init__(self, labels: Labels, visible: bool):
        self.side: gr.Sidebar = gr.Sidebar(width=280, open=False, visible=visible, elem_id="library")
        with self.side:
            self.new: gr.Button = labels.put(
                gr.Button, value_word="new conversation", size="sm", variant="primary", elem_id="new-talk"
            )
            self.search: gr.Textbox = labels.put(
                gr.Textbox, placeholder_word="search", label_word="search", show_label=False, container=False,
                max_lines=1, elem_id="search-talks",
            )  # fmt: skip
            self.talks: gr.HTML = gr.HTML(
                {"talks": [], "words": {}},
                html_template='<nav class="talks" aria-label="Conversations"></nav>',
                js_on_load=script("library.js"),
                apply_default_css=False,
                elem_id="talks",
            )


def shown(library: Library, session: UserSession) -> dict[str, Any]:
    """What the list shows in a tab, as `library.js` takes it."""
    strings, view = session.strings, session.view
    page = library.listed(session.owner, view.wanted, most=PAGE * view.pages)
    empty = strings["none found" if view.wanted.strip() else "no conversations"]
    words = {group: strings[group] for group in GROUPS} | {"name": strings["conversations"]}
    return {
        "talks": [_talk(each, strings) for each in page.listed],
        "open": session.conversation.key,
        "words": words,
        "above": _deleted(view.deleted, strings),
        "below": _more(strings) if page.more else "" if page.listed else f'<p class="none">{escape(empty)}</p>',
    }


def _talk(listed: Listed, strings: Strings) -> list[str]:
    """Key, time in ISO format, and HTML."""
    title = escape(listed.title or strings["untitled"])
    url = None if listed.thumbnail is None else escape(served(listed.thumbnail))
    thumb = _sign(WORDS) if url is None else f'<img src="{url}" alt="" loading="lazy">'
    verbs = "".join(
        f'<button type="button" data-do="{verb}" title="{escape(strings[word])}" '
        f'aria-label="{escape(strings[word])}: {title}">{_sign(sign)}</button>'
        for verb, (word, sign) in VERBS.items()
    )
    face = f'<span class="thumb">{thumb}</span><span class="title">{title}</span>'
    return [
        listed.id,
        datetime.fromtimestamp(listed.updated, UTC).isoformat(timespec="minutes"),
        f'<button type="button" class="talk" data-do="open" title="{title}">{face}</button>{verbs}',
    ]


def _sign(path: str) -> str:
    return f'<svg viewBox="0 0 24 24" aria-hidden="true">{path}</svg>'


def _deleted(deleted: tuple[str, str] | None, strings: Strings) -> str:
    if deleted is None:
        return ""
    key, title = deleted
    said = escape(strings["talk deleted"].format(title or strings["untitled"]))
    undo = f'<button type="button" data-do="restore" data-key="{escape(key)}">{escape(strings["undo delete"])}</button>'
    return f'<p class="deleted" role="status"><span>{said}</span>{undo}</p>'


def _more(strings: Strings) -> str:
    return f'<button type="button" class="more" data-do="more">{escape(strings["more talks"])}</button>'
