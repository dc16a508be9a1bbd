"""What of a hidden watermark survives: `python -m llmga.evaluation.watermark`, on scikit-image's photographs."""

import io
import sys
from collections.abc import Callable, Sequence

from PIL import Image

from llmga.choices import WATERMARK
from llmga.command_line import Parser, number
from llmga.errors import command_line

LANCZOS = Image.Resampling.LANCZOS


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def _cut(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = image.size
    return image.crop((round(left * width), round(top * height), round(right * width), round(bottom * height)))


def _scaled(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), LANCZOS)


TREATMENTS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved as PNG": lambda image: image,
    "JPEG of quality 95": lambda image: _jpeg(image, 95),
    "JPEG of quality 80": lambda image: _jpeg(image, 80),
    "JPEG of quality 60": lambda image: _jpeg(image, 60),
    "halved and brought back": lambda image: _scaled(image, 0.5).resize(image.size, LANCZOS),
    "halved": lambda image: _scaled(image, 0.5),
    "a quarter off at the right": lambda image: _cut(image, 0, 0, 0.75, 1),
    "a quarter off at the bottom": lambda image: _cut(image, 0, 0, 1, 0.75),
    "a twentieth off all around": lambda image: _cut(image, 0.05, 0.05, 0.95, 0.95),
}  # fmt: skip


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = Parser(prog="python -m llmga.evaluation.watermark", description="What of a hidden watermark survives.")
    parser.add_argument("--watermark", default=WATERMARK, metavar="TEXT", help=f"(default: {WATERMARK})")
    parser.add_argument("--side", type=number(int, 256, 2048), default=512, help="pixels of a side (default: 512)")
    args = parser.parse_args(argv)
    from llmga.assistant.safety import READABLE, Watermark
    from llmga.evaluation.restoration_scores import photographs

    mark = Watermark.of(args.watermark)
    plain = [picture.resize((args.side, args.side), LANCZOS) for _, picture in photographs()]
    marked = [mark(picture) for picture in plain]
    print(f"| {args.side}×{args.side} | found | bits read |\n|---|---|---|")
    for name, pictures in [(name, [treat(each) for each in marked]) for name, treat in TREATMENTS.items()] + [
        ("never marked", plain)
    ]:
        shares = [mark.found_in(picture) for picture in pictures]
        found = sum(share >= READABLE for share in shares)
        print(f"| {name} | {found} of {len(shares)} | {sum(shares) / len(shares):.0%} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
