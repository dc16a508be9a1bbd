import math
from collections import Counter
from itertools import cycle
from random import Random
from types import SimpleNamespace

import pytest
import torch

from llmga.diffusers.long_prompt import LAYOUTS, encode_prompt, encode_texts, text_towers
from llmga.diffusers.prompt_encoder import REMEMBERED, PromptEncoder
from llmga.diffusers.prompt_weights import parse_weights
from llmga.errors import UserError

SHORT = ["a red circle on blue", "", "close shadow, futuristic dress"]
LONG = "a bright star over the sea, " * 30


@pytest.mark.parametrize("negative", [None, "", "ugly noise"])
@pytest.mark.parametrize("text", SHORT)
def test_short_text_is_what_the_stock_sdxl_pipeline_computes(goldens, text, negative):
    pipe = goldens.pipeline("sdxl")
    stock = pipe.encode_prompt(text, negative_prompt=negative)
    ours = encode_prompt(pipe, [text], None if negative is None else [negative])
    for a, b in zip(stock, (ours.embeds, ours.negative_embeds, ours.pooled, ours.negative_pooled), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


@pytest.mark.parametrize("negative", [None, "ugly noise"])
@pytest.mark.parametrize("text", SHORT)
def test_short_text_is_what_the_stock_sd15_pipeline_computes(goldens, text, negative):
    pipe = goldens.pipeline("sd15")
    stock = pipe.encode_prompt(text, "cpu", 1, True, negative_prompt=negative)
    ours = encode_prompt(pipe, [text], None if negative is None else [negative])
    torch.testing.assert_close(stock[0], ours.embeds, atol=1e-6, rtol=0)
    torch.testing.assert_close(stock[1], ours.negative_embeds, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_75_tokens_are_still_one_stock_chunk_and_76_are_two(goldens, name):
    pipe = goldens.pipeline(name)
    embeds, _ = encode_texts(pipe, [goldens.text("tok75")])
    stock = pipe.encode_prompt(goldens.text("tok75"), "cpu", 1, False) if name == "sd15" else pipe.encode_prompt(
        goldens.text("tok75"), do_classifier_free_guidance=False)  # fmt: skip
    torch.testing.assert_close(stock[0], embeds, atol=1e-6, rtol=0)
    assert encode_texts(pipe, [goldens.text("tok76")])[0].shape[1] == 152


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_token_is_lost(goldens, layout):
    tower = text_towers(goldens.pipeline("sdxl"))[1]
    ids = tower.content(LONG)
    rows = tower.rows(ids, math.ceil(len(ids) / 75), LAYOUTS[layout])
    content = [i for row in rows for i in row if i not in tower.tokenizer.all_special_ids]
    assert content == ids and all(len(row) == 77 for row in rows)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("pair", [("a cat", LONG), (LONG, "a cat"), (LONG, None), ("", LONG)])
@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_prompt_and_negative_have_one_length(goldens, name, pair, layout):
    ours = encode_prompt(goldens.pipeline(name), [pair[0]], pair[1] and [pair[1]], layout)
    assert ours.embeds.shape == ours.negative_embeds.shape


def test_pooled_vector_does_not_depend_on_batch_mates(goldens):
    pipe = goldens.pipeline("sdxl")
    alone = encode_texts(pipe, ["a cat"])[1][0]
    together = encode_texts(pipe, ["a cat", LONG, ""])[1]
    torch.testing.assert_close(alone, together[0], atol=1e-6, rtol=0)
    assert (together[0] - together[2]).abs().max() > 1e-3


def test_half_a_character_is_a_question_mark(goldens):
    half, whole = (encode_texts(goldens.pipeline("sdxl"), [text])[0] for text in ("a \ud83d cat", "a ? cat"))
    assert torch.equal(half, whole)


def test_unknown_layout_is_named(goldens):
    with pytest.raises(UserError, match="joined"):
        encode_prompt(goldens.pipeline("sd15"), ["a"], layout="join")


class Recorder:
    """In place of a text encoder: keeps the ids that reach it."""

    config = SimpleNamespace(max_position_embeddings=77)
    device = torch.device("cpu")

    def __init__(self):
        self.rows = []

    def __call__(self, rows, output_hidden_states):
        self.rows += rows.tolist()
        return SimpleNamespace(last_hidden_state=torch.zeros(*rows.shape, 1))


def test_every_token_of_a_thousand_prompts_reaches_the_encoder(goldens):
    tokenizer, draw, layouts = goldens.pipeline("sdxl").tokenizer_2, Random(0), cycle(LAYOUTS)
    vocabulary = [token for token in tokenizer.get_vocab().values() if token not in tokenizer.all_special_ids]
    for _ in range(1000):
        text = tokenizer.decode(draw.choices(vocabulary, k=draw.randint(1, 400)))
        ids = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        encoder = Recorder()
        encode_texts(SimpleNamespace(tokenizer=tokenizer, text_encoder=encoder), [text], next(layouts))
        chunks = max(1, math.ceil(len(ids) / 75))
        added = Counter({tokenizer.bos_token_id: chunks}) + Counter({tokenizer.eos_token_id: chunks})
        added += Counter({tokenizer.pad_token_id: 75 * chunks - len(ids)})
        assert len(encoder.rows) == chunks
        assert Counter(i for row in encoder.rows for i in row) == Counter(ids) + added


def test_brackets_are_text_unless_weights_are_asked_for(goldens):
    pipe, text = goldens.pipeline("sd15"), "a cat (with (big:1.4) eyes) [and a hat]"
    literal, weighted = (encode_texts(pipe, [text], weighted=choice)[0] for choice in (False, True))
    assert literal.shape == weighted.shape and not torch.allclose(literal, weighted)
    plain = [encode_texts(pipe, ["a cat, a hat"], weighted=choice)[0] for choice in (False, True)]
    assert torch.equal(*plain)


@pytest.mark.parametrize(
    "text",
    [
        "(a cat:0)",
        "((((:9999999999999999999)",
        f"(a:{'9' * 400})",
        f"(a:-{'9' * 400})",
        f"((a:{'9' * 400}):0)",
        "(:1.2.3)",
        ")](",
        "(a:-1) [b",
        "\\",
    ],
)
def test_odd_brackets_give_finite_embeddings(goldens, text):
    for name in ("sd15", "sdxl"):
        assert encode_texts(goldens.pipeline(name), [text], weighted=True)[0].isfinite().all()


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("(a:1.5)(b:1.5)", [("ab", 1.5)]),
        ("(a [b:1.2) c", [("a ", 1.2), ("b", 1.2 / 1.1), (" c", 1 / 1.1)]),
        ("ratio 16:9)", [("ratio 16:9)", 1.0)]),
        ("a\\(b\\)", [("a(b)", 1.0)]),
        ("(a:.5)", [("a", 0.5)]),
    ],
)
def test_weights_of_brackets(text, runs):
    assert [(run, pytest.approx(weight)) for run, weight in parse_weights(text)] == runs


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_a_repeated_prompt_is_not_encoded_again(goldens, name, monkeypatch):
    pipe, calls = goldens.pipeline(name), []
    encoder = PromptEncoder(pipe)
    handle = pipe.text_encoder.register_forward_hook(lambda *_: calls.append(1))
    first = encoder("a cat", "ugly")
    assert encoder("a cat", "ugly") is first and len(calls) == 1
    encoder("a cat", "ugly", weighted=True), encoder("a cat", "bad"), encoder("a cat", guided=False)
    assert len(calls) == 4
    for number in range(REMEMBERED):
        encoder(str(number), guided=False)
    assert encoder("a cat", "ugly") is not first
    handle.remove()


def test_the_report_tells_the_tokens_of_each_chunk(goldens):
    encoder = PromptEncoder(goldens.pipeline("sdxl"))
    assert str(encoder.report(goldens.text("tok172"))) == "172 tokens in 3 chunks (75 + 75 + 22)"
    assert encoder.report("").chunks == (0,) and encoder.report(goldens.text("tok75")).chunks == (75,)
