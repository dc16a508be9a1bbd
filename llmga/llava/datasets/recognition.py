"""A record of any form under the keys that kinds know, or why it cannot be."""

from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from llmga.llava.datasets.base import Kind
from llmga.llava.datasets.form_readers import decoded, without
from llmga.llava.datasets.forms import DIALOGUE, FORMS, IMAGE, REFUSED, RecordForm
from llmga.llava.datasets.marks import with_inline_pictures, with_our_markers
from llmga.llava.datasets.parts import with_joined_parts
from llmga.llava.datasets.turns import role_of

CAPTION = ("text", "txt", "captions", "TEXT", "alt_text", "sentence")
SYSTEM = ("system", "system_prompt")
STRUCTURED = ("conversations", *DIALOGUE, "images", "image_paths", "history", "choices", "options", "texts", "answers")
LONGEST_LISTED, MOST_COMPARED = 8, 100  # keys of a record that a message names, and that are looked at for it


def ours(record: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """The record under the keys that a kind knows; the very record when nothing is to be done."""
    record = _with_picture(_opened(record))
    wanted = next((name for name in ("conversations", "new_caption") if name in kind.fields), "")
    if "caption" in kind.fields or wanted == "conversations":
        record = _with_caption(record, plain=wanted == "conversations")
    if not wanted or any(form.is_of(record) for form in REFUSED.values()):
        return record
    if form := next((form for form in FORMS.values() if form.makes == wanted and form.is_of(record)), None):
        assert form.read is not None
        record = form.read(record)
    return _finished(record) if wanted == "conversations" else record


def _opened(record: dict[str, Any]) -> dict[str, Any]:
    """With the JSON that stands in a text of it: of a table's cell, and of a webdataset's `json` and `txt`."""
    if "__key__" in record:
        beside = decoded(record.get("json"))
        inner = beside if isinstance(beside, dict) else {"conversations": beside} if isinstance(beside, list) else {}
        # The picture is the one in the archive, whatever name it had before.
        outer = {key: value for key, value in record.items() if key != "json" and (key not in inner or key in IMAGE)}
        record = {**without(inner, "image", *IMAGE), **outer}
    texts = {key: record[key] for key in STRUCTURED if isinstance(record.get(key), str)}
    return {**record, **{key: decoded(said) for key, said in texts.items()}} if texts else record


def _with_picture(record: dict[str, Any]) -> dict[str, Any]:
    """Its picture under `image`; a list of one is that one, where only one is wanted."""
    other = next((name for name in IMAGE if record.get(name)), None)
    if record.get("image") or other is None:
        return record
    named = record[other]
    return {**without(record, other), "image": named[0] if isinstance(named, list) and len(named) == 1 else named}


def _with_caption(record: dict[str, Any], *, plain: bool) -> dict[str, Any]:
    """Its caption under `caption`, of several the first; in a dialogue's record only where nothing else is said."""
    other = next((name for name in CAPTION if record.get(name)), None)
    if record.get("caption") or other is None or (plain and not record.get("image")):
        return record
    said = record[other]
    said = said[0] if isinstance(said, list) and said and all(isinstance(one, str) for one in said) else said
    return {**without(record, other), "caption": said}


def _finished(record: dict[str, Any]) -> dict[str, Any]:
    """With the system text among the turns, and each turn a text with our markers."""
    said = record.get("conversations")
    if not isinstance(said, list):
        return record
    system = next((record[key] for key in SYSTEM if record.get(key)), None)
    if system and not any(isinstance(one, dict) and role_of(one) == "system" for one in said):
        record = {**record, "conversations": [{"from": "system", "value": system}, *said]}
    record = with_joined_parts(record)
    return with_our_markers(record if record.get("image") else with_inline_pictures(record))


def fault(kind: Kind, record: Any) -> str:
    """Why an adapted record cannot be one of this kind, in words that follow "record 7 of 'a.json'"; "" when it can.

    What has a form that is refused is called by it, and what has none by the nearest one.
    """
    if isinstance(record, dict) and "conversations" in kind.fields:
        refused = next((form for form in REFUSED.values() if form.is_of(record)), None)
        if refused:
            return f"is {refused.said}, which cannot be learnt from; {refused.way_out}"
    told = kind.fault(record)
    lacking = isinstance(record, dict) and next((name for name in kind.fields if name not in record), None)
    return told + _nearest(kind, record) if told and lacking else told


def _made(kind: Kind) -> str:
    return next((name for name in ("conversations", "new_caption", "caption") if name in kind.fields), "")


def _nearest(kind: Kind, record: dict[str, Any]) -> str:
    """The form that a record is closest to, and what is missing."""
    keys = [key for key in record if isinstance(key, str)]
    listed = ", ".join(keys[:LONGEST_LISTED]) + (", …" if len(keys) > LONGEST_LISTED else "")
    name = _nearest_form(tuple(keys[:MOST_COMPARED]), _made(kind))
    if name is None:
        return f", but it has {listed or 'nothing'}; --map gives keys other names, as in --map question=query"
    form = FORMS[name]
    return f"; with its keys {listed} it is nearest to the form {name!r} ({form.said}), but {_odd(form, record)}"


def _odd(form: RecordForm, record: dict[str, Any]) -> str:
    """What keeps a record from having a form, and the remedy."""
    if lacking := [key for key in form.keys if record.get(key) is None]:
        return f"lacks {' and '.join(map(repr, lacking))} (--map gives keys other names)"
    if empty := [key for key in form.keys if record[key] in ("", [])]:
        return f"nothing stands in {' and '.join(map(repr, empty))}; fill it, or leave such records out"
    return f"has other values in {', '.join(form.keys)} (--map gives keys other names)"


@lru_cache(1024)  # a file's records have the same keys
def _nearest_form(keys: tuple[str, ...], made: str) -> str | None:
    wanted = {form.keys: name for name, form in FORMS.items() if form.makes == made}
    rows = [(_likeness(form_keys, keys), name) for form_keys, name in wanted.items()]
    likeness, name = max(rows, key=lambda row: row[0], default=(0.0, ""))
    return name if likeness else None


def _likeness(wanted: tuple[str, ...], keys: tuple[str, ...]) -> float:
    """How many of the wanted keys are there, those of nearly the name for half."""
    there = [1.0 if key in keys else 0.5 if get_close_matches(key, keys, 1, 0.75) else 0.0 for key in wanted]
    return sum(there) / len(there)
