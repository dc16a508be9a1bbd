import math

import pytest
import torch

from llmga.diffusers.long_prompt import LAYOUTS, encode_prompt, encode_texts, text_towers
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


def test_llmga_layout_is_the_recorded_one(goldens):
    pipe, recorded = goldens.pipeline("sdxl"), goldens.tensors("embeds_sdxl")
    for name, case in goldens.manifest["embeds_sdxl"]["prompts"].items():
        limit = max(case["chunks_1"], case["chunks_2"])
        embeds, pooled = encode_texts(pipe, [goldens.text(name)], "llmga", max_chunks=limit)
        torch.testing.assert_close(embeds[0], recorded[f"{name}.embeds"], atol=1e-5, rtol=0, msg=name)
        torch.testing.assert_close(pooled[0], recorded[f"{name}.pooled"], atol=1e-5, rtol=0, msg=name)


def test_llmga_layout_of_pairs_is_the_recorded_one(goldens):
    pipe, recorded = goldens.pipeline("sdxl"), goldens.tensors("embeds_sdxl")
    for pair in goldens.manifest["embeds_sdxl"]["pairs"]:
        prompt, negative = goldens.text(pair["prompt"]), goldens.text(pair["negative"])
        ours = encode_prompt(pipe, [prompt], [negative], "llmga")
        assert ours.embeds.shape == ours.negative_embeds.shape
        if pair["lengths_match"]:
            key = f"pair.{pair['prompt']}|{pair['negative']}"
            torch.testing.assert_close(ours.embeds[0], recorded[f"{key}.embeds"], atol=1e-5, rtol=0)
            torch.testing.assert_close(ours.negative_embeds[0], recorded[f"{key}.negative_embeds"], atol=1e-5, rtol=0)


def test_a1111_layout_without_brackets_is_the_recorded_one(goldens):
    pipe, recorded = goldens.pipeline("sd15"), goldens.tensors("embeds_sd15")
    plain = [n for n in goldens.manifest["embeds_sd15"]["prompts"] if not set("()[]\\") & set(goldens.text(n))]
    assert len(plain) >= 8
    for name in plain:
        embeds, _ = encode_texts(pipe, [goldens.text(name)], "a1111", max_chunks=3)
        torch.testing.assert_close(embeds[0], recorded[f"{name}.m3.embeds"], atol=1e-5, rtol=0, msg=name)


def test_sd15_training_embeddings_are_the_joined_layout(goldens):
    pipe, recorded = goldens.pipeline("sd15"), goldens.tensors("embeds_sd15")
    names = [n for n in goldens.manifest["embeds_sd15"]["prompts"] if f"{n}.train.embeds" in recorded]
    assert len(names) >= 3
    for name in names:
        embeds, _ = encode_texts(pipe, [goldens.text(name)], max_chunks=4)
        torch.testing.assert_close(embeds[0], recorded[f"{name}.train.embeds"], atol=1e-5, rtol=0, msg=name)


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


def test_unknown_layout_is_named(goldens):
    with pytest.raises(UserError, match="joined"):
        encode_prompt(goldens.pipeline("sd15"), ["a"], layout="join")
