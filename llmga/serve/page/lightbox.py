"""The light box: one picture over everything else.  What it does in the browser is `lightbox.js`."""

from html import escape

from llmga.serve.page.icons import icon
from llmga.serve.page.pictures import VERBS
from llmga.serve.page.strings import Strings

VIEWS = ("compare", "versions")
ZOOMS = ("zoom out", "fit", "zoom in")


def lightbox(strings: Strings) -> str:
    """The empty light box as HTML; `lightbox.js` finds its parts by their names."""
    say = {key: escape(text) for key, text in strings.items()}
    views = "".join(_button(name, say, ' aria-pressed="false"') for name in VIEWS)
    zooms = "".join(_button(name, say) for name in ZOOMS)
    verbs = "".join(_button(name, say, does="verb") for name in VERBS)
    download = (
        f'<a class="verb" data-part="download" data-tip="{say["download"]}" aria-label="{say["download"]}">'
        f"{icon('download')}</a>"
    )
    return f"""<dialog class="lightbox" tabindex="-1" aria-label="{say["picture"]}" data-copied="{say["copied"]}"
data-before="{say["before"]}" data-after="{say["after"]}">
<div class="bar"><span data-part="place"></span><span class="group">{views}</span><span class="group">{zooms}</span>
<output data-part="zoom"></output><span class="space"></span>{_button("go to", say)}{_button("close", say)}</div>
<div class="middle">{_button("previous", say)}
<div class="stage" data-part="stage"></div>
{_button("next", say)}
<section class="told" tabindex="0" aria-label="{say["record"]}">
<div class="actions" role="group" aria-label="{say["picture"]}">{verbs}{download}</div>
<div data-part="words"><h2>{say["prompt"]}</h2><p data-part="prompt"></p>
<button type="button" class="text" data-do="copy">{icon("copy")}<span>{say["copy"]}</span></button></div>
<div data-part="record"><h2>{say["record"]}</h2><dl data-part="made"></dl></div></section></div>
<div class="strip" data-part="strip" role="group" aria-label="{say["pictures"]}"></div>
<template data-part="slider"><div class="compare"><img class="after" alt=""><img class="before" alt="">
<span class="side"></span><span class="side"></span><span class="line"></span>
<input type="range" min="0" max="100" value="50"></div></template></dialog>"""


def _button(name: str, say: Strings, more: str = "", does: str = "do") -> str:
    named = f'data-tip="{say[name]}" aria-label="{say[name]}"'
    return f'<button type="button" class="verb" data-{does}="{name}" {named}{more}>{icon(name)}</button>'
