"""What the original computed on tiny random models, case by case as the manifest lists them.

Where the original is wrong (`do_not_reproduce`, and the end of the fixtures' README), the corrected behaviour.
"""

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.training_utils import EMAModel

from llmga.diffusers.datasets.holes import KINDS, hole
from llmga.diffusers.editing import Inversion as Way
from llmga.diffusers.editing import difference_mask, edit_timesteps, follow, invert
from llmga.diffusers.editor import prediction
from llmga.diffusers.inpainting import Inpainter
from llmga.diffusers.latents import posterior, scaled
from llmga.diffusers.long_prompt import LAYOUTS, encode_prompt, encode_texts, text_towers, tokens_per_chunk
from llmga.diffusers.pipelines import PIPELINES
from llmga.diffusers.prompt_weights import parse_weights
from llmga.diffusers.train.batches import Batch
from llmga.diffusers.train.objective import DenoisingObjective
from llmga.diffusers.train.tasks import TASKS

REACH = 4  # chunks that the reference reads at most; of a longer prompt we lose nothing
LAYOUT_OF = {"sd15": "a1111", "sdxl": "llmga"}
ROOT = Path(os.environ.get("LLMGA_FIXTURES", Path(__file__).parents[1] / "fixtures")) / "diffusion"
MANIFEST = json.loads((ROOT / "manifest.json").read_text(encoding="utf-8"))
ALLOWED = MANIFEST["tolerances"]


def pytest_generate_tests(metafunc):
    """A test that asks for one of these names runs once for every entry that the manifest lists."""
    parts = {name: MANIFEST.get(name, {}) for name in ("embeds_sd15", "embeds_sdxl", "t2i", "inpaint", "edit")}
    listed = {
        "prompt_name": list(MANIFEST["prompts"]),
        "sd15_prompt": list(parts["embeds_sd15"].get("prompts", ())),
        "sd15_pair": parts["embeds_sd15"].get("pairs", ()),
        "sdxl_prompt": list(parts["embeds_sdxl"].get("prompts", ())),
        "sdxl_pair": parts["embeds_sdxl"].get("pairs", ()),
        "t2i_case": parts["t2i"].get("cases", ()),
        "inpaint_case": parts["inpaint"].get("cases", ()),
        "edit_case": parts["edit"].get("cases", ()),
        "train_case": [case | {"name": name} for name, case in MANIFEST.get("train", {}).items()],
    }
    for name in listed.keys() & set(metafunc.fixturenames):
        metafunc.parametrize(name, listed[name], ids=_label)


def _label(entry):
    if isinstance(entry, dict):
        return entry.get("name") or f"{entry['prompt']}|{entry['negative']}"
    return "|".join(entry) if isinstance(entry, list) else entry


@pytest.fixture(scope="session")
def goldens(goldens):
    """The set that LLMGA_FIXTURES names."""
    return type(goldens)(ROOT)


def close(ours, recorded, atol=ALLOWED["embeddings"]):
    torch.testing.assert_close(ours, recorded, atol=atol, rtol=0)


def close_latents(ours, recorded, atol):
    """Random networks drive latents far beyond the +-4 of trained ones, and rounding grows with them."""
    close(ours, recorded, atol * max(1.0, recorded.abs().max().item() / 4))


def test_bracket_syntax(goldens, prompt_name):
    case = goldens.manifest["prompts"][prompt_name]
    runs = parse_weights(case["text"])
    assert [text for text, _ in runs] == [text for text, _ in case["parsed"]]
    assert [weight for _, weight in runs] == pytest.approx(
        [weight for _, weight in case["parsed"]], abs=ALLOWED["parsed_weights"]
    )


def test_token_counts(goldens, prompt_name):
    case = goldens.manifest["prompts"][prompt_name]
    first, second = text_towers(goldens.pipeline("sdxl"))
    assert len(first.content(case["text"])) == case["content_tokens"]
    assert len(second.content(case["text"])) == case["content_tokens_tokenizer_2"]


def test_sd15_sampling_embeddings(goldens, sd15_prompt):
    pipe, recorded = goldens.pipeline("sd15"), goldens.tensors("embeds_sd15")
    (tower,) = text_towers(pipe)
    tokens = tower.tokens(goldens.text(sd15_prompt), weighted=True)
    for limit, case in goldens.manifest["embeds_sd15"]["prompts"][sd15_prompt].items():
        key, chunks = f"{sd15_prompt}.{limit}", int(limit[1:])
        if f"{key}.content_ids" in recorded:
            assert tokens.ids[: 75 * chunks] == recorded[f"{key}.content_ids"].tolist()
            weights = torch.tensor(tower.weight_rows(tokens.weights, case["chunks"])).flatten()
            close(weights, recorded[f"{key}.weights"], 1e-7)
        embeds, _ = encode_texts(pipe, [goldens.text(sd15_prompt)], "a1111", max_chunks=chunks, weighted=True)
        # Recorded once when a higher limit changes nothing.
        close(embeds[0], recorded[f"{key}.embeds" if f"{key}.embeds" in recorded else f"{sd15_prompt}.m3.embeds"])


def test_sd15_blank_prompts(goldens, sd15_prompt):
    pipe, recorded = goldens.pipeline("sd15"), goldens.tensors("embeds_sd15")
    chunks = goldens.manifest["embeds_sd15"]["prompts"][sd15_prompt]["m3"]["chunks"]
    ours = encode_prompt(pipe, [goldens.text(sd15_prompt)], None, "a1111", max_chunks=3, weighted=True)
    close(ours.negative_embeds[0], recorded[f"blank.chunks{chunks}.embeds"])


def test_sd15_pairs(goldens, sd15_pair):
    pipe, recorded = goldens.pipeline("sd15"), goldens.tensors("embeds_sd15")
    prompt, negative = sd15_pair
    ours = encode_prompt(pipe, [goldens.text(prompt)], [goldens.text(negative)], "a1111", weighted=True)
    close(ours.embeds[0], recorded[f"pair.{prompt}|{negative}.embeds"])
    close(ours.negative_embeds[0], recorded[f"pair.{prompt}|{negative}.negative_embeds"])


def test_sd15_batch(goldens):
    pipe, recorded = goldens.pipeline("sd15"), goldens.tensors("embeds_sd15")
    texts = [goldens.text(name) for name in goldens.manifest["embeds_sd15"]["batch"]]
    ours = encode_prompt(pipe, texts, None, "a1111", max_chunks=3, weighted=True)
    close(ours.embeds, recorded["infer_batch.embeds"])
    close(ours.negative_embeds, recorded["infer_batch.negative_embeds"])
    close(encode_texts(pipe, texts, max_chunks=4)[0], recorded["train_batch.embeds"])


def test_sd15_training_embeddings(goldens, sd15_prompt):
    pipe, recorded = goldens.pipeline("sd15"), goldens.tensors("embeds_sd15")
    (tower,) = text_towers(pipe)
    ids = tower.content(goldens.text(sd15_prompt))[:300]
    markers = tower.tokenizer.bos_token_id, tower.tokenizer.eos_token_id
    row = recorded[f"{sd15_prompt}.train.ids"].flatten().tolist()
    assert row[: len(ids) + 1] == [markers[0], *ids] and set(row[len(ids) + 1 :]) <= {markers[1]}
    if f"{sd15_prompt}.train.embeds" in recorded:
        embeds, _ = encode_texts(pipe, [goldens.text(sd15_prompt)], max_chunks=4)
        close(embeds[0], recorded[f"{sd15_prompt}.train.embeds"])


def test_sdxl_embeddings_as_published(goldens, sdxl_prompt):
    pipe, recorded = goldens.pipeline("sdxl"), goldens.tensors("embeds_sdxl")
    case, text = goldens.manifest["embeds_sdxl"]["prompts"][sdxl_prompt], goldens.text(sdxl_prompt)
    for number, tower in enumerate(text_towers(pipe), start=1):
        rows = tower.rows(tower.content(text), case[f"chunks_{number}"], LAYOUTS["llmga"])
        joined = [rows[0][0], *(i for row in rows for i in row[1:-1]), rows[-1][-1]]
        assert joined == recorded[f"{sdxl_prompt}.ids_{number}"].flatten().tolist()
    chunks = max(case["chunks_1"], case["chunks_2"])
    embeds, pooled = encode_texts(pipe, [text], "llmga", max_chunks=chunks)
    assert embeds.shape[1] == 75 * chunks + 2
    if case["chunks_1"] != case["chunks_2"]:
        return  # the reference fails where its two tokenizers disagree
    close(embeds[0], recorded[f"{sdxl_prompt}.embeds"])
    close(pooled[0], recorded[f"{sdxl_prompt}.pooled"].flatten())
    *_, projecting = text_towers(pipe)
    _, each = projecting.states([projecting.tokens(text)], chunks, LAYOUTS["llmga"])
    close(each[0], recorded[f"{sdxl_prompt}.pooled_per_chunk"])


def test_sdxl_pairs_as_published_and_of_any_two_lengths(goldens, sdxl_pair):
    pipe, recorded = goldens.pipeline("sdxl"), goldens.tensors("embeds_sdxl")
    ours = encode_prompt(pipe, [goldens.text(sdxl_pair["prompt"])], [goldens.text(sdxl_pair["negative"])], "llmga")
    assert ours.embeds.shape == ours.negative_embeds.shape
    if sdxl_pair["lengths_match"]:
        key = f"pair.{sdxl_pair['prompt']}|{sdxl_pair['negative']}"
        close(ours.embeds[0], recorded[f"{key}.embeds"])
        close(ours.negative_embeds[0], recorded[f"{key}.negative_embeds"])
        for side in ("pooled", "negative_pooled"):
            close(getattr(ours, side)[0], recorded[f"{key}.{side}"].flatten())


def embeddings_of(goldens, kind, pipe, case, max_chunks):
    negative = case.get("negative_prompt")
    return encode_prompt(
        pipe, [goldens.text(case["prompt"])], None if negative is None else [goldens.text(negative)],
        LAYOUT_OF[kind], max_chunks=max_chunks, weighted=kind == "sd15",
    )  # fmt: skip


class Steps:
    """Collects the latents after each step."""

    def __init__(self):
        self.latents = []

    def __call__(self, pipeline, step, timestep, tensors):
        self.latents.append(tensors["latents"].clone())
        return {}


def check_steps_and_picture(name, steps, image, recorded):
    close_latents(torch.cat(steps.latents), recorded[f"{name}.step_latents"], ALLOWED["latents"])
    difference = np.asarray(image).astype(int) - recorded[f"{name}.image_u8"][0].numpy()
    assert np.abs(difference).max() <= ALLOWED["image_u8"]


def test_text_to_image(goldens, t2i_case):
    name = t2i_case["name"]
    kind, steps, recorded = name.split("_")[0], Steps(), goldens.tensors("t2i")
    pipe = goldens.pipeline(kind)
    prompt = embeddings_of(goldens, kind, pipe, t2i_case, 3 if kind == "sd15" else REACH)
    start = recorded.get(f"{name}.init_latents")
    image = pipe(
        **PIPELINES[kind].prompt_arguments(prompt), latents=start, callback_on_step_end=steps,
        height=t2i_case["height"], width=t2i_case["width"], num_inference_steps=t2i_case["num_inference_steps"],
        guidance_scale=t2i_case["guidance_scale"], generator=torch.Generator().manual_seed(0),
    ).images[0]  # fmt: skip
    if "do_not_reproduce" in t2i_case:  # the reference failed here
        assert len(steps.latents) == t2i_case["num_inference_steps"]
    else:
        check_steps_and_picture(name, steps, image, recorded)


def test_inpainting(goldens, inpaint_case):
    name, case = inpaint_case["name"], inpaint_case
    kind, steps, recorded = name.split("_")[0], Steps(), goldens.tensors("inpaint")
    pipe, family = goldens.pipeline(f"{kind}_inpaint"), PIPELINES[f"{kind}-inpainting"]
    picture, mask = goldens.picture(case["image"]), goldens.picture(case["mask"])
    if "do_not_reproduce" in case:  # the reference squashed it to a square
        assert Inpainter(pipe, family)("a cat", picture, mask, steps=1).size == picture.size
        return
    settings = {"num_inference_steps": case["num_inference_steps"], "guidance_scale": case["guidance_scale"]}
    prompt = embeddings_of(goldens, kind, pipe, case, REACH)
    image = pipe(
        **family.prompt_arguments(prompt), **settings, image=picture, mask_image=mask, height=case["height"],
        width=case["width"], strength=case["strength"], callback_on_step_end=steps,
        generator=torch.Generator().manual_seed(case["generator_seed"]),
    ).images[0]  # fmt: skip
    check_steps_and_picture(name, steps, image, recorded)

    size = (case["width"], case["height"]) if case["width"] else None
    ours = Inpainter(pipe, family, defaults={"layout": LAYOUT_OF[kind]}, weighted=kind == "sd15")(
        goldens.text(case["prompt"]), picture, mask, seed=case["generator_seed"], steps=case["num_inference_steps"],
        negative_prompt=case.get("negative_prompt") and goldens.text(case["negative_prompt"]),
        guidance_scale=case["guidance_scale"], strength=case["strength"], size=size,
    )  # fmt: skip
    assert ours.size == picture.size
    if picture.size != image.size:
        return  # the reference squashed it, we keep the aspect
    marked = np.asarray(mask.convert("L")) >= 125
    after, painted = np.asarray(ours).astype(int), recorded[f"{name}.image_u8"][0].numpy()
    assert np.array_equal(after[~marked], np.asarray(picture.convert("RGB"))[~marked])
    words = [goldens.text(case.get(side)) for side in ("prompt", "negative_prompt")]
    if max(sum(tokens_per_chunk(pipe, text, weighted=kind == "sd15")) for text in words) <= 75 * REACH:
        assert np.abs(after - painted)[marked].max() <= ALLOWED["image_u8"]


def told(pipe, *texts, max_chunks):
    """The UNet, told each of these prompts, all padded to one length."""
    words = encode_prompt(pipe, texts, None, "a1111", max_chunks=max_chunks, weighted=True)
    pairs = zip(words.negative_embeds, words.embeds, strict=True)
    return [prediction(pipe.unet, torch.stack(pair), None) for pair in pairs]


@torch.no_grad()
def test_editing(goldens, edit_case):
    name, case, recorded = edit_case["name"], edit_case, goldens.tensors("edit_sd15")
    pipe = goldens.pipeline("sd15")
    texts = [goldens.text(case[f"{side}_prompt"]) for side in ("source", "target")]
    (source,), (target,) = (told(pipe, text, max_chunks=4) for text in texts)

    def values(key):
        return recorded[f"{name}.{key}"]

    pixels = pipe.image_processor.preprocess(goldens.picture(case["image"]).convert("RGB"))
    mean, std = posterior(pipe.vae, pixels)
    close(scaled(pipe.vae, mean), values("x0"))

    drawn = scaled(pipe.vae, mean + std * values("mask_vae_draw"))
    noisy = pipe.scheduler.add_noise(drawn, values("mask_noise"), torch.tensor([case["mask_timestep"]]))
    mask, maps = difference_mask(*told(pipe, *texts, max_chunks=3), noisy, case["mask_timestep"],
                                 scale=case["mask_guidance_scale"], ratio=case["mask_thresholding_ratio"])  # fmt: skip
    if case["mask_all_ones"]:
        mask = torch.ones_like(maps)
    else:
        close(maps / maps.mean(), values("mask_map") / values("mask_map").mean(), 1e-4)
        assert torch.equal(mask.long(), values("mask")[0])

    times = edit_timesteps(case["num_inversion_steps"], case["skip"] / 100)
    assert times == values("timesteps").tolist()
    theirs = Way(times, values("xts"), values("zs"))
    sampled = follow(target, pipe.scheduler, theirs, mask, case["guidance_scale"], restore=False)
    unchanged = texts[0] == texts[1] and case["guidance_scale"] == case["source_guidance_scale"]
    returns = unchanged and case["mask_all_ones"]  # what the edit leaves is rounding, theirs and ours
    allowed = ALLOWED["edit_reconstruction_abs" if returns else "edit_latents_abs"]
    close_latents(sampled, values("edited_latents"), allowed)

    path = invert(source, pipe.scheduler, values("x0"), values("inversion_noise"), times, case["source_guidance_scale"])
    close_latents(path.latents, values("xts"), ALLOWED["latents"])
    if "do_not_reproduce" not in case:  # the reference cuts a long source prompt, we read all of it
        close_latents(path.noises, values("zs"), ALLOWED["edit_zs_abs"])
        edited = follow(target, pipe.scheduler, path, mask, case["guidance_scale"], restore=False)
        close_latents(edited, values("x0") if returns else values("edited_latents"), allowed)
    everywhere = torch.ones_like(mask)
    back = follow(source, pipe.scheduler, path, everywhere, case["source_guidance_scale"], restore=False)
    close(back, values("x0"))  # the reference rounds its way back otherwise than its way there
    restored = follow(target, pipe.scheduler, path, mask, case["guidance_scale"])
    outside = (mask == 0).expand_as(restored)
    close(restored[outside], values("x0")[outside], 1e-5)


class Training:
    """A recorded case: the pipeline, our objective for it, and what was recorded of each step."""

    def __init__(self, goldens, case):
        self.case, self.pipe = case, goldens.pipeline(case["pipeline"])
        self.family = PIPELINES[case["pipeline"].replace("_inpaint", "-inpainting")]
        self.recorded = goldens.tensors(f"train_{case['name']}")
        self.base = goldens.tensors(f"train_{case['pipeline']}_base")
        self.objective = DenoisingObjective(
            self.pipe.scheduler, snr_gamma=case["snr_gamma"], noise_offset=case["noise_offset"],
            prediction=case["prediction_type"],
        )  # fmt: skip

    def loss(self, unet, step):
        def predict(noisy, times):
            close(noisy, seen[:, : noisy.shape[1]])
            return unet(seen, times, self.base["prompt_embeds"], added_cond_kwargs=conditions).sample

        seen = self.recorded[f"s{step}.unet_input"]
        conditions = self.family.conditions(self.base.get("pooled_embeds"), self.base.get("time_ids", torch.zeros(0)))
        return self.objective.loss(
            predict, *(self.recorded[f"s{step}.{name}"] for name in ("latents", "noise", "timesteps"))
        )


def test_training_captions(goldens, train_case):
    """As in the original: joined for SD1.5; for SDXL with its padding, and the pooled vector of the last chunk."""
    training, texts = Training(goldens, train_case), [goldens.text(name) for name in train_case["captions"]]
    layout = "joined" if training.family.architecture == "sd15" else "llmga"
    embeds, pooled = encode_texts(training.pipe, texts, layout, max_chunks=4)
    close(embeds, training.base["prompt_embeds"])
    if "pooled_embeds" in training.base:
        close(pooled, training.base["pooled_embeds"])


def test_training_steps(goldens, train_case):
    training, optimizer = Training(goldens, train_case), train_case["optimizer"]
    unet = copy.deepcopy(training.pipe.unet).train()
    ema = EMAModel(unet.parameters(), foreach=True)
    adamw = torch.optim.AdamW(unet.parameters(), lr=optimizer["lr"], betas=tuple(optimizer["betas"]),
                              eps=optimizer["eps"], weight_decay=optimizer["weight_decay"])  # fmt: skip
    corrected = "losses_corrected" in train_case
    losses = train_case["losses_corrected" if corrected else "losses"]
    for step, (loss_then, norm_then) in enumerate(zip(losses, train_case["grad_norms"], strict=True)):
        loss = training.loss(unet, step)
        assert loss.item() == pytest.approx(loss_then, abs=ALLOWED["train_loss"])
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(unet.parameters(), optimizer["max_grad_norm"]).item()
        if not corrected:  # the recorded norm is that of the wrong loss
            assert norm == pytest.approx(norm_then, abs=ALLOWED["train_grad_norm"])
        adamw.step()
        adamw.zero_grad()
        ema.step(unet.parameters())
        check_weights(training, unet, ema, step)


def check_weights(training, unet, ema, step):
    """Weights and their averages, where the case recorded any."""
    weights = dict(unet.named_parameters())
    averaged = dict(zip(weights, ema.shadow_params, strict=True))
    for kind, ours in (("param", weights), ("ema", averaged)):
        for name in training.case["param_names"]:
            if (recorded := training.recorded.get(f"s{step}.{kind}.{name}")) is not None:
                close(ours[name].data, recorded, ALLOWED["train_params"])
    final = {key.removeprefix("final_saved."): value for key, value in training.recorded.items() if "final" in key}
    for name, value in final.items() if step == len(training.case["losses"]) - 1 else ():
        close(averaged[name], value, ALLOWED["train_params"])


def test_training_sees_mask_and_kept_part(goldens, train_case):
    """The mask exactly; the kept part is a draw, so it lies around the mean of the VAE's distribution."""
    training, recorded = Training(goldens, train_case), goldens.tensors(f"train_{train_case['name']}")
    items = sorted((key.split(".")[0] for key in recorded if key.endswith(".pixel_values")), key=lambda i: int(i[4:]))
    latent, seen = training.pipe.vae.config.latent_channels, recorded["s0.unet_input"]
    task = TASKS[training.family.task]
    assert seen.shape[1] == latent + task.extra_channels(latent)
    if not items:
        return
    pixels, masks = (torch.stack([recorded[f"{i}.{n}"] for i in items]) for n in ("pixel_values", "mask"))
    batch = Batch([], torch.zeros(0), torch.zeros(0), pixels=pixels, masks=masks.float())
    ours = task.conditioning(training.pipe.vae, batch, torch.Generator().manual_seed(0))
    assert torch.equal(ours[:, :1], seen[:, latent : latent + 1])
    mean, std = posterior(training.pipe.vae, pixels * (masks < 0.5))
    spread = training.pipe.vae.config.scaling_factor * std
    for kept in (ours[:, 1:], seen[:, latent + 1 :]):
        assert ((kept - scaled(training.pipe.vae, mean)).abs() <= 6 * spread + 1e-4).all()


DRAWS = 800


def test_training_masks(goldens):
    """Covered fractions at the size for which the original states its pixels; ours are alike at any size."""
    stats = json.loads((goldens.root / goldens.manifest["mask_stats"]).read_text())
    drawn = KINDS | {"mixed": lambda size, rng: hole(size, rng, whole=0)}
    chance = np.random.default_rng(0)
    for resolution, recorded in stats["resolutions"].items():
        size = tuple(map(int, resolution.split("x")))
        # Strokes and boxes are absolute in the original.
        for kind in recorded.keys() & drawn if size == (512, 512) else recorded.keys() & {"outpaint"}:
            for ours in (size, (128, 128)):
                covered = np.array([drawn[kind](ours, chance).mean() for _ in range(DRAWS)])
                # Both means are of so many draws only.
                error = covered.std() * (1 / DRAWS + 1 / recorded[kind]["n"]) ** 0.5
                allowed = max(ALLOWED["mask_coverage_mean_abs"], 3 * error)
                assert covered.mean() == pytest.approx(recorded[kind]["mean_coverage"], abs=allowed), (kind, ours)
