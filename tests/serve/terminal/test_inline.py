"""Pictures as escapes, read back by small decoders of the three protocols."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from llmga.errors import UserError
from llmga.serve.terminal.inline import PROTOCOLS, SHOWN_SIDE, drawer, protocol_of, reduced


def scene(size=(37, 23)):
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    pixels[:, : size[0] // 2] = (255, 0, 0)
    pixels[5:14, 10:30] = (0, 102, 255)
    return Image.fromarray(pixels)


def from_kitty(text):
    chunks = re.findall(r"\033_G([^;]*);([^\033]*)\033\\", text)
    assert "a=T,f=100" in chunks[0][0] and [head[-3:] for head, _ in chunks] == ["m=1"] * (len(chunks) - 1) + ["m=0"]
    assert all(len(data) <= 4096 for _, data in chunks)
    return Image.open(io.BytesIO(base64.b64decode("".join(data for _, data in chunks))))


def from_iterm2(text):
    return Image.open(io.BytesIO(base64.b64decode(re.fullmatch(r"\033\]1337;File=inline=1;.*:(.*)\a\n", text)[1])))


def from_sixel(text):
    body = re.fullmatch(r'\033Pq"1;1;(\d+);(\d+)(.*)\033\\\n', text, re.DOTALL)
    pixels = np.zeros((int(body[2]) + 6, int(body[1]), 3))
    colours, x, y, colour = {}, 0, 0, None
    for define, use, run, piece, mark in re.findall(r"(#\d+;2;[\d;]+)|(#\d+)|!(\d+)([?-~])|([$-])", body[3]):
        if define:
            number, _, *rgb = map(int, define[1:].split(";"))
            colours[number] = np.array(rgb) * 2.55
        elif use:
            colour = colours[int(use[1:])]
        elif mark:
            x, y = 0, y + 6 * (mark == "-")
        else:
            for row in range(6):
                if (ord(piece) - 63) >> row & 1:
                    pixels[y + row, x : x + int(run)] = colour
            x += int(run)
    return Image.fromarray(pixels[: int(body[2])].round().astype(np.uint8))


READ = {"kitty": from_kitty, "iterm2": from_iterm2, "sixel": from_sixel}
HALF = re.compile(r"\033\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m\u2580")
HALF_256 = re.compile(r"\033\[38;5;(\d+);48;5;(\d+)m\u2580")


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("picture", [scene(), scene((200, 150)), Image.new("RGB", (1, 1), "red")])
def test_what_is_drawn_is_the_picture(name, picture):
    back = READ[name](PROTOCOLS[name](picture)).convert("RGB")
    assert back.size == picture.size
    assert np.abs(np.asarray(back).astype(int) - np.asarray(picture)).max() <= (3 if name == "sixel" else 0)


def test_half_blocks_show_two_pixels_in_each_letter():
    picture = Image.fromarray(np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3)
    lines = PROTOCOLS["blocks"](picture).splitlines()
    rows = [[pair for half in HALF.findall(line) for pair in [tuple(map(int, half))]] for line in lines]
    back = np.array([[row[x][part : part + 3] for x in range(6)] for row in rows for part in (0, 3)])
    assert (back == np.asarray(picture)).all() and all(line.endswith("\033[0m") for line in lines)


def test_half_blocks_of_256_colours_take_the_nearest_of_the_cube():
    picture = Image.new("RGB", (3, 2), (250, 100, 0))
    assert set(HALF_256.findall(PROTOCOLS["blocks-256"](picture))) == {("202", "202")}  # (255, 95, 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (500, 1), (301, 299)])
def test_half_blocks_fit_the_screen(size, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30"), monkeypatch.setenv("LINES", "12")
    lines = PROTOCOLS["blocks"](Image.new("RGB", size)).splitlines()
    assert 1 <= len(lines) <= 8 and all(1 <= len(HALF.findall(line)) <= 29 for line in lines)


def test_a_large_picture_takes_several_escapes_of_kitty():
    noise = Image.effect_noise((128, 128), 90).convert("RGB")
    assert from_kitty(PROTOCOLS["kitty"](noise)).tobytes() == noise.tobytes()


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"TERM": "xterm-256color"}, "blocks-256"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "blocks"),
        ({"TERM": "xterm-kitty", "NO_COLOR": "1"}, "none"),
        ({"TERM": "dumb", "COLORTERM": "truecolor"}, "none"),
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm2"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "xterm-sixel"}, "sixel"),
        ({"TERM": "tmux-256color", "TERM_PROGRAM": "iTerm.app"}, "blocks-256"),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/x"}, "blocks-256"),
        ({}, "none"),
    ],
)
def test_the_terminal_is_known_by_its_environment(environment, name):
    assert protocol_of(environment) == name
    assert drawer("auto", environment, False) is None
    assert (drawer("auto", environment, True) is None) == (name == "none")


def test_a_protocol_can_be_named():
    assert drawer("sixel", {}, False) is PROTOCOLS["sixel"] and drawer("none", {"TERM": "foot"}, True) is None
    with pytest.raises(UserError, match="did you mean 'kitty'"):
        drawer("kity", {}, True)


def test_what_is_shown_is_small():
    assert max(reduced(Image.new("RGBA", (2000, 1000))).size) == SHOWN_SIDE
