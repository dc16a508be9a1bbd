"""The main job on the bundled models: `python -m llmga.serve.demo [words…]`.

With a terminal it is a chat, the words being its first message.  Without one it plays a script: a request in words, a
follow-up, then a picture to describe and to paint another one like it, and last a hole in what was painted, filled and
restored.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from PIL import Image

from llmga.assistant.assistant import Assistant
from llmga.assistant.image_folder import ImageFolder, new_folder
from llmga.assistant.loading import Models
from llmga.assistant.session import Turn
from llmga.images import open_image
from llmga.runtime import peak_memory, quiet_libraries
from llmga.serve import args as flags
from llmga.serve.terminal.cli import chat, run
from llmga.serve.terminal.drawing import Terminal

REQUEST = "a big red circle on a blue background"
SCENE = "data/demo/scene.jpg"
FILLING = "a big yellow star"


def script(args: argparse.Namespace) -> int:
    """Play the script and say where the pictures are; 1 when an answer failed.  Raises: UserError."""
    started = time.perf_counter()
    picture = flags.check(args)
    if picture is None:
        args.image_file = str(flags.shipped(SCENE, "--image-file"))
        picture = open_image(args.image_file, exact=True)
    pictures = ImageFolder(new_folder(args.save_path, "demo"), args.format, strip=args.strip_metadata)
    if args.restorer is None and args.restorer_path is None:
        args.restorer = "diffrir-x1"
        args.restorer_path = str(flags.shipped(flags.BUNDLED_RESTORER, "--restorer-path"))
    models = Models.load(args)
    loaded = time.perf_counter()

    terminal = Terminal(pictures, args.debug)
    painting, looking, repairing = models.assistant(args), models.assistant(args), models.assistant(args)
    say(terminal, painting, Turn(" ".join(args.words) or REQUEST))
    say(terminal, painting, Turn("make it green"))
    say(terminal, looking, Turn("describe this picture", (picture,)), f" [{args.image_file}]")
    say(terminal, looking, Turn("generate a similar image"))
    if painted := [each.image for exchange in painting.exchanges for each in exchange.paintings]:
        turn = Turn(FILLING, (painted[-1],), middle(painted[-1].size))
        say(terminal, repairing, turn, " [the middle of the second picture marked]")
    print(f"{len(pictures.paths)} pictures are in {pictures.folder}: {', '.join(path.name for path in pictures.paths)}")
    print(f"Loading took {loaded - started:.1f} s, the answers {time.perf_counter() - loaded:.1f} s{told_peak()}.")
    return 1 if terminal.failures else 0


def say(terminal: Terminal, assistant: Assistant, turn: Turn, given: str = "") -> None:
    """Show a turn, its answer, and how long that took."""
    print(f"You: {turn.text}{given}")
    before = time.perf_counter()
    terminal.answer(assistant, turn)
    print(f"({time.perf_counter() - before:.1f} s)\n")


def middle(size: tuple[int, int]) -> Image.Image:
    """A mask over the middle of a picture, two thirds of each side."""
    width, height = size
    mask = Image.new("L", size)
    mask.paste(255, (width // 6, height // 6, width - width // 6, height - height // 6))
    return mask


def told_peak() -> str:
    """The most memory that this process had at once, as the end of a sentence; empty where it cannot be asked."""
    peak = peak_memory()
    return "" if peak is None else f", peak memory {peak / 1e6:.0f} MB"


def demo(args: argparse.Namespace) -> int | None:
    """A chat with a terminal, or with a session or a batch to work on; the script without.  Raises: UserError."""
    talks = sys.stdin.isatty() or args.batch is not None or args.session is not None
    return chat(args, " ".join(args.words) or None) if talks else script(args)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The command line."""
    quiet_libraries()
    parser = flags.build_parser("demo", "Chat with the bundled models; without a terminal, play a script.")
    parser.add_argument("words", nargs="*", help=f"first request (in the script: {REQUEST!r})")
    parser.set_defaults(seed=0)
    run(lambda: demo(parser.parse_intermixed_args(argv)))


if __name__ == "__main__":
    main()
