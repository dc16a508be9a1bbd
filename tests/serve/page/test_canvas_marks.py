"""What the canvas remembers, by the script that the browser runs."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from llmga.diffusers.canvas import Canvas
from llmga.serve.page import mask_editor


def engine():
    """What runs JavaScript: of this machine, or what playwright brings along."""
    try:
        import playwright
    except ImportError:
        return shutil.which("node")
    brought = Path(playwright.__file__).parent / "driver/node"
    return str(brought) if brought.is_file() else shutil.which("node")


pytestmark = pytest.mark.skipif(engine() is None, reason="nothing here runs JavaScript")
SCRIPTS = "\n".join((mask_editor.HERE / name).read_text("utf-8") for name in mask_editor.SCRIPTS[:2])
STORY = """
const growth = (left, right = 0) => ({ kind: "growth", growth: { ...NO_GROWTH, left, right } });
const stroke = { kind: "stroke", width: 3, points: [{ x: 1, y: 1 }] };
const told = (history) => [history.marks.length, history.growth.left];
const story = new History(), seen = [];
for (const step of [stroke, growth(25), stroke, growth(50), { kind: "wipe" }]) story.add(step);
seen.push(told(story));
for (const _ of [1, 2, 3, 4, 5, 6]) (story.undo(), seen.push(told(story)));
for (const _ of [1, 2, 3]) (story.redo(), seen.push(told(story)));
story.add(growth(5));
story.redo();
seen.push(told(story));
const view = new View();
view.by(4, 50, -20);
const zoomed = view.place({ width: 200, height: 100 }, frameOf(100, 100, false, NO_GROWTH));
const places = [view.zoom, (150 - zoomed.left) / zoomed.scale, (30 - zoomed.top) / zoomed.scale];
view.by(1e-9);
console.log(JSON.stringify({
  seen, places, fitted: [view.zoom, view.x, view.y],
  aspects: ASPECTS.map(([across, down, width, height]) => grownTo(across / down, width, height)),
  moved: [moved(growth(20, 20).growth, 5, 9), moved(growth(20, 20).growth, -90, 0)],
  sides: [withSide(NO_GROWTH, "top", 900).top, withSide(NO_GROWTH, "top", -3).top],
  grows: [grows(NO_GROWTH), grows(growth(1).growth)],
  frame: [frameOf(100, 50, false, NO_GROWTH), frameOf(100, 50, true, growth(100).growth)],
}));
"""  # fmt: skip
SHAPES = [(1, 1, 512, 768), (16, 9, 512, 512), (9, 16, 512, 512), (4, 3, 640, 480), (3, 4, 56, 72)]


@pytest.fixture(scope="module")
def told():
    program = f"const ASPECTS = {json.dumps(SHAPES)};\n{SCRIPTS}\n{STORY}"
    done = subprocess.run([engine(), "-e", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_undo_takes_everything_back_growth_and_wiping_too_and_redo_does_it_again(told):
    back = [[0, 0], [2, 50], [2, 25], [1, 25], [1, 0], [0, 0], [0, 0]]
    again = [[1, 0], [1, 25], [2, 25]]
    assert told["seen"] == [*back, *again, [2, 5]]  # whoever does something else has nothing to do again


@pytest.mark.parametrize("place", range(len(SHAPES)))
def test_a_picture_grows_to_an_aspect_around_its_middle(told, place):
    across, down, width, height = SHAPES[place]
    growth = told["aspects"][place]
    assert growth["left"] == growth["right"] and growth["top"] == growth["bottom"] and min(growth.values()) == 0
    value = mask_editor.EditorValue.read(json.dumps({"picture": 0, **growth}))
    size = Canvas.parse(value.outpaint, (width, height)).size if value.outpaint else (width, height)
    assert abs(size[0] / size[1] - across / down) < 0.02


def test_a_picture_is_moved_inside_what_it_grows_to_but_not_out_of_it(told):
    inside, at_the_edge = told["moved"]
    assert (inside["left"], inside["right"], inside["top"]) == (25, 15, 0)
    assert (at_the_edge["left"], at_the_edge["right"]) == (0, 40)


def test_a_side_grows_within_what_the_server_takes(told):
    assert told["sides"] == [mask_editor.MOST, 0]
    assert told["grows"] == [False, True]


def test_what_is_under_the_pointer_stays_there_when_it_comes_nearer(told):
    zoom, across, down = told["places"]
    assert zoom == 4 and abs(across - 100) < 1e-6 and abs(down - 30) < 1e-6
    assert told["fitted"] == [1, 0, 0]


def test_there_is_room_to_grow_into_only_while_something_grows(told):
    whole, growing = told["frame"]
    assert whole == {"x": 0, "y": 0, "width": 100, "height": 50}
    assert growing["x"] <= -100 and growing["width"] >= 300 and growing["y"] == -15
