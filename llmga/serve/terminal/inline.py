"""Pictures inside a terminal that can show them."""

import base64
import io
import shutil
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from PIL import Image

from llmga.registry import Registry

SHOWN_SIDE = 384  # pixels: a picture should not scroll its conversation away
CHUNK = 4096  # characters that one escape of kitty's protocol carries
COLOURS = 255  # that a sixel picture has; 255, for the decoders that keep one for the background
BAND = 6  # rows of pixels in one row of sixels
BLOCKS = (56, 22)  # columns and lines of a picture made of half blocks, at most
CUBE = np.array([0, 95, 135, 175, 215, 255])  # levels of the 6x6x6 colours that terminals of 256 colours have

Draw = Callable[[Image.Image], str]


def _kitty(image: Image.Image) -> str:
    """https://sw.kovidgoyal.net/kitty/graphics-protocol: a PNG in base64, cut into escapes."""
    data = _png(image)
    chunks = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
    heads = ["a=T,f=100,"] + [""] * (len(chunks) - 1)
    more = [1] * (len(chunks) - 1) + [0]
    return "".join(f"\033_G{h}m={m};{chunk}\033\\" for h, m, chunk in zip(heads, more, chunks, strict=True)) + "\n"


def _iterm2(image: Image.Image) -> str:
    """https://iterm2.com/documentation-images.html: a file in one escape."""
    return f"\033]1337;File=inline=1;width={image.width}px;height={image.height}px:{_png(image)}\a\n"


def _sixel(image: Image.Image) -> str:
    """DEC's graphics: six rows at a time, for each colour which of them have it, run lengths counted."""
    indexed = image.quantize(COLOURS)
    percent = np.rint(np.asarray((indexed.getpalette() or [])[: 3 * COLOURS]).reshape(-1, 3) / 2.55).astype(int)
    palette = "".join(f"#{number};2;{r};{g};{b}" for number, (r, g, b) in enumerate(percent))
    pixels = np.asarray(indexed)
    bands = ("$".join(_band(pixels[top : top + BAND])) for top in range(0, image.height, BAND))
    return f'\033Pq"1;1;{image.width};{image.height}{palette}' + "-".join(bands) + "\033\\\n"


def _band(rows: np.ndarray) -> Iterator[str]:
    """One line of sixels for each colour in up to six rows (rows, width) of colour numbers."""
    for colour in np.unique(rows):
        bits = ((rows == colour) << np.arange(len(rows))[:, None]).sum(0)
        edges = np.flatnonzero(np.diff(bits)) + 1
        starts, ends = [0, *edges], [*edges, len(bits)]
        runs = (f"!{end - start}{chr(63 + bits[start])}" for start, end in zip(starts, ends, strict=True))
        yield f"#{colour}" + "".join(runs)


def _blocks(image: Image.Image) -> str:
    """Two pixels in each letter, as its colour and the one behind it, in 24 bits."""
    return _halves(image, np.asarray, "2;{};{};{}")


def _blocks_256(image: Image.Image) -> str:
    """The same in the 216 colours of the cube."""

    def numbered(small: Image.Image) -> np.ndarray:
        red, green, blue = np.abs(np.asarray(small)[..., None] - CUBE).argmin(-1).transpose(2, 0, 1)
        return (16 + 36 * red + 6 * green + blue)[..., None]

    return _halves(image, numbered, "5;{}")


def _halves(image: Image.Image, colours: Callable[[Image.Image], np.ndarray], form: str) -> str:
    """Lines of half blocks.

    Args:
        colours: of a picture, (height, width, numbers of a colour).
        form: how the numbers of a colour are written.
    """
    screen = shutil.get_terminal_size()
    columns, lines = min(BLOCKS[0], screen.columns - 1), min(BLOCKS[1], screen.lines - 4)
    small = image.copy()
    small.thumbnail((max(columns, 2), max(2 * lines, 2)), Image.Resampling.LANCZOS)
    rows = colours(small.crop((0, 0, small.width, small.height // 2 * 2)) if small.height > 1 else small)
    drawn = ("".join(_half(form, *pair) for pair in zip(rows[top], rows[min(top + 1, len(rows) - 1)], strict=True))
             for top in range(0, len(rows), 2))  # fmt: skip
    return "".join(f"{line}\033[0m\n" for line in drawn)


def _half(form: str, upper: np.ndarray, lower: np.ndarray) -> str:
    return f"\033[38;{form.format(*upper)};48;{form.format(*lower)}m\N{UPPER HALF BLOCK}"


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


PROTOCOLS: Registry[Draw] = Registry("terminal picture", {
    "kitty": _kitty, "iterm2": _iterm2, "sixel": _sixel, "blocks": _blocks, "blocks-256": _blocks_256,
})  # fmt: skip
INLINE = ("auto", "none", *PROTOCOLS)


def protocol_of(environment: Mapping[str, str]) -> str:
    """What the terminal of this environment understands: a row of `PROTOCOLS`, or none.

    Only what names itself is believed: whoever asks a terminal has to read its answer from the keyboard.
    """
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if environment.get("NO_COLOR") or term in ("", "dumb"):
        return "none"
    if environment.get("TMUX") or term.startswith(("screen", "tmux")):
        return _coloured(environment)  # these pass no pictures on, unless told to
    if environment.get("KITTY_WINDOW_ID") or "kitty" in term or "ghostty" in term or program == "ghostty":
        return "kitty"
    if program in ("iTerm.app", "WezTerm") or environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm2"
    if "sixel" in term or term.startswith(("foot", "mlterm", "contour", "yaft")):
        return "sixel"
    return _coloured(environment)


def _coloured(environment: Mapping[str, str]) -> str:
    """Letters as pixels, in the colours that there are."""
    return "blocks" if environment.get("COLORTERM") in ("truecolor", "24bit") else "blocks-256"


def drawer(name: str, environment: Mapping[str, str], terminal: bool) -> Draw | None:
    """What makes escapes of pictures; None where they are not shown.

    Args:
        name: of `INLINE`; auto goes by the environment, and shows none where no terminal reads.
        environment: the variables of the process.
        terminal: whether a terminal reads.

    Raises:
        UserError: the name is unknown.
    """
    if name == "auto":
        name = protocol_of(environment) if terminal else "none"
    return None if name == "none" else PROTOCOLS[name]


def reduced(image: Image.Image) -> Image.Image:
    """The picture as RGB of a size for reading on."""
    small = image.convert("RGB")
    small.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.LANCZOS)
    return small
