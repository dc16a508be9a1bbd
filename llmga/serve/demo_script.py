"""The main job on the bundled models, one thing after the other, with what it costs."""

import argparse
import time
from dataclasses import replace

from PIL import Image

from llmga.assistant.assistant import Assistant
from llmga.assistant.image_folder import ImageFolder, new_folder
from llmga.assistant.loading import BUNDLED_RESTORER, Models, bundled
from llmga.assistant.session import Turn
from llmga.images import open_image
from llmga.runtime import peak_memory
from llmga.serve import parsed_args
from llmga.serve.demo import REQUEST, SCENE
from llmga.serve.terminal.drawing import Terminal

FILLING = "a big yellow star"


def script(args: argparse.Namespace) -> int:
    """Play the script and say where the pictures are.

    Returns:
        The exit code: 1 when an answer failed.

    Raises:
        UserError: flags, files or models cannot be used.
    """
    started = time.perf_counter()
    spec, chosen = parsed_args.model_spec(args).checked(), parsed_args.settings(args)
    args.image_file = args.image_file or str(bundled(SCENE, "--image-file"))
    picture = open_image(args.image_file, exact=True)
    pictures = ImageFolder(new_folder(args.save_path, "demo"), args.format, strip=args.strip_metadata)
    if spec.restorer is None and spec.restorer_path is None:
        spec = replace(spec, restorer="diffrir-x1", restorer_path=bundled(BUNDLED_RESTORER, "--restorer-path"))
    models = Models.load(spec)
    pictures.signer = models.guard.signer
    loaded = time.perf_counter()

    terminal = Terminal(pictures, args.debug)
    painting, looking, repairing = (models.assistant(chosen) for _ in range(3))
    say(terminal, painting, Turn(" ".join(args.words) or REQUEST))
    say(terminal, painting, Turn("make it green"))
    say(terminal, looking, Turn("describe this picture", (picture,)), f" [{args.image_file}]")
    say(terminal, looking, Turn("generate a similar image"))
    if painted := [each.image for exchange in painting.exchanges for each in exchange.paintings]:
        turn = Turn(FILLING, (painted[-1],), middle(painted[-1].size))
        say(terminal, repairing, turn, " [the middle of the second picture marked]")
    print(f"{len(pictures.paths)} pictures are in {pictures.folder}: {', '.join(path.name for path in pictures.paths)}")
    print(f"Loading took {loaded - started:.1f} s, the answers {time.perf_counter() - loaded:.1f} s{peak_sentence()}.")
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


def peak_sentence() -> str:
    """The most memory that this process had at once, as the end of a sentence; empty where it cannot be asked."""
    peak = peak_memory()
    return "" if peak is None else f", peak memory {peak / 1e6:.0f} MB"
