"""Textual inversion in every form that is shared, against embeddings of text whose vectors were put in by hand."""

import collections
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from llmga.diffusers.adapters import add_embeddings, add_loras, remove_loras
from llmga.diffusers.components import for_task
from llmga.diffusers.long_prompt import LAYOUTS, encode_prompt, text_towers
from llmga.diffusers.pipelines import load_pipeline
from llmga.errors import UserError

TOWERS = {"sd15": ("",), "sdxl": ("clip_l", "clip_g")}


@pytest.fixture
def painter(goldens):
    return lambda family="sd15": load_pipeline(goldens.folder(family), device="cpu", dtype="fp32")


def vectors(pipeline, count=2, seed=0):
    """(count, width) for each tower, of the size of what is there."""
    chance = torch.Generator().manual_seed(seed)
    tables = [tower.encoder.get_input_embeddings().weight for tower in text_towers(pipeline.pipe)]
    return [torch.randn(count, table.shape[1], generator=chance) * table.std().item() for table in tables]


def by_hand(pipeline, before, learnt, after, negative=""):
    """What encoders say of a text whose middle is vectors: ids of a rare word stand for them and are replaced."""
    hidden, pooled = [], None
    for tower, rows in zip(text_towers(pipeline.pipe), learnt, strict=True):
        eos = tower.tokenizer.eos_token_id
        texts = []
        for ids in ([*tower.content(before), *[0] * len(rows), *tower.content(after)], tower.content(negative)):
            (row,) = tower.rows(ids, 1, LAYOUTS[pipeline.layout])
            texts.append(row)
        table = tower.encoder.get_input_embeddings()
        embedded = table(torch.tensor(texts)).detach().clone()
        start = 1 + len(tower.content(before))
        embedded[0, start : start + len(rows)] = rows
        hook = table.register_forward_hook(lambda module, given, output, embedded=embedded: embedded)
        ends = torch.tensor(texts)
        ends[0, start : start + len(rows)] = 0
        output = tower.encoder(ends, output_hidden_states=True)
        hook.remove()
        hidden.append(output.last_hidden_state if tower.layer is None else output.hidden_states[tower.layer])
        if getattr(output, "text_embeds", None) is not None:
            pooled = output.text_embeds[0]
            assert int((ends[0] == eos).int().argmax()) == start + len(rows) + len(tower.content(after))
    return torch.cat(hidden, -1)[0], pooled


def a1111(path, rows):
    torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": rows[0]}, "name": "other", "step": 500,
                "sd_checkpoint": "fe4efff1e1", "sd_checkpoint_name": "model"}, path)  # fmt: skip


def first_authors(path, rows):
    """`embeddings.pt` of 2022: a module of torch, its keys where old versions had them."""
    held = torch.nn.ParameterDict()
    held._parameters = collections.OrderedDict({"*": torch.nn.Parameter(rows[0])})
    torch.save({"string_to_token": {"*": torch.tensor(265)}, "string_to_param": held}, path)


FORMS = {
    "A1111's .pt": ("my-style.pt", a1111),
    "the first authors' .pt": ("my-style.pt", first_authors),
    "A1111's .safetensors": ("my-style.safetensors", lambda path, rows: save_file({"emb_params": rows[0]}, path)),
    "diffusers' .safetensors": ("learned.safetensors", lambda path, rows: save_file({"my-style": rows[0]}, path)),
    "diffusers' .bin": ("learned_embeds.bin", lambda path, rows: torch.save({"my-style": rows[0]}, path)),
    "a tensor alone": ("my-style.pt", lambda path, rows: torch.save(rows[0], path)),
    "in half precision": (
        "my-style.safetensors", lambda path, rows: save_file({"emb_params": rows[0].bfloat16()}, path)),
}  # fmt: skip


def save_sdxl(path, rows):
    save_file(dict(zip(TOWERS["sdxl"], rows, strict=True)), path)


@pytest.mark.parametrize("form", FORMS)
def test_a_prompt_that_names_the_word_is_read_with_its_vectors(painter, tmp_path, form):
    pipeline, (name, save) = painter(), FORMS[form]
    learnt = vectors(pipeline)
    save(tmp_path / name, learnt)
    add_embeddings(pipeline, [str(tmp_path / name)])
    encoded = pipeline.encoder("a cat, my-style, on a roof").embeds[0]
    expected, _ = by_hand(pipeline, "a cat,", [rows.bfloat16().float() if "half" in form else rows for rows in learnt],
                          ", on a roof")  # fmt: skip
    assert torch.allclose(encoded, expected, atol=1e-5)


def test_words_of_sdxl_are_taught_to_both_towers_and_the_pooled_vector_stays_that_of_the_end(painter, tmp_path):
    """Stock diffusers reads SDXL's pooled vector at the greatest id, which a new word has."""
    pipeline = painter("sdxl")
    learnt = vectors(pipeline, 3)
    save_sdxl(tmp_path / "my-style.safetensors", learnt)
    before = pipeline.encoder("a cat").pooled
    add_embeddings(pipeline, [f"{tmp_path / 'my-style.safetensors'}:<s0>"])
    assert torch.equal(pipeline.encoder("a cat").pooled, before)
    encoded = pipeline.encoder("a cat <s0> on a roof")
    expected, pooled = by_hand(pipeline, "a cat", learnt, "on a roof")
    assert torch.allclose(encoded.embeds[0], expected, atol=1e-5)
    assert torch.allclose(encoded.pooled[0], pooled, atol=1e-5)


@pytest.mark.parametrize("ahead", [70, 73, 74, 75, 148])
def test_the_vectors_of_a_word_stay_together_at_the_edge_of_a_chunk(painter, tmp_path, ahead):
    pipeline = painter()
    learnt = vectors(pipeline, 3)
    save_file({"emb_params": learnt[0]}, tmp_path / "my-style.safetensors")
    add_embeddings(pipeline, [str(tmp_path / "my-style.safetensors")])
    (tower,) = text_towers(pipeline.pipe)
    filler = next(word for word in ("a", "e", "!", "1") if len(tower.content(word)) == 1)
    text = " ".join([filler] * ahead + ["my-style"])
    ids = tower.content(text)
    rows = tower.rows(ids, tower.chunks(ids), LAYOUTS[pipeline.layout])
    taught = [sum(i >= 1000 for i in row) for row in rows]
    assert len(ids) == ahead + 3 and sorted(taught)[-1] == 3 and sum(taught) == 3
    assert [i for row in rows for i in row if i in ids and i not in (tower.tokenizer.bos_token_id,
                                                                      tower.tokenizer.eos_token_id)] == ids  # fmt: skip
    assert sum(pipeline.report(text).chunks) == len(ids)
    assert len(rows) * 75 + 2 == encode_prompt(pipeline.pipe, [text]).embeds.shape[1]


def test_weights_of_brackets_stay_with_their_words(painter, tmp_path):
    pipeline = painter()
    save_file({"emb_params": vectors(pipeline, 3)[0]}, tmp_path / "my-style.safetensors")
    add_embeddings(pipeline, [str(tmp_path / "my-style.safetensors")])
    (tower,) = text_towers(pipeline.pipe)
    tokens = tower.tokens("a " * 74 + "(my-style:1.5)", weighted=True)
    rows = tower.rows(tokens.ids, 2, LAYOUTS["joined"])
    weights = tower.weight_rows(tokens.weights, 2, tokens.ids)
    assert {w for row, own in zip(rows, weights, strict=True) for i, w in zip(row, own, strict=True) if i >= 1000} == {
        1.5
    }


def test_a_word_is_found_in_any_case_but_not_inside_of_others(painter, tmp_path):
    pipeline = painter()
    save_file({"emb_params": vectors(pipeline, 1)[0]}, tmp_path / "EasyNegative.safetensors")
    (tower,) = text_towers(pipeline.pipe)
    inside = tower.content("uneasynegatively")
    add_embeddings(pipeline, [str(tmp_path / "EasyNegative.safetensors")])
    assert tower.content("uneasynegatively") == inside
    assert tower.content("easynegative") == tower.content("EasyNegative")
    assert len(tower.content("EasyNegative")) == 1


def test_the_picture_changes_with_the_word_only_and_the_record_names_it(painter, tmp_path):
    pipeline = painter()
    twin = for_task(pipeline, "inpainting")
    paint = lambda text: np.asarray(pipeline(text, seed=1, steps=2))  # noqa: E731
    plain, named = paint("a cat"), paint("a cat my-style")
    save_file({"emb_params": vectors(pipeline)[0]}, tmp_path / "it.safetensors")
    add_embeddings(pipeline, [f"{tmp_path / 'it.safetensors'}:my-style"])
    assert np.array_equal(paint("a cat"), plain) and not np.array_equal(paint("a cat my-style"), named)
    (entry,) = pipeline.describe()["added"]
    assert (entry["kind"], entry["name"], entry["token"]) == ("embedding", "it.safetensors", "my-style")
    assert len(entry["sha256"]) == 64
    assert for_task(pipeline, "inpainting") is twin and twin.describe()["added"] == [entry]


def test_a_file_may_teach_several_words(painter, tmp_path):
    pipeline = painter()
    one, two = vectors(pipeline, 1)[0], vectors(pipeline, 2, seed=1)[0]
    save_file({"<cat-toy>": one[0], "<dog-toy>": two}, tmp_path / "learned_embeds.safetensors")
    add_embeddings(pipeline, [str(tmp_path)])  # the folder, as diffusers saves it
    (tower,) = text_towers(pipeline.pipe)
    assert (len(tower.content("<cat-toy>")), len(tower.content("<dog-toy>"))) == (1, 2)
    with pytest.raises(UserError, match="teaches 2 words .*give it without :TOKEN"):
        add_embeddings(pipeline, [f"{tmp_path / 'learned_embeds.safetensors'}:other"])


@pytest.mark.parametrize(("family", "ends"), [("sd15", ("string_to_param.*",)), ("sdxl", ("clip_l", "clip_g"))])
def test_a_lora_may_bring_its_words(painter, tmp_path, family, ends):
    """As A1111 and OneTrainer bundle them."""
    pipeline = painter(family)
    learnt = vectors(pipeline, 2)
    key = "lora_unet_mid_block_attentions_0_proj_in"
    layer = pipeline.pipe.unet.mid_block.attentions[0].proj_in.weight
    tensors = {f"bundle_emb.my-style.{end}": rows for end, rows in zip(ends, learnt, strict=True)}
    tensors |= {f"{key}.lora_down.weight": torch.zeros(1, *layer.shape[1:]),
                f"{key}.lora_up.weight": torch.zeros(len(layer), 1, *(1 for _ in layer.shape[2:]))}  # fmt: skip
    save_file(tensors, tmp_path / "it.safetensors")
    for _ in range(2):
        add_loras(pipeline, [str(tmp_path / "it.safetensors")])
        expected, _ = by_hand(pipeline, "a cat", learnt, "on a roof")
        assert torch.allclose(pipeline.encoder("a cat my-style on a roof").embeds[0], expected, atol=1e-5)
        assert [entry["kind"] for entry in pipeline.added] == ["lora"]
        remove_loras(pipeline)


def refused(painter, path, match, family="sd15"):
    pipeline = painter(family)
    with pytest.raises(UserError, match=match):
        add_embeddings(pipeline, [str(path)])
    assert pipeline.added == []


@pytest.mark.parametrize(
    ("tensors", "family", "match"),
    [
        ({"emb_params": (2, 1024)}, "sd15", "another family than sd15: its vectors are 1024 wide, .* towers 32"),
        ({"emb_params": (2, 32)}, "sdxl", "another family than sdxl: its vectors are 32 wide, .* towers 32 and 40"),
        ({"clip_l": (2, 32), "clip_g": (2, 64)}, "sd15", "its vectors are clip_g 64 and clip_l 32"),
        ({"clip_l": (2, 32), "t5": (2, 64)}, "sdxl", "its vectors are clip_l 32 and t5 64 wide"),
        ({"emb_params": (76, 32)}, "sd15", "holds 76 vectors .*; a word may have 75 at most"),
        ({"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": (2, 8)}, "sd15",
         r"is low-rank weights \(LoRA\) and no textual inversion; give it as --lora"),
        ({"model.diffusion_model.input_blocks.0.0.weight": (8, 4, 3, 3), "first_stage_model.a": (1,)}, "sd15",
         "is a whole Stable Diffusion 1.5 checkpoint in one file and no textual inversion"),
    ],
)  # fmt: skip
def test_what_is_not_for_this_painter_is_told(painter, tmp_path, tensors, family, match):
    save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, tmp_path / "my-style.safetensors")
    refused(painter, tmp_path / "my-style.safetensors", match, family)


def test_names_and_files_that_cannot_be_are_told(painter, tmp_path):
    pipeline = painter()
    save_file({"emb_params": vectors(pipeline)[0]}, tmp_path / "my-style.safetensors")
    (tower,) = text_towers(pipeline.pipe)
    word = next(word for word in tower.tokenizer.get_vocab() if word.isalpha() and len(word) > 1)
    refused(
        painter, f"{tmp_path / 'my-style.safetensors'}:{word}", "is in the vocabulary already; give it another name"
    )
    refused(painter, tmp_path / "nowhere.pt", "is not there")
    (tmp_path / "text.txt").write_text("hello")
    refused(painter, tmp_path / "text.txt", "in no format that is read here")
    (tmp_path / "empty").mkdir()
    refused(painter, tmp_path / "empty", "holds no learned_embeds.safetensors")
    with pytest.raises(UserError, match="'my-style' is taught twice"):
        add_embeddings(pipeline, [str(tmp_path / "my-style.safetensors")] * 2)
    save_file({"emb_params": torch.full((1, 32), float("nan"))}, tmp_path / "nan.safetensors")
    refused(painter, f"{tmp_path / 'nan.safetensors'}:my-style", "no numbers")


def test_a_picture_with_a_taught_word_is_made_again(painter, goldens, tmp_path, capsys):
    """Textual inversion, from `--embedding` of a chat to that of a replay."""
    from llmga.__main__ import main
    from llmga.assistant.image_files import encoded
    from llmga.assistant.painting import ImageRequest, Postprocessing, record_of
    from llmga.assistant.record import ModelMark
    from llmga.diffrir.restorers import load_restorer

    pipeline = painter()
    save_file({"emb_params": vectors(pipeline)[0]}, tmp_path / "it.safetensors")
    given = f"{tmp_path / 'it.safetensors'}:my-style"
    add_embeddings(pipeline, [given])
    wanted = ImageRequest("a cat my-style", 1, steps=2, clip_skip=1)
    image = pipeline(wanted.prompt, seed=1, steps=2, clip_skip=1)
    mark = ModelMark.of("painter", goldens.folder("sd15"))
    record = record_of(pipeline, wanted, Postprocessing(load_restorer("none")), image, request="", words={},
                       models=(mark,))  # fmt: skip
    assert json.loads(record.to_json())["painter"]["added"][0]["token"] == "my-style"
    (tmp_path / "picture.png").write_bytes(encoded(image, record, "png"))
    again = ["replay", str(tmp_path / "picture.png"), "--sdmodel_id", str(goldens.folder("sd15"))]
    assert main([*again, "--embedding", given]) == 0 and "the same bytes." in capsys.readouterr().out
    assert main(again) == 2
    assert "painted with embedding it.safetensors" in capsys.readouterr().err
