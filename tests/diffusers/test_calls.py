"""The contract of every painter: `painter(prompt, image=None, mask=None, seed=…, on_step=…) -> image`."""

import numpy as np
import pytest
from PIL import Image

from llmga.diffusers.pipelines import PIPELINE_CLASSES, load_pipeline
from llmga.errors import UserError

ROWS = {"text-to-image": {}, "inpainting": {"strength": 1.0}, "editing": {"source_prompt": "a dog", "ratio": 1.0}}


@pytest.fixture(scope="module", params=PIPELINE_CLASSES)
def painter(goldens, request):
    return load_pipeline(goldens.folder("sdxl"), task=request.param, device="cpu")


@pytest.fixture
def call(painter):
    """The painter as its task calls it: of a picture and a mask where it takes them, in two steps."""
    task = painter.family.task
    picture, mask = Image.new("RGB", (64, 64), (200, 40, 40)), Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    usual = {"image": picture, "mask": mask} if task != "text-to-image" else {}
    return lambda prompt="a cat", **options: painter(prompt, **usual | ROWS[task] | {"steps": 2} | options)


@pytest.mark.parametrize(
    ("unknown", "meant"),
    [("num_inference_steps", "steps"), ("stregth", "strength"), ("negative", "negative_prompt"), ("sead", "seed")],
)
def test_an_unknown_keyword_is_a_type_error_before_anything_is_painted(call, unknown, meant):
    seen = []
    with pytest.raises(TypeError, match=f"takes no keyword '{unknown}', did you mean '{meant}'"):
        call(**{unknown: 2}, on_step=lambda *step: seen.append(step))
    assert not seen


def test_a_picture_is_changed_or_refused_but_never_passed_over(painter):
    picture = Image.new("RGB", (64, 64))
    if painter.family.task == "text-to-image":
        for given in (picture, "nope.jpg"):
            with pytest.raises(UserError, match='takes no picture; load it with task="editing"'):
                painter("a cat", given, steps=2)
    else:
        with pytest.raises(UserError):
            painter("a cat", "nope.jpg", steps=2)


def test_what_painters_of_other_tasks_are_told_is_passed_over(call):
    others = {name: value for row in ROWS.values() for name, value in row.items()} | {"skip": 0.5, "area": "picture"}
    assert call(**others).tobytes() == call(**{"skip": 0.5}).tobytes()


def test_numpy_values_paint_what_pythons_do(call, painter):
    given = {"seed": 3, "steps": 3, "guidance_scale": 2.5, "size": (64, 48)}
    as_numpy = {
        "seed": np.int64(3),
        "steps": np.int32(3),
        "guidance_scale": np.float32(2.5),
        "size": np.array([64, 48]),
    }
    assert call(**as_numpy).tobytes() == call(**given).tobytes()
    assert call("", seed=np.uint64(2**63 - 1)).size == (64, 64)  # the empty prompt is one
    described = painter.describe(steps=np.int32(3), guidance_scale=np.float64(2.5))
    assert type(described["steps"]) is int and type(described["guidance_scale"]) is float


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": None}, "the prompt is of type NoneType"),
        ({"prompt": ["a cat", "a dog"]}, "the prompt is of type list.*several calls"),
        ({"prompt": b"a cat"}, "the prompt is of type bytes"),
        ({"negative_prompt": ["ugly"]}, "the negative prompt is of type list"),
        ({"seed": -1}, "seed -1 is out of range"),
        ({"seed": 2**63}, f"seed {2**63} is out of range"),
        ({"seed": np.int64(-5)}, "seed -5 is out of range"),
        ({"seed": 1.5}, "seed 1.5 is no whole number"),
        ({"seed": None}, "seed None is no whole number"),
        ({"steps": 2.5}, "steps 2.5 is no whole number"),
        ({"steps": "2"}, "steps '2' is no whole number"),
        ({"guidance_scale": "7"}, "guidance scale '7' is no number"),
        ({"size": 64}, "size 64 is no pair"),
        ({"size": "64x64"}, "size '64x64' is no pair"),
    ],
)
def test_what_is_no_value_of_its_kind_is_one_sentence(call, options, message):
    with pytest.raises(UserError, match=message):
        call(**options)


@pytest.mark.parametrize("task", [task for task in PIPELINE_CLASSES if task != "text-to-image"])
def test_a_picture_comes_in_any_usual_form(goldens, task, tmp_path):
    painter = load_pipeline(goldens.folder("sd15"), task=task, device="cpu")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    mask = Image.new("L", picture.size)
    mask.paste(255, (0, 0, 32, 48))
    picture.save(tmp_path / "picture.png"), mask.save(tmp_path / "mask.png")
    forms = [
        (picture, mask),
        (tmp_path / "picture.png", str(tmp_path / "mask.png")),
        (np.asarray(picture), np.asarray(mask)),
        (np.asarray(picture) / 255, np.asarray(mask) > 0),
    ]
    painted = {painter("a cat", *form, steps=2, **ROWS[task]).tobytes() for form in forms}
    assert len(painted) == 1 and picture.tobytes() not in painted
    clear = np.dstack([np.asarray(picture), np.full((48, 64), 255, np.uint8)])
    assert painter("a cat", clear, mask, steps=2, **ROWS[task]).mode == "RGBA"
    for wrong in ([picture], np.zeros((2, 2, 7)), 5):
        with pytest.raises(UserError, match="the picture is"):
            painter("a cat", wrong, mask, steps=2, **ROWS[task])
        with pytest.raises(UserError, match="the mask is"):
            painter("a cat", picture, wrong, steps=2, **ROWS[task])


@pytest.mark.parametrize("task", ["text-to-image", "inpainting"])
def test_a_batch_of_none_is_none(goldens, task):
    painter = load_pipeline(goldens.folder("sd15"), task=task, device="cpu")
    assert painter.batch("a cat", []) == painter.batch("a cat", np.array([], int)) == []
    with pytest.raises(UserError, match="the seeds are 5"):
        painter.batch("a cat", 5)
    with pytest.raises(TypeError, match="'steps'"):
        painter.batch("a cat", [5], step=3)
    first, second = painter.batch("a cat", np.array([5, 6]), steps=2)
    assert first.tobytes() != second.tobytes()
