"""A picture's file is enough to make it again, byte by byte; on the bundled models."""

import copy
import json
import re
import socket
from dataclasses import replace

import huggingface_hub
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionXLPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image

from llmga.assistant.events import Failed, PictureReady
from llmga.assistant.image_files import FORMATS, encoded, read
from llmga.assistant.loading import BUNDLED_PIPELINE, Models, bundled
from llmga.assistant.record import ModelMark, fingerprint
from llmga.assistant.session import Turn
from llmga.assistant.session_file import load_session, save_session
from llmga.diffrir.checkpoints import save_model
from llmga.diffrir.model import MODELS, DiffRIRConfig
from llmga.diffusers import checkpoints
from llmga.errors import UserError
from llmga.images import open_image
from llmga.serve import replay, reproduction
from llmga.serve.args import build_parser
from llmga.serve.demo import SCENE
from llmga.serve.parsed_args import model_spec, settings

REQUEST = "a big red circle on a blue background"


@pytest.fixture(scope="module")
def models():
    args = build_parser("cli", "a test").parse_args(["--seed", "7", "--picture", "always", "--steps", "4"])
    return Models.load(model_spec(args).checked()), settings(args)


@pytest.fixture(scope="module")
def made(models, tmp_path_factory):
    """A folder that is a session, with a picture of every task: from words, edited, filled, grown, painted again."""
    loaded, chosen = models
    folder = tmp_path_factory.mktemp("made")
    assistant = loaded.assistant(chosen)
    scene = open_image(bundled(SCENE, "--image-file"))
    mask = Image.new("L", scene.size)
    mask.paste(255, (0, 0, scene.width // 2, scene.height))

    def paint(name, events):
        events = list(events)
        assert [event for event in events if isinstance(event, Failed)] == []
        ready = next(event for event in events if isinstance(event, PictureReady))
        (folder / f"{name}.png").write_bytes(encoded(ready.image, ready.record))
        return ready

    words = paint("words", assistant.stream(Turn(REQUEST)))
    paint("again", assistant.repaint(prompt="a small green square on a white background"))
    paint("filled", assistant.stream(Turn("fill it", (scene.convert("RGBA"),), mask)))
    paint("grown", assistant.stream(Turn("wider", (scene,), outpaint="left=50%", fill="mirror")))
    assistant.settings = replace(assistant.settings, edit={"skip": 0.4, "ratio": 1.0}, size=(64, 64))
    paint("edited", assistant.stream(Turn("make it green", (words.image,))))
    save_session(folder, assistant.session, assistant.models)
    for kind in FORMATS:
        (folder / f"kind.{kind}").write_bytes(encoded(words.image, words.record, kind))
    (folder / "small.jpg").write_bytes(encoded(words.image, words.record, "jpeg", quality=40))
    return folder


NAMES = ["words.png", "again.png", "filled.png", "grown.png", "edited.png", "small.jpg"]


@pytest.mark.parametrize("name", [*NAMES, *(f"kind.{kind}" for kind in FORMATS)])
def test_the_same_bytes_come_again(made, tmp_path, name, capsys):
    assert replay.main([str(made / name), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out").read_bytes() == (made / name).read_bytes()
    assert "the same bytes" in capsys.readouterr().out


def test_the_tasks_are_the_ones_that_were_meant(made):
    tasks = [read(made / name).task for name in NAMES[:5]]
    assert tasks == ["text-to-image", "text-to-image", "inpainting", "outpainting", "editing"]


def test_a_record_names_the_model_that_painted(made):
    fills = {"filled.png": True, "grown.png": True, "words.png": False, "edited.png": False}
    for name, filled in fills.items():
        record = read(made / name)
        assert record.model("painter").name == ("llmga-toy-sdxl-inpainting" if filled else "llmga-toy-sdxl-t2i"), name
        assert record.model("inpainter") is None


def test_parent_and_mask_may_be_given_as_files(made, tmp_path):
    saved = load_session(made)
    region = saved.session.exchanges[1].region
    region.parent.save(tmp_path / "parent.png"), region.mask.save(tmp_path / "mask.png")
    (tmp_path / "filled.png").write_bytes((made / "filled.png").read_bytes())
    given = ["--image-file", str(tmp_path / "parent.png"), "--mask-file", str(tmp_path / "mask.png")]
    assert replay.main([str(tmp_path / "filled.png"), *given]) == 0
    assert (tmp_path / "filled-again.png").read_bytes() == (made / "filled.png").read_bytes()


def test_without_the_parent_it_is_one_sentence(made, tmp_path, capsys):
    (tmp_path / "filled.png").write_bytes((made / "filled.png").read_bytes())
    assert replay.main([str(tmp_path / "filled.png")]) == 2
    assert "the picture's parent" in capsys.readouterr().err
    Image.new("RGB", (8, 8)).save(tmp_path / "other.png")
    assert replay.main([str(tmp_path / "filled.png"), "--image-file", str(tmp_path / "other.png")]) == 2


def test_other_weights_are_refused(made, tmp_path, capsys):
    with Image.open(made / "words.png") as image:
        told = json.loads(image.text["llmga"])
    told["models"][1]["sha256"] = "0" * 64
    changed = reproduction.Record.from_json(json.dumps(told))
    (tmp_path / "a.png").write_bytes(encoded(image, changed))
    assert replay.main([str(tmp_path / "a.png")]) == 2
    assert "other weights" in capsys.readouterr().err and not (tmp_path / "a-again.png").exists()


def test_a_file_without_a_record_is_one_sentence(tmp_path, capsys):
    assert replay.main([str(tmp_path / "missing.png")]) == 2
    assert capsys.readouterr().err.endswith("missing.png' does not exist; check the path.\n")
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    assert replay.main([str(tmp_path / "plain.png")]) == 2
    assert capsys.readouterr().err.startswith("error: no record")


@pytest.mark.parametrize("place", ["session", "session.zip"])
def test_a_session_of_the_bundled_models_goes_on_with_the_same_picture(models, tmp_path, place):
    loaded, chosen = models
    unbroken = loaded.assistant(chosen)
    list(unbroken.stream(Turn(REQUEST)))
    save_session(tmp_path / place, unbroken.session, unbroken.models)
    other = loaded.assistant(chosen)
    other.session = load_session(tmp_path / place).session
    files = []
    for assistant in (unbroken, other):
        events = list(assistant.stream(Turn("make it green")))
        ready = next(event for event in events if isinstance(event, PictureReady))
        files.append(encoded(ready.image, ready.record))
    assert files[0] == files[1]


def flags_of(**given):
    return [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def one_picture(argv, path, **turn):
    """A picture by models that are loaded anew with these flags, in a file and with its session beside it."""
    args = build_parser("cli", "a test").parse_args(["--seed", "7", "--picture", "always", "--steps", "3", *argv])
    assistant = Models.load(model_spec(args).checked()).assistant(settings(args))
    events = list(assistant.stream(Turn(REQUEST, **turn)))
    ready = next(event for event in events if isinstance(event, PictureReady))
    path.write_bytes(encoded(ready.image, ready.record))
    save_session(path.parent, assistant.session, assistant.models)
    return ready.record


def test_added_weights_and_guides_are_asked_for(models, tmp_path, capsys):
    unet = models[0].pipeline.pipe.unet
    lines = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16, 32, 96))  # its VAE divides by 4
    lines.save_pretrained(tmp_path / "lines")
    Image.linear_gradient("L").save(tmp_path / "lines.png")
    adapted = copy.deepcopy(unet)
    adapted.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    StableDiffusionXLPipeline.save_lora_weights(tmp_path / "low", unet_lora_layers=get_peft_model_state_dict(adapted))
    guides = {"controlnet": tmp_path / "lines", "controlnet_image": tmp_path / "lines.png", "controlnet_scale": 0.5}
    given = flags_of(lora=f"{tmp_path / 'low'}:0.5", **guides)
    record = one_picture(given, tmp_path / "a.png")
    assert [entry["kind"] for entry in record.painter["added"]] == ["lora", "controlnet"]
    assert replay.main([str(tmp_path / "a.png"), *given]) == 0
    assert replay.main([str(tmp_path / "a.png")]) == 2
    assert "with --lora, --controlnet or --ip-adapter" in capsys.readouterr().err


def test_a_picture_that_guided_in_the_session_is_found_again(models, tmp_path, capsys):
    unet = models[0].pipeline.pipe.unet
    lines = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16, 32, 96))
    torch.nn.init.normal_(lines.controlnet_mid_block.weight)
    torch.nn.init.normal_(lines.controlnet_cond_embedding.conv_out.weight)
    lines.save_pretrained(tmp_path / "lines")
    picture = tmp_path / "photo.png"
    Image.radial_gradient("L").save(picture)
    loaded = flags_of(controlnet=f"softedge={tmp_path / 'lines'}")
    given = [*loaded, *flags_of(control="softedge:0.8:0-0.7", control_image=picture)]
    record = one_picture(given, tmp_path / "a.png")
    assert (record.control, [entry["kind"] for entry in record.painter["added"]]) == (
        "softedge:0.8:0-0.7",
        ["controlnet"],
    )
    assert record.painter["added"][0]["weight"] == 0.8
    assert replay.main([str(tmp_path / "a.png"), *loaded]) == 0  # with the session beside it
    alone = tmp_path / "alone/a.png"
    alone.parent.mkdir()
    alone.write_bytes((tmp_path / "a.png").read_bytes())
    assert replay.main([str(alone), *loaded, "--control-image", str(picture)]) == 0
    assert replay.main([str(alone), *loaded]) == 2
    assert "the picture's control picture" in capsys.readouterr().err
    assert replay.main([str(tmp_path / "a.png")]) == 2
    assert "nothing that is loaded reads the control 'softedge'" in capsys.readouterr().err


def test_a_denoiser_in_fewer_bits_is_told_and_replayed(models, tmp_path, capsys):
    record = one_picture(flags_of(painter_quant="fp8-storage"), tmp_path / "a.png")
    assert record.painter["quant"] == "fp8-storage"
    assert replay.main([str(tmp_path / "a.png")]) == 0
    of_a_file = replace(record, painter={**record.painter, "quant": "gguf"})
    (tmp_path / "b.png").write_bytes(encoded(Image.new("RGB", (8, 8)), of_a_file))
    assert replay.main([str(tmp_path / "b.png")]) == 2
    assert "denoiser was a .gguf file; give it with --painter-quant" in capsys.readouterr().err


def test_a_guiding_picture_without_weights_is_told(tmp_path):
    given = ["--controlnet", str(tmp_path), "--controlnet-image", "a.png", "--controlnet-image", "b.png"]
    one, other = model_spec(build_parser("cli", "a test").parse_args(given)).guides
    assert (one.path, one.image, other.path, other.scale) == (str(tmp_path), "a.png", None, 1.0)
    with pytest.raises(UserError, match="--controlnet-image 'b.png' is one more than there are --controlnet"):
        other.use(None)


@pytest.fixture
def networks(tmp_path):
    """Tiny DiffRIR networks of random weights: the folders of scales 1 and 2."""
    tiny = dict(dim=8, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1, n_encoder_res=1)
    folders = []
    for scale in (1, 2):
        torch.manual_seed(scale)
        folders.append(save_model(MODELS[2](DiffRIRConfig(scale=scale, **tiny)).eval(), tmp_path / f"net-x{scale}"))
    return [str(folder) for folder in folders]


def test_restorer_and_upscaler_are_told_and_replayed(networks, tmp_path, capsys):
    scene = open_image(bundled(SCENE, "--image-file"))
    mask = Image.new("L", scene.size)
    mask.paste(255, (0, 0, scene.width // 2, scene.height))
    restoring = flags_of(restorer="diffrir-x1", restorer_path=networks[0])
    enlarging = flags_of(upscale=2, upscaler_path=networks[1])
    record = one_picture([*restoring, *enlarging], tmp_path / "a.png", images=(scene,), mask=mask)
    assert (record.restorer, record.upscaler) == ("diffrir-x1", "diffrir-x2")
    assert record.size == (scene.width * 2, scene.height * 2)
    assert {"restorer", "upscaler"} <= {mark.role for mark in record.models}
    given = [str(tmp_path / "a.png"), *flags_of(upscaler_path=networks[1])]
    assert replay.main([*given, *flags_of(restorer_path=networks[0])]) == 0
    assert replay.main([*given, *flags_of(restorer_path=networks[1])]) == 2
    assert "the restorer" in capsys.readouterr().err


def test_a_restorer_that_was_chosen_in_the_session_is_told_and_replayed(models, tmp_path):
    loaded, chosen = models
    assistant = loaded.assistant(chosen)
    assistant.settings = replace(assistant.settings, restorer="diffrir-x1")
    scene = open_image(bundled(SCENE, "--image-file"))
    mask = Image.new("L", scene.size)
    mask.paste(255, (0, 0, scene.width // 2, scene.height))
    ready = next(
        event for event in assistant.stream(Turn("fill it", (scene,), mask)) if isinstance(event, PictureReady)
    )
    assert ready.record.model("restorer").name == "llmga-toy-diffrir-x1"
    (tmp_path / "a.png").write_bytes(encoded(ready.image, ready.record))
    save_session(tmp_path, assistant.session)
    assert replay.main([str(tmp_path / "a.png")]) == 0


def test_a_restorer_that_enlarges_works_after_the_usual_one(networks, tmp_path):
    record = one_picture(flags_of(restorer="diffrir-x2", restorer_path=networks[1]), tmp_path / "a.png")
    assert (record.restorer, record.upscaler, record.size) == (None, "diffrir-x2", (128, 128))


def test_weights_that_enlarge_are_no_restorer_of_the_same_size(networks):
    args = build_parser("cli", "a test").parse_args(flags_of(restorer_path=networks[1]))
    spec = model_spec(args).checked()
    with pytest.raises(UserError, match="--upscale 2 --upscaler-path"):
        Models.load(spec)
    args = build_parser("cli", "a test").parse_args(flags_of(restorer="diffrir-x2", upscale=4))
    with pytest.raises(UserError, match="disagree"):
        model_spec(args).checked()


@pytest.fixture
def strangers(tmp_path, monkeypatch):
    """`strangers(…)` is a stranger's picture of such a record; whoever asks the hub or its token fails the test."""
    monkeypatch.chdir(tmp_path)
    for place, name in ((checkpoints, "cached"), (checkpoints, "fetch_pipeline"), (huggingface_hub, "get_token")):
        monkeypatch.setattr(place, name, lambda *given, **more: pytest.fail("the hub was asked"))
    monkeypatch.setattr(socket.socket, "connect", lambda *given: pytest.fail("somebody was called"))

    def picture(**told):
        record = reproduction.Record(**{"prompt": "a circle", "request": "a circle", "seed": 7} | told)
        (tmp_path / "a.png").write_bytes(encoded(Image.new("RGB", (8, 8)), record))
        return str(tmp_path / "a.png")

    return picture


DIGEST = "0" * 64
NO_NAMES = (
    "attacker/evil-sd",
    "../outside",
    "/etc",
    "..",
    ".",
    "",
    "a\0b",
    "https://a.b/c",
    r"..\outside",
    "no-such-model",
)


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_recorded_name_is_looked_for_on_the_shelf_and_nowhere_else(strangers, tmp_path, capsys, name):
    for place in ("outside", "no-such-model", "checkpoints/outside", "attacker/evil-sd"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "model_index.json").write_text("{}")
    (tmp_path / "checkpoints" / "Inference").mkdir()
    assert replay.main([strangers(models=(ModelMark("painter", name, DIGEST),))]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: the painter {name!r} is in none of checkpoints/Inference, checkpoints/Training;")
    assert told.endswith("give it with --sdmodel_id.\n")


def test_weights_that_a_record_does_not_tell_are_asked_for(strangers, capsys):
    assert replay.main([strangers(models=(ModelMark("painter", "llmga-toy-sdxl-t2i", None),))]) == 2
    assert "does not say which weights the painter 'llmga-toy-sdxl-t2i' had" in capsys.readouterr().err
    assert replay.main([strangers()]) == 2
    assert "the record names no painter; give it with --sdmodel_id." in capsys.readouterr().err


def test_a_restorer_that_a_record_only_names_is_asked_for(models, networks, tmp_path, capsys):
    scene = open_image(bundled(SCENE, "--image-file"))
    mask = Image.new("L", scene.size)
    mask.paste(255, (0, 0, scene.width // 2, scene.height))
    given = flags_of(restorer="diffrir-x1", restorer_path=networks[0])
    record = one_picture(given, tmp_path / "a.png", images=(scene,), mask=mask)
    known = [replace(mark, sha256=None) if mark.role == "restorer" else mark for mark in record.models]
    with Image.open(tmp_path / "a.png") as image:
        (tmp_path / "a.png").write_bytes(encoded(image, replace(record, models=tuple(known))))
    assert replay.main([str(tmp_path / "a.png")]) == 2
    assert "which weights the restorer 'net-x1' had" in capsys.readouterr().err
    assert replay.main([str(tmp_path / "a.png"), "--restorer-path", networks[0]]) == 0
    assert "were not checked" in capsys.readouterr().err


def test_a_painter_that_is_given_is_used_unchecked_and_that_is_told(made, tmp_path, capsys):
    record = read(made / "words.png")
    with Image.open(made / "words.png") as image:
        (tmp_path / "a.png").write_bytes(encoded(image, replace(record, models=())))
    painter = str(bundled(BUNDLED_PIPELINE, "--sdmodel_id"))
    assert replay.main([str(tmp_path / "a.png"), "--sdmodel_id", painter]) == 0
    assert f"the weights of {painter!r} were not checked" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"steps": 10**6}, "steps is 1000000; allowed is 1 to 1000"),
        ({"guidance_scale": -1}, "guidance_scale is -1"),
        ({"work_size": (100_000, 100_000)}, r"work_size\[0\] is 100000"),
        ({"changes": {"strength": 7}}, "changes.strength is 7"),
        ({"changes": {"area": "x"}}, "changes.area is 'x'"),
        (
            {"painter": {"added": [{"kind": "lora", "name": "x", "sha256": "../x", "weight": 1, "picture": None}]}},
            "hexa",
        ),
        ({"painter": {"family": "x"}}, "unknown generator 'x'"),
        ({"painter": {"sampler": "x"}}, "unknown sampler 'x'"),
        ({"painter": {"dtype": "float8"}}, "'float8' is unknown"),
        ({"restorer": "../x"}, "unknown restorer '../x'"),
        ({"upscaler": "x"}, "unknown restorer 'x'"),
        ({"fill": "x"}, "unknown fill 'x'"),
        ({"prompt": "x" * 1_000_000}, "prompt is longer"),
    ],
)
def test_recorded_values_are_checked_before_anything_is_loaded(strangers, monkeypatch, capsys, told, words):
    monkeypatch.setattr(reproduction, "load_pipeline", lambda *given, **more: pytest.fail("a painter was loaded"))
    assert replay.main([strangers(**told)]) == 2
    assert re.search(words, capsys.readouterr().err)


def test_a_painter_of_another_family_is_not_loaded(strangers, monkeypatch, capsys):
    monkeypatch.setattr(reproduction, "load_pipeline", lambda *given, **more: pytest.fail("a painter was loaded"))
    painter = bundled(BUNDLED_PIPELINE, "--sdmodel_id")
    mark = ModelMark("painter", painter.name, fingerprint(painter))
    assert replay.main([strangers(models=(mark,), painter={"family": "sd15"})]) == 2
    assert "painted by a sd15 model" in capsys.readouterr().err


def test_a_record_that_is_nested_without_end_is_one_sentence(strangers, monkeypatch, capsys):
    monkeypatch.setattr(reproduction.Record, "to_json", lambda record: "[" * 100_000 + "]" * 100_000)
    assert replay.main([strangers()]) == 2
    assert "nested too deeply" in capsys.readouterr().err
