"""Real vocabularies: the recorded ids and labels of every published folder below a root, and what sentencepiece says.

Any other root of the same layout (LLMGA_TOKENIZERS) runs through the same tests.
"""

import gzip
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

import pytest
from transformers import LlamaTokenizer

from llmga.errors import UserError
from llmga.llava import sentencepieces
from llmga.llava.conversation import IMAGE_MARKER, Conversation, Message
from llmga.llava.empty import load_empty_mllm
from llmga.llava.hf_layout.processing import hf_tokenizer
from llmga.llava.mllm import Mllm
from llmga.llava.templates import TEMPLATES, ChatTemplate, Rendered
from llmga.llava.tokenization import IGNORED, Encoded, encode, joins_after_markers, tokenise
from llmga.llava.vocabulary import load_tokenizer, save_tokenizer
from tests.talks import lesson

ROOT = Path(os.environ.get("LLMGA_TOKENIZERS", Path(__file__).parents[1] / "fixtures/tokenizers"))
FOLDERS = sorted(
    folder
    for golden in ROOT.rglob("golden.json.gz")
    for folder in (golden.parent, *golden.parent.iterdir())
    if (folder / "tokenizer_config.json").is_file()
)
TOWER = "openai/clip-vit-base-patch32"  # one whose shape is known: pictures say nothing about words
PICTURE = -200  # how the recorded ids mark a picture
TRAINED_AS = {"llava_v1": "v1"}  # published Vicunas are served with another system text than they were trained with


@dataclass(frozen=True)
class Published:
    """A published folder as it is opened, and what was recorded of it."""

    folder: Path
    golden: dict
    mllm: Mllm


@pytest.fixture(scope="module", autouse=True)
def copies():
    """Every folder is opened as a copy, which the missing file can be put into."""
    yield
    opened.cache_clear()
    shutil.rmtree(copies_folder())
    copies_folder.cache_clear()


@cache
def copies_folder() -> Path:
    return Path(mkdtemp(prefix="llmga-tokenizers-"))


@cache
def opened(source: Path) -> Published:
    folder = copies_folder() / str(FOLDERS.index(source)) / source.name
    shutil.copytree(source, folder)
    if not (folder / "tokenizer.model").is_file():
        shutil.copy(packaged_model(), folder / "tokenizer.model")
    recorded = next(
        place / "golden.json.gz" for place in (source, source.parent) if (place / "golden.json.gz").is_file()
    )
    golden = json.loads(gzip.decompress(recorded.read_bytes()))
    config = json.loads((folder / "config.json").read_text()) | {"mm_vision_tower": TOWER}
    (folder / "config.json").write_text(json.dumps(config))
    return Published(folder, golden, load_empty_mllm(folder, conv_mode=golden["conv_mode"]))


def packaged_model() -> Path:
    """Mistral's first vocabulary, which the package mistral-common holds; the set says which file it means."""
    package = find_spec("mistral_common")
    assert package, "the package mistral-common is missing; install the extra dev"
    model = Path(package.submodule_search_locations[0]) / "data/tokenizer.model.v1"
    wanted = (ROOT / "sha256.txt").read_text().split()
    assert hashlib.sha256(model.read_bytes()).hexdigest() in wanted
    return model


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def published(request) -> Published:
    return opened(request.param)


def asked(prompt: dict, template: ChatTemplate) -> Conversation:
    """Of a system text that the format has no place for the original said nothing."""
    messages = (
        Message(role, text, (None,) * (index in prompt["images"]))
        for index, (role, text) in enumerate(prompt["messages"])
    )
    return Conversation(tuple(messages), prompt["system"] if template.places_system else None)


def open_turn(mllm: Mllm, prompt: dict) -> Rendered:
    return mllm.template.render(mllm.marked(asked(prompt, mllm.template)), open_turn=True)


def short(mllm: Mllm, rendered: Rendered, slow: bool = True) -> Encoded:
    """With one id per picture, as the ids are recorded."""
    return encode(rendered, mllm.tokenizer, PICTURE, 1, slow)


def wrong_prompts(published: Published, slow: bool) -> list[int]:
    mllm = published.mllm
    return [
        prompt["id"]
        for prompt in published.golden["prompts"]
        if short(mllm, open_turn(mllm, prompt), slow).input_ids != prompt["ids"]
    ]


def lessons(published: Published, style: str) -> list[tuple[dict, Rendered, Encoded]]:
    rendered = [TEMPLATES[style].render(lesson(sample["conversations"])) for sample in published.golden["training"]]
    return [
        (sample, text, short(published.mllm, text))
        for sample, text in zip(published.golden["training"], rendered, strict=True)
    ]


def same_ids(sample: dict, encoded: Encoded, longest: int) -> bool:
    """The original cut a sample without a picture at the longest sequence."""
    found, expected = encoded.input_ids, sample["ids"]
    return found == expected or (len(expected) == longest and found[:longest] == expected)


def told_lessons(published: Published) -> list[tuple[dict, Rendered, Encoded]]:
    """In the style in which the set was recorded."""
    mode, longest = published.golden["conv_mode"], published.mllm.tokenizer.model_max_length
    styles = dict.fromkeys((mode, TRAINED_AS.get(mode, mode)))
    candidates = [lessons(published, style) for style in styles]
    return max(candidates, key=lambda told: sum(same_ids(sample, encoded, longest) for sample, _, encoded in told))


def test_a_system_text_is_never_lost_silently():
    """The sets hold some for every format; where there is no place for them, they are refused and left out here."""
    placeless = {mode: template for mode, template in TEMPLATES.items() if not template.places_system}
    assert placeless
    for template in placeless.values():
        prompt = {"messages": [["user", "Hello."]], "images": [], "system": "You are a painter."}
        assert "Hello." in template.render(asked(prompt, template), True).text
        with pytest.raises(UserError, match="no place for a system text"):
            template.render(Conversation(asked(prompt, template).messages, prompt["system"]), True)


SENTENCES = (
    "One.  Two.   Three.    Four.",
    " leading, and  \n  trailing ",
    "```python\ndef f(x):\n        return x  # eight\n```",
    "| a   | b |\n|-----|---|\n| 1   | 2 |\n",
    "\u7ea2\u697c\u68a6  \u2014  \U0001f9d1\u200d\U0001f3a8 na\u00efve \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u3000",
    "\t\ttabs\r\n \r\n\n\n" + " " * 40 + "end",
)


def test_there_is_a_real_vocabulary():
    assert FOLDERS


def test_every_prompt_gets_the_recorded_ids(published):
    mllm = published.mllm
    # Phi-3 was trained with the slow tokenizer and is served with the fast one; either may have been recorded.
    ways = {mllm.slow(open_turn=True), True}
    assert published.golden["prompts"]
    assert min((wrong_prompts(published, slow) for slow in ways), key=len) == []


def test_every_lesson_gets_the_recorded_ids_and_labels(published):
    longest, told = published.mllm.tokenizer.model_max_length, told_lessons(published)
    assert told
    assert [sample["id"] for sample, _, encoded in told if not same_ids(sample, encoded, longest)] == []
    wrong = [
        sample["id"]
        for sample, _, encoded in told
        if sample["labels"] is not None and encoded.labels[: len(sample["labels"])] != sample["labels"]
    ]
    assert wrong == []


def test_where_the_original_learnt_nothing_the_replies_are_learnt(published):
    """Every character of a reply and its end, and none of another's, belongs to a supervised token."""
    tokenizer = published.mllm.tokenizer
    for sample, rendered, encoded in told_lessons(published):
        if sample["labels"] is None:
            runs = supervised_runs(encoded)
            replies = [rendered.text[start:end] for start, end in rendered.assistant_spans]
            assert len(runs) == len(replies)
            for run, reply in zip(runs, replies, strict=True):
                assert run[-1] == tokenise(reply, tokenizer)[1][-1][0]
                if tokenizer.unk_token_id not in run:
                    assert dense(tokenizer.decode(run, skip_special_tokens=False)) == dense(reply)


def supervised_runs(encoded: Encoded) -> list[list[int]]:
    runs: list[list[int]] = [[]]
    for label in encoded.labels:
        if label != IGNORED:
            runs[-1].append(label)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def dense(text: str) -> str:
    """A written word boundary is read as a space."""
    return "".join(text.replace(sentencepieces.WORD_BOUNDARY, " ").split())


def test_sentencepiece_itself_says_the_same(published):
    model, tokenizer = sentencepieces.open_model(published.folder / "tokenizer.model"), published.mllm.tokenizer
    assert model.get_piece_size() <= len(tokenizer)
    for text in (*SENTENCES, *sentencepieces.PROBES):
        assert [token for token, _ in tokenise(text, tokenizer)[1]] == model.encode(text), text


def test_a_saved_tokenizer_reads_the_same(published, tmp_path):
    save_tokenizer(published.mllm.tokenizer, tmp_path)
    again = load_tokenizer(tmp_path)
    for prompt in published.golden["prompts"][::3]:
        rendered = open_turn(published.mllm, prompt)
        assert encode(rendered, again, PICTURE, 1) == short(published.mllm, rendered)


def test_other_engines_read_the_same(published):
    mllm = published.mllm
    if joins_after_markers(mllm.tokenizer):
        with pytest.raises(UserError, match="cannot tell how the tokenizer of 2023 reads"):
            hf_tokenizer(mllm)
        return
    tokenizer = hf_tokenizer(mllm)
    picture = tokenizer.convert_tokens_to_ids(IMAGE_MARKER)
    for prompt in published.golden["prompts"][::3]:
        rendered = open_turn(mllm, prompt)
        ours = short(mllm, rendered, mllm.slow(open_turn=True)).input_ids
        assert tokenizer(rendered.text)["input_ids"] == [picture if token == PICTURE else token for token in ours]


def test_a_folder_that_the_library_made_of_it_is_refused(published, tmp_path):
    """Its merges are in the order of the ids; so was every folder that we converted or trained once."""
    LlamaTokenizer.from_pretrained(published.folder).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="joins runs of spaces before words"):
        load_tokenizer(tmp_path)
    shutil.copy(published.folder / "tokenizer.model", tmp_path)
    with pytest.raises(UserError, match="Remove tokenizer.json, so that tokenizer.model is read"):
        load_tokenizer(tmp_path)
