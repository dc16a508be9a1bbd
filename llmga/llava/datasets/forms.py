"""The forms in which others write records, known by their keys.  A new form is a row of `FORMS`.

Each row says what it maps: its reader gives a record the keys that kinds know (`conversations`, `caption`,
`instruction` and `new_caption`; the picture is `image`).  Rows without a reader are refused, with the way out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmga.llava.datasets import form_readers as read
from llmga.llava.datasets.turns import TOOLS, plain_name, speaker_of
from llmga.registry import Registry

# Other names of a key, the first that says something counts.
IMAGE = ("images", "image_path", "image_paths", "image_file", "image_files", "img", "img_path", "jpg", "jpeg", "png",
         "webp", "input_image", "original_image", "source_img")  # fmt: skip
DIALOGUE = ("messages", "conversation", "dialogue")


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


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _in(key: str, holds: Callable[[Any], bool]) -> Callable[[dict[str, Any]], bool]:
    """Whether it holds for the value of a key."""
    return lambda record: holds(record[key])


def _asks_for_letters(record: dict[str, Any]) -> bool:
    return len(read.offered(record)) > 1


def _turns(record: dict[str, Any]) -> list[dict[str, Any]]:
    said = next((record[key] for key in ("conversations", *DIALOGUE) if record.get(key)), None)
    return [one for one in said if isinstance(one, dict)] if isinstance(said, list) else []


def _has_tools(record: dict[str, Any]) -> bool:
    return any(plain_name(speaker_of(one)) in TOOLS or one.get("tool_calls") for one in _turns(record))


def _has_masks(record: dict[str, Any]) -> bool:
    return any(one.get("weight") == 0 or one.get("loss") is False for one in _turns(record) if "content" in one)


def _is_judged(record: dict[str, Any]) -> bool:
    return isinstance(record["label"], bool) and bool(record.get("completion") or record.get("messages"))


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
    "preference-messages": RecordForm("a pair of preference (rejected_messages), as DPO compares them", "ms-swift",
        ("rejected_messages",), None, way_out="write it anew without rejected_messages to learn the better answer"),
    "kto": RecordForm("a judged answer (a label of true or false), as KTO takes them", "TRL, ms-swift", ("label",),
        None, _is_judged, way_out="keep the records whose label is true, without the label"),
    "kto-tag": RecordForm("a judged answer (kto_tag), as KTO takes them", "LLaMA-Factory", ("kto_tag",), None,
        way_out="keep the records whose kto_tag is true, without the tag"),
    "tools": RecordForm("a dialogue with tools, whose turns call a function or observe its result",
        "ShareGPT, LLaMA-Factory", (), None, _has_tools, way_out="leave such dialogues out"),
    "masked": RecordForm("a dialogue of which some answers are not to be learnt (weight, loss)", "OpenAI, ms-swift", (),
        None, _has_masks, way_out="end it at the last answer to learn, or leave such dialogues out"),
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
        ("conversations",), lambda record: record, _in("conversations", _is_dialogue)),
    "messages": RecordForm("turns with `role` and `content`", "LLaMA-Factory, ms-swift, TRL, OpenAI", ("messages",),
        read.renamed("messages", "conversations"), _in("messages", _is_dialogue)),
    "conversation": RecordForm("turns under another name", "LMSYS-Chat, WildChat", ("conversation",),
        read.renamed("conversation", "conversations"), _in("conversation", _is_dialogue)),
    "dialogue": RecordForm("turns under another name", "dialogue corpora", ("dialogue",),
        read.renamed("dialogue", "conversations"), _in("dialogue", _is_dialogue)),
    "texts": RecordForm("pairs of `user` and `assistant`", "The Cauldron, FineVision", ("texts",), read.pairs("texts"),
        _in("texts", read.has_pairs)),
    "pairs": RecordForm("pairs of `human` and `assistant`", "Firefly", ("conversation",), read.pairs("conversation"),
        _in("conversation", read.has_pairs)),
    "qa-pairs": RecordForm("pairs of `question` and `answer`", "corpora of VQA", ("qa_pairs",), read.pairs("qa_pairs"),
        _in("qa_pairs", read.has_pairs)),
    "alternating": RecordForm("texts in turn, the first a question", "UltraChat", ("data",), read.alternating("data"),
        _in("data", _are_texts)),
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
