"""Llama's slow tokenizers, told again in a few lines around sentencepiece: ours give the same ids.

The vocabularies are trained here, and have what the published ones have: bytes, and pieces of several spaces with low
ids and the worst of scores.
"""

import io
import json
import re
import shutil
from collections.abc import Callable
from functools import cache
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from sentencepiece.sentencepiece_model_pb2 import ModelProto
from tokenizers import Tokenizer
from transformers import CLIPImageProcessorPil, LlamaTokenizer, LlavaConfig, LlavaProcessor, PreTrainedTokenizerFast

from llmga.errors import UserError
from llmga.llava import sentencepieces
from llmga.llava.conversation import Conversation
from llmga.llava.processors import open_processor
from llmga.llava.sentencepieces import WORD_BOUNDARY
from llmga.llava.templates import TEMPLATES
from llmga.llava.tokenization import IGNORED, Encoded, encode, tokenise
from llmga.llava.vocabulary import add_special_tokens, load_tokenizer, save_tokenizer

TEXT = """
One fox sees two foxes. Here are three owls, and four red towers near the river; the light is soft!
def paint(picture): return picture if picture else None # indented code
A detailed, detailed painting of a fox in the snow, in the style of old masters: oil on canvas, warm light.
USER: Describe the image. ASSISTANT: The image shows a fox. You are a helpful assistant. Rules: be kind, be brief.
"""
RUNS = (2, 4, 8, 5, 3, 16)  # in the order of their ids
NORMAL, WORST = ModelProto.SentencePiece.Type.NORMAL, -1e9
TAGS, MARKERS = ("<gen_image>", "</gen_image>"), ("<|user|>", "<|end|>", "<|assistant|>")
NAMED = ("<unk>", "<s>", "</s>")
TOLD = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}

Slow = Callable[[str], list[int]]


@cache
def vocabulary() -> bytes:
    """A tokenizer.model of 600 pieces."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.strip().splitlines() * 3),
        model_writer=model,
        model_type="bpe",
        vocab_size=500,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    proto = ModelProto.FromString(model.getvalue())
    kept = list(proto.pieces)
    runs = [ModelProto.SentencePiece(piece=WORD_BOUNDARY * many, score=WORST, type=NORMAL) for many in RUNS]
    del proto.pieces[:]
    proto.pieces.extend([*kept[:259], *runs, *kept[259:]])
    return proto.SerializeToString()


def pieces() -> SentencePieceProcessor:
    return SentencePieceProcessor(model_proto=vocabulary())


def write(
    folder: Path, legacy: bool | None, added: tuple[str, ...] = (), model: bytes | None = None, **rules: bool
) -> Path:
    """A folder as 4.41 saves it; `rules` are those of the added tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(model or vocabulary())
    size = pieces().get_piece_size()
    known = dict(enumerate(NAMED)) | {size + index: token for index, token in enumerate(added)}
    decoder = {
        str(index): TOLD | {"content": token, "special": True} | (rules if index >= size else {})
        for index, token in known.items()
    }
    said = {"tokenizer_class": "LlamaTokenizer", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    said |= {"added_tokens_decoder": decoder, "add_bos_token": True, "add_eos_token": False}
    said |= {} if legacy is None else {"legacy": legacy}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return folder


def write_2023(folder: Path, legacy: bool) -> Path:
    """A folder as 4.31 saves it: nothing is told of the tags but their ids."""
    write(folder, legacy)
    said = json.loads((folder / "tokenizer_config.json").read_text())
    del said["added_tokens_decoder"]
    named = {
        f"{kind}_token": TOLD | {"content": token} for kind, token in zip(("unk", "bos", "eos"), NAMED, strict=True)
    }
    said |= {name: token | {"__type": "AddedToken"} for name, token in named.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    (folder / "special_tokens_map.json").write_text(json.dumps(named | {"pad_token": "<unk>"}))
    size = pieces().get_piece_size()
    (folder / "added_tokens.json").write_text(json.dumps({tag: size + index for index, tag in enumerate(TAGS)}))
    return folder


def parted(text: str, tokens: tuple[str, ...]) -> list[str]:
    return [part for part in re.split(f"({'|'.join(map(re.escape, tokens))})", text) if part]


def slow_of_4_41(legacy: bool, added: tuple[str, ...] = (), rstrip: bool = False) -> Slow:
    """LlamaTokenizer.tokenize and what it calls, as 4.41 has them; the added tokens have no name."""
    model = pieces()
    ids = {token: index for index, token in enumerate(NAMED)}
    ids |= {token: model.get_piece_size() + index for index, token in enumerate(added)}
    bare = ModelProto.FromString(vocabulary())
    bare.normalizer_spec.add_dummy_prefix = False
    bare = SentencePieceProcessor(model_proto=bare.SerializeToString())
    unknown = len(bare.encode("<unk>"))

    def piece(text: str) -> list[int]:
        if legacy:
            return model.encode(text)
        if text.startswith((WORD_BOUNDARY, " ")):
            return bare.encode("<unk>" + text)[unknown:]
        return bare.encode(text)

    def tokenize(text: str) -> list[int]:
        if not legacy and text:
            text = WORD_BOUNDARY + text.replace(WORD_BOUNDARY, " ")
        parts = parted(text, tuple(ids))
        for index, part in enumerate(parts[:-1]):
            if rstrip and part in added:
                parts[index + 1] = parts[index + 1].lstrip()
        found = [token for part in parts if part for token in ([ids[part]] if part in ids else piece(part))]
        boundary = model.piece_to_id(WORD_BOUNDARY)
        if not legacy and len(found) > 1 and found[0] == boundary and found[1] < len(NAMED):
            return found[1:]
        return found

    return tokenize


def slow_of_4_31(legacy: bool) -> Slow:
    model = pieces()
    ids = {token: index for index, token in enumerate(NAMED)}
    ids |= {token: model.get_piece_size() + index for index, token in enumerate(TAGS)}

    def piece(text: str) -> list[int]:
        first = not legacy and text.startswith(WORD_BOUNDARY)
        text = text[1:] if first else text
        found = model.encode(text, out_type=str)
        if not legacy and not first and not text.startswith(" ") and found[0].startswith(WORD_BOUNDARY):
            found = [cut for cut in (found[0][1:],) if cut] + found[1:]
        return [model.piece_to_id(token) for token in found]

    def tokenize(text: str) -> list[int]:
        if not legacy:
            text = WORD_BOUNDARY + text.replace(WORD_BOUNDARY, " ")
        parts = parted(text, tuple(ids))
        for index, part in enumerate(parts):
            if part in TAGS:
                parts[index - 1 : index] = [parts[index - 1].rstrip()] if index else []
                parts[index + 1 : index + 2] = [after.lstrip() for after in parts[index + 1 : index + 2]]
        return [token for part in parts if part for token in ([ids[part]] if part in ids else piece(part))]

    return tokenize


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("slow")


@cache
def opened(folder: Path) -> LlamaTokenizer:
    return load_tokenizer(folder)


WAYS = {
    "vicuna": (lambda folder: write(folder, False), slow_of_4_41(False)),
    "oldest": (lambda folder: write(folder, True), slow_of_4_41(True)),
    "unsaid": (lambda folder: write(folder, None), slow_of_4_41(True)),
    "phi-3": (lambda folder: write(folder, False, MARKERS, rstrip=True), slow_of_4_41(False, MARKERS, True)),
    "markers": (lambda folder: write(folder, False, MARKERS), slow_of_4_41(False, MARKERS)),
    "old markers": (lambda folder: write(folder, True, MARKERS, rstrip=True), slow_of_4_41(True, MARKERS, True)),
    "saved again": (lambda folder: write(folder, False, TAGS), slow_of_4_41(False, TAGS)),
    "2023": (lambda folder: write_2023(folder, False), slow_of_4_31(False)),
    "oldest of 2023": (lambda folder: write_2023(folder, True), slow_of_4_31(True)),
}
WORDS = [
    "fox",
    "the",
    "detailed",
    "  ",
    " ",
    "    ",
    "\n",
    "\t",
    ".",
    "A",
    "return",
    "\u732b",
    "\U0001f642",
    "x",
    WORD_BOUNDARY,
]
TEXTS = some.lists(some.sampled_from([*WORDS, *NAMED, *TAGS, *MARKERS, " "]), max_size=9).map("".join)


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS)
@example(text="")
@example(text="  x")
@example(text=f"<|user|>{WORD_BOUNDARY}x{WORD_BOUNDARY}<gen_image>")
@example(text=" USER: One.  Two ASSISTANT:")
@example(text="of <gen_image> detailed </gen_image> b")
@example(text="<gen_image> fox  </gen_image>  . </s> fox")
@example(text="<|user|>\n  fox<|end|> \n<|assistant|>\n")
def test_any_text_gets_the_ids_of_the_slow_tokenizer(way, text, root):
    make, slow = WAYS[way]
    folder = root / way
    tokenizer = opened(folder if folder.exists() else make(folder))
    begin, words = tokenise(text, tokenizer)
    if not text.startswith("<s>"):  # a written begin token is taken for the one that the tokenizer puts in front
        assert [token for token, _ in begin] == [1]
    assert [token for token, _ in begin + words] == [1, *slow(text)]


@pytest.mark.parametrize("way", WAYS)
def test_a_saved_tokenizer_is_the_same(way, root, tmp_path):
    make, slow = WAYS[way]
    tokenizer = load_tokenizer(make(root / "saved" / way))
    save_tokenizer(tokenizer, tmp_path / "once")
    again = load_tokenizer(tmp_path / "once")
    save_tokenizer(again, tmp_path / "twice")
    for text in ("One.  Two <gen_image> detailed fox </gen_image>  <|user|>\n x</s> y", "  x", "</s>", ""):
        assert [token for token, _ in tokenise(text, again)[1]] == slow(text)
    for file in (tmp_path / "once").iterdir():
        assert (tmp_path / "twice" / file.name).read_bytes() == file.read_bytes(), file.name
    assert (tmp_path / "once/tokenizer.model").read_bytes() == vocabulary()
    assert again.added_tokens_decoder == tokenizer.added_tokens_decoder


def test_tokens_that_are_added_later_follow_the_rules_of_their_time(root, tmp_path):
    """Named, so that nothing stands before one that opens a piece; in 2023 they swallow the spaces around them."""
    of_today, of_2023 = load_tokenizer(write(root / "t", False)), load_tokenizer(write_2023(root / "o", False))
    for tokenizer, spaces in ((of_today, True), (of_2023, False)):
        add_special_tokens(tokenizer, ["<im_start>", "<im_end>"])
        save_tokenizer(tokenizer, tmp_path / str(spaces))
        for one in (tokenizer, load_tokenizer(tmp_path / str(spaces))):
            start, end = one.convert_tokens_to_ids(["<im_start>", "<im_end>"])
            found = [token for token, _ in tokenise("<im_start> \n x", one)[1]]
            assert (found[0], len(found) > 2) == (start, spaces)
            assert [token for token, _ in tokenise("<im_end>", one)[1]] == [end]


@pytest.mark.parametrize("reply", [" Yes", "\nYes", "  \n Yes", "Yes  ", " "])
def test_white_space_that_a_header_swallows_does_not_make_it_the_reply(reply, root):
    folder = write(root / "header", False, MARKERS, rstrip=True)
    rendered = TEMPLATES["phi_3"].render(Conversation().say("user", "Hi").say("assistant", reply))
    labels = encode(rendered, load_tokenizer(folder), -200, 1).labels
    user, end, assistant = (pieces().get_piece_size() + index for index in range(len(MARKERS)))
    assert assistant not in labels and user not in labels
    assert labels.count(end) == 1
    assert [label for label in labels if label != IGNORED][-1] == end


def test_a_files_merges_are_in_the_order_of_the_scores(root):
    tokenizer = load_tokenizer(write(root / "merges", False))
    for text in sentencepieces.PROBES:
        assert [token for token, _ in tokenise(text, tokenizer)[1]] == pieces().encode(text)
    wrong = LlamaTokenizer.from_pretrained(root / "merges")
    assert wrong.tokenize("One.  Two") != pieces().encode("One.  Two", out_type=str)


@pytest.fixture
def made_before(root, tmp_path) -> Path:
    """What a conversion or a training wrote of a published folder while merges followed the ids."""
    LlamaTokenizer.from_pretrained(write(root / "before", False)).save_pretrained(tmp_path / "made")
    config = tmp_path / "made/tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"legacy": False}))
    return tmp_path / "made"


def test_a_folder_with_wrong_merges_is_refused_and_the_remedy_helps(made_before):
    with pytest.raises(UserError, match="joins runs of spaces before words.*Put the tokenizer.model of the model"):
        load_tokenizer(made_before)
    (made_before / "tokenizer.model").write_bytes(vocabulary())
    with pytest.raises(UserError, match="makes other ids of 'One.  Two.* Remove tokenizer.json"):
        load_tokenizer(made_before)
    (made_before / "tokenizer.json").unlink()
    assert load_tokenizer(made_before)("One.  Two")["input_ids"][1:] == pieces().encode("One.  Two")


def test_the_same_merges_under_another_class_are_refused(made_before):
    """As in a folder for other engines, whose tokenizer has no class of its own."""
    backend = PreTrainedTokenizerFast(tokenizer_file=str(made_before / "tokenizer.json"))
    shutil.rmtree(made_before)
    backend.save_pretrained(made_before)
    with pytest.raises(UserError, match="joins runs of spaces before words"):
        load_tokenizer(made_before)


def test_rules_that_cannot_be_followed_are_told(root):
    proto = ModelProto.FromString(vocabulary())
    proto.normalizer_spec.remove_extra_whitespaces = True
    folder = write(root / "trims", True, model=proto.SerializeToString())
    with pytest.raises(
        UserError, match="has rules that cannot be followed here: of '.*' sentencepiece makes other ids"
    ):
        load_tokenizer(folder)
    (folder / "tokenizer.model").write_bytes(b"no pieces" * 9)
    with pytest.raises(UserError, match="no model of sentencepiece|cannot be read"):
        load_tokenizer(folder)


TALKS = {
    "spaces": ("<image>  One.  Two\n    return", "Sure:  \n\n  - a fox\n    - the  river"),
    "pictures": ("Here  <image>  and  <image>\n", "<gen_image> detailed  fox </gen_image>  Done."),
    "ends": ("Is </s> an end,  and <s> one?", "A </s>  fox"),
    "tags": ("Say <gen_image> x </gen_image>  again", "  <gen_image>  A fox </gen_image>\n"),
}


@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("mode", ["llava_v1", "mistral_instruct", "llava_llama_2", "phi_3"])
@pytest.mark.parametrize("way", WAYS)
def test_a_conversation_gets_the_ids_of_its_pieces_and_the_replies_are_learnt(way, mode, talk, root):
    make, slow = WAYS[way]
    folder = root / way
    tokenizer = opened(folder if folder.exists() else make(folder))
    asked, said = TALKS[talk]
    told = Conversation().say("user", asked).say("assistant", said).say("user", "And  now?").say("assistant", "No.")
    rendered = TEMPLATES[mode].render(told)
    encoded = encode(rendered, tokenizer, -200, 1)
    first, *others = map(slow, rendered.text.split("<image>"))
    assert encoded.input_ids == [1, *first, *(token for piece in others for token in (-200, *piece))]
    replies = [rendered.text[start:end] for start, end in rendered.assistant_spans]
    runs = "".join(tokenizer.decode(run, skip_special_tokens=False) for run in supervised(encoded))
    expected = "".join(replies)
    if way == "2023":  # a word whose bare form is no piece is the unknown one there, so its letters are lost
        expected = expected.replace("detailed", "<unk>")
    assert "".join(runs.split()) == "".join(expected.split())


def supervised(encoded: Encoded) -> list[list[int]]:
    return [list(run) for learnt, run in groupby(encoded.labels, lambda label: label != IGNORED) if learnt]


def test_a_leading_space_keeps_its_mark_under_every_template(root):
    """An empty system text leaves the space that would part it from the first turn."""
    tokenizer, slow = load_tokenizer(write(root / "leading", False)), slow_of_4_41(False)
    for system in ("", "  x", " "):
        rendered = TEMPLATES["llava_v1"].render(Conversation(system=system).say("user", "Hi"), open_turn=True)
        assert encode(rendered, tokenizer, -200, 1).input_ids == [1, *slow(rendered.text)]
        served = encode(rendered, tokenizer, -200, 1, slow=False).input_ids
        assert served == [1, *pieces().encode(rendered.text[1:] if rendered.text[0] == " " else rendered.text)]


def test_other_peoples_processors_read_runs_of_spaces_rightly_too(root, tmp_path):
    write(root / "vlm", False)
    processor = LlavaProcessor(
        CLIPImageProcessorPil(), LlamaTokenizer.from_pretrained(root / "vlm"), chat_template="{{ messages }}"
    )
    processor.save_pretrained(tmp_path)
    LlavaConfig().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="joins runs of spaces before words"):
        open_processor(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer.model").write_bytes(vocabulary())
    assert open_processor(tmp_path).tokenizer("One.  Two")["input_ids"][1:] == pieces().encode("One.  Two")


def test_the_first_form_of_gemmas_files_has_no_mask_token(fixtures, tmp_path):
    golden = json.loads((fixtures / "gemma/golden.json").read_text())
    folder = shutil.copytree(fixtures / "gemma" / golden["checkpoint"], tmp_path / "gemma")
    for name, listed in (("tokenizer.json", "added_tokens"), ("tokenizer_config.json", "added_tokens_decoder")):
        said = json.loads((folder / name).read_text())
        if isinstance(said[listed], list):
            said[listed] = [token for token in said[listed] if token["content"] != "<mask>"]
        else:
            said[listed] = {key: token for key, token in said[listed].items() if token["content"] != "<mask>"}
        (folder / name).write_text(json.dumps(said))
    save_tokenizer(load_tokenizer(folder), tmp_path / "saved")
    text, second = "a <mask> b", load_tokenizer(fixtures / "gemma" / golden["checkpoint"])
    for first in (folder, tmp_path / "saved"):
        ids = load_tokenizer(first)(text)["input_ids"]
        assert ids == Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids
        assert second.convert_tokens_to_ids("<mask>") not in ids
    assert second.convert_tokens_to_ids("<mask>") in second(text)["input_ids"]
