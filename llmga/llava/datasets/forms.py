"""The forms in which others write records, known by their keys.  A new form is a row of `FORMS`.

Each row says what it maps: its reader gives a record the keys that kinds know (`conversations`, `caption`,
`instruction` and `new_caption`; the picture is `image`).  Rows without a reader are refused, with the way out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from llmga.llava.datasets import form_readers as read
from llmga.llava.datasets.base import Kind
from llmga.llava.datasets.parts import with_joined_parts
from llmga.llava.datasets.turns import TOOLS, plain_name, role_of, speaker_of
from llmga.registry import Registry

# Other names of a key, the first that says something counts.
IMAGE = ("images", "image_path", "image_paths", "image_file", "image_files", "img", "img_path", "jpg", "jpeg", "png",
         "webp", "input_image", "original_image", "source_img")  # fmt: skip
DIALOGUE = ("messages", "conversation", "dialogue")
CAPTION = ("text", "txt", "captions", "TEXT", "alt_text", "sentence")
SYSTEM = ("system", "system_prompt")
STRUCTURED = ("conversations", *DIALOGUE, "images", "image_paths", "history", "choices", "options", "texts", "answers")
LONGEST_LISTED, MOST_COMPARED = 8, 100  # keys of a record that a message names, and that are looked at for it


def _anything(record: dict[str, Any]) -> bool:
    return True


@dataclass(frozen=True)
class RecordForm:
    """A form of records.

    Attributes:
        said: what it is, in words that follow "is"; of a refused one with its article.
        tools: who writes it.
        keys: that make it known, all of them.
        makes: the field of a kind that it gives.
        read: a record -> the same with that field; None refuses.
        fits: what else must hold for a record with these keys.
        way_out: what to do with a form that is refused.
    """

    said: str
    tools: str
    keys: tuple[str, ...]
    read: read.Read | None
    fits: Callable[[dict[str, Any]], bool] = _anything
    makes: str = "conversations"
    way_out: str = ""

    def is_of(self, record: dict[str, Any]) -> bool:
        """Whether a record has this form."""
        return all(record.get(key) not in (None, "", []) for key in self.keys) and self.fits(record)


def _is_dialogue(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) and speaker_of(one) for one in value)


def _has_texts(key: str) -> Callable[[dict[str, Any]], bool]:
    return lambda record: isinstance(record[key], list) and all(isinstance(one, str) for one in record[key])


def _asks_for_letters(record: dict[str, Any]) -> bool:
    return len(read.offered(record)) > 1


def _has_tools(record: dict[str, Any]) -> bool:
    said = next((record[key] for key in ("conversations", *DIALOGUE) if record.get(key)), None)
    turns = [one for one in said if isinstance(one, dict)] if isinstance(said, list) else []
    return any(plain_name(speaker_of(one)) in TOOLS or one.get("tool_calls") for one in turns)


def _has_gaps(record: dict[str, Any]) -> bool:
    return isinstance(record["texts"], list) and not read.has_pairs(record["texts"])


def _is_plain(record: dict[str, Any]) -> bool:
    pictures_or_turns = ("image", *IMAGE, "conversations", *DIALOGUE)
    return not any(record.get(key) for key in pictures_or_turns) and not any(
        form.is_of(record) for form in FORMS.values()
    )


_PREFER = (
    "give --map question=prompt,answer=chosen to learn the better answer, or --map messages=chosen where it is turns"
)

REFUSED: Registry[RecordForm] = Registry("refused form of records", {
    "preference": RecordForm("a pair of preference (chosen, rejected), as DPO compares them", "TRL, LLaMA-Factory",
        ("chosen", "rejected"), None, way_out=_PREFER),
    "preference-swift": RecordForm("a pair of preference (rejected_response), as DPO compares them", "ms-swift",
        ("rejected_response",), None, way_out="write it anew without rejected_response to learn the better answer"),
    "kto": RecordForm("a judged answer (completion and a label of true or false), as KTO takes them", "TRL",
        ("completion", "label"), None, lambda record: isinstance(record["label"], bool),
        way_out="keep the records whose label is true, without the label"),
    "kto-tag": RecordForm("a judged answer (kto_tag), as KTO takes them", "LLaMA-Factory", ("kto_tag",), None,
        way_out="keep the records whose kto_tag is true, without the tag"),
    "tools": RecordForm("a dialogue with tools, whose turns call a function or observe its result",
        "ShareGPT, LLaMA-Factory", (), None, _has_tools, way_out="leave such dialogues out"),
    "interleaved": RecordForm("a document of texts and pictures in turn, without a question", "OBELICS, MMC4",
        ("texts", "image"), None, _has_gaps, way_out="stage 1 learns answers; write questions and answers"),
    "grounding": RecordForm("a record of boxes (objects) for marks in its words", "ms-swift", ("objects",), None,
        lambda record: isinstance(record["objects"], dict) and "bbox" in record["objects"],
        way_out="write the numbers of the boxes into the texts"),
    "coco-annotations": RecordForm("a whole file of COCO's annotations, no record", "COCO", ("image", "annotations"),
        None, way_out='write a record {"image": …, "caption": …} for each annotation'),
    "plain-text": RecordForm("a text without a question", "pretraining corpora", ("text",), None, _is_plain,
        way_out="stage 1 learns answers; write questions and answers"),
})  # fmt: skip

FORMS: Registry[RecordForm] = Registry("form of records", {
    "llava": RecordForm("turns with `from` and `value`", "LLaVA, LLaVA-OneVision, ShareGPT4V, InternVL, xtuner",
        ("conversations",), lambda record: record, lambda record: _is_dialogue(record["conversations"])),
    **{name: RecordForm(said, tools, (key,), read.renamed(key, "conversations"), lambda record, key=key: (
            _is_dialogue(record[key]))) for name, key, said, tools in (
        ("messages", "messages", "turns with `role` and `content`", "LLaMA-Factory, ms-swift, TRL, OpenAI"),
        ("conversation", "conversation", "turns under another name", "LMSYS-Chat, WildChat"),
        ("dialogue", "dialogue", "turns under another name", "dialogue corpora"))},
    "texts": RecordForm("pairs of `user` and `assistant`", "The Cauldron, FineVision", ("texts",), read.pairs("texts"),
        lambda record: read.has_pairs(record["texts"])),
    "pairs": RecordForm("pairs of `human` and `assistant`", "Firefly", ("conversation",), read.pairs("conversation"),
        lambda record: read.has_pairs(record["conversation"])),
    "qa-pairs": RecordForm("pairs of `question` and `answer`", "corpora of VQA", ("qa_pairs",), read.pairs("qa_pairs"),
        lambda record: read.has_pairs(record["qa_pairs"])),
    "alternating": RecordForm("texts in turn, the first a question", "UltraChat", ("data",), read.alternating("data"),
        _has_texts("data")),
    "query-response": RecordForm("a query, its response, maybe a history", "ms-swift", ("query", "response"),
        read.pair("query", "response")),
    "alpaca": RecordForm("an instruction, maybe an input, an output, maybe a history", "Alpaca, LLaMA-Factory",
        ("instruction", "output"), read.pair("instruction", "output", "input")),
    "prompt-completion": RecordForm("a prompt and its completion, texts or turns", "TRL, OpenAI",
        ("prompt", "completion"), read.pair("prompt", "completion")),
    "prompt-response": RecordForm("a prompt and its response", "instruction corpora", ("prompt", "response"),
        read.pair("prompt", "response")),
    "instruction-response": RecordForm("an instruction, maybe a context, a response", "Dolly",
        ("instruction", "response"), read.pair("instruction", "response", "context")),
    "choices": RecordForm("a question with choices, answered by a letter, a number or the words", "ScienceQA, MMMU, "
        "MMBench", ("question", "answer"), read.chosen, _asks_for_letters),
    "question-answer": RecordForm("a question and its answer", "corpora of VQA", ("question", "answer"),
        read.pair("question", "answer")),
    "question-answers": RecordForm("a question and several answers, of which the most frequent counts",
        "VQAv2, TextVQA, DocVQA", ("question", "answers"), read.pair("question", "answers")),
    "question-response": RecordForm("a question and its response", "OpenOrca", ("question", "response"),
        read.pair("question", "response")),
    "problem-solution": RecordForm("a problem and its solution", "reasoning corpora", ("problem", "solution"),
        read.pair("problem", "solution")),
    "inputs-targets": RecordForm("inputs and targets", "FLAN", ("inputs", "targets"), read.pair("inputs", "targets")),
    "text-input-output": RecordForm("a text_input and a text_output", "LAVIS", ("text_input", "text_output"),
        read.pair("text_input", "text_output")),
    "input-output": RecordForm("an input and an output", "instruction corpora", ("input", "output"),
        read.pair("input", "output")),
    "caption": RecordForm("a picture and its caption", "img2dataset, COCO, projector pretraining", ("image", "caption"),
        read.captioned),
    "edit-prompt": RecordForm("a picture, what is to change, and the words of the result", "InstructPix2Pix",
        ("edit_prompt", "edited_prompt"), lambda record: {**read.without(record, "edit_prompt", "edited_prompt"),
            "instruction": record["edit_prompt"], "new_caption": record["edited_prompt"]}, makes="new_caption"),
})  # fmt: skip


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
        beside = read.decoded(record.get("json"))
        inner = beside if isinstance(beside, dict) else {"conversations": beside} if isinstance(beside, list) else {}
        # The picture is the one in the archive, whatever name it had before.
        outer = {key: value for key, value in record.items() if key != "json" and (key not in inner or key in IMAGE)}
        record = {**read.without(inner, "image", *IMAGE), **outer}
    texts = {key: record[key] for key in STRUCTURED if isinstance(record.get(key), str)}
    return {**record, **{key: read.decoded(said) for key, said in texts.items()}} if texts else record


def _with_picture(record: dict[str, Any]) -> dict[str, Any]:
    """Its picture under `image`; a list of one is that one, where only one is wanted."""
    other = next((name for name in IMAGE if record.get(name)), None)
    if record.get("image") or other is None:
        return record
    named = record[other]
    return {**read.without(record, other), "image": named[0] if isinstance(named, list) and len(named) == 1 else named}


def _with_caption(record: dict[str, Any], *, plain: bool) -> dict[str, Any]:
    """Its caption under `caption`, of several the first; in a dialogue's record only where nothing else is said."""
    other = next((name for name in CAPTION if record.get(name)), None)
    if record.get("caption") or other is None or (plain and not record.get("image")):
        return record
    said = record[other]
    said = said[0] if isinstance(said, list) and said and all(isinstance(one, str) for one in said) else said
    return {**read.without(record, other), "caption": said}


def _finished(record: dict[str, Any]) -> dict[str, Any]:
    """With the system text among the turns, and each turn a text with our markers."""
    said = record.get("conversations")
    if not isinstance(said, list):
        return record
    system = next((record[key] for key in SYSTEM if record.get(key)), None)
    if system and not any(isinstance(one, dict) and role_of(one) == "system" for one in said):
        record = {**record, "conversations": [{"from": "system", "value": system}, *said]}
    record = with_joined_parts(record)
    return read.with_our_markers(record if record.get("image") else read.with_inline_pictures(record))


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
    lacking = [key for key in form.keys if not record.get(key)]
    odd = f"lacks {' and '.join(map(repr, lacking))}" if lacking else f"has other values in {', '.join(form.keys)}"
    return (
        f"; with its keys {listed} it is nearest to the form {name!r} ({form.said}), but {odd} "
        "(--map gives keys other names)"
    )


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
