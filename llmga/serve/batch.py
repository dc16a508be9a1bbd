"""Many requests from a file, one a line, done once each: a run that was ended goes on where it stopped.

A line is plain words, or a JSON object such as

    {"text": "a red circle", "seed": 7}
    {"text": ["fill it", "now in green"], "image": "a.png", "mask": "m.png", "steps": 20}

with `text` (one message, or several of one conversation), `image`, `mask`, `outpaint`, `fill`, `seed`, `control_image`
(a file, or several), and any setting of `/set`.  Empty lines and lines that begin with # are passed over.
"""

import hashlib
import reprlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypedDict

from llmga.assistant.loading import Models
from llmga.assistant.session import Turn
from llmga.assistant.settings import SETTINGS, Settings
from llmga.diffusers.canvas import Canvas
from llmga.errors import STOPPED, UserError, system_reason
from llmga.images import open_image
from llmga.jobs import DONE, FAILED, INTERRUPTED, MANIFEST, Manifest
from llmga.limits import LARGEST_SEED
from llmga.plain_text import plain
from llmga.serve import parsed_args
from llmga.serve.terminal.drawing import Terminal
from llmga.serve.terminal.settings_command import CHANGES, change
from llmga.typed import one_part, parsed

OWN = ("text", "image", "mask", "outpaint", "fill", "seed", "control_image")
LARGEST_FILE = 64_000_000  # bytes


@dataclass(frozen=True)
class BatchJob:
    """One line of a batch: a conversation of its own.

    Attributes:
        number: of the line, from 1.
        key: of the line in the manifest; another text on the same line is another job.
        asked: its object; of plain words, only `text`.
    """

    number: int
    key: str
    asked: dict[str, Any]

    @classmethod
    def of(cls, number: int, line: str) -> "BatchJob":
        """The job that a line of the file states.

        Raises:
            UserError: it states none; the message names the line.
        """
        asked: Any = {"text": line}
        if line.startswith("{"):
            try:
                asked = parsed(line)
            except ValueError as problem:
                raise UserError(f"line {number} of the batch is no JSON ({problem}); mend it.") from None
        texts = asked.get("text")
        texts = [texts] if isinstance(texts, str) else texts
        if not (isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts)):
            raise UserError(f"line {number} of the batch has no text; give it as a string, or a list of strings.")
        for name in asked:
            if name not in OWN and name not in CHANGES:
                known = ", ".join((*OWN, *CHANGES))
                raise UserError(f"line {number} of the batch has {reprlib.repr(name)}, which is unknown; use {known}.")
        digest = hashlib.sha256(line.encode()).hexdigest()[:12]
        return cls(number, f"{number}-{digest}", asked | {"text": texts})


def read_jobs(file: str | Path) -> list[BatchJob]:
    """The jobs of a file, one a line.

    Raises:
        UserError: the file cannot be read, has no jobs, or a line of it is none.
    """
    try:
        with Path(file).open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise UserError(f"batch {str(file)!r} has more than {LARGEST_FILE} bytes; split it.")
        text = content.decode("utf-8-sig")
    except UserError:
        raise
    except (OSError, ValueError) as problem:
        raise UserError(
            f"batch {str(file)!r} cannot be read ({system_reason(problem)}); give a UTF-8 text file."
        ) from None
    lines = ((number, line.strip()) for number, line in enumerate(text.split("\n"), 1))
    jobs = [BatchJob.of(number, line) for number, line in lines if line and not line.startswith("#")]
    if not jobs:
        raise UserError(f"batch {str(file)!r} has no requests; write one a line.")
    return jobs


class _Entry(TypedDict, total=False):
    """What the manifest says of a job."""

    line: int
    text: list[str]
    status: str
    seed: int
    pictures: list[Annotated[str, one_part]]
    replies: list[str]


class _Batch(TypedDict):
    """The manifest."""

    jobs: dict[str, _Entry]


def open_manifest(path: Path) -> Manifest:
    """The manifest of a batch, with what earlier runs did.

    Raises:
        UserError: the file there is no such manifest.
    """
    return Manifest(path, _Batch, "jobs", "choose another --save-path")


def _is_done(manifest: Manifest, job: BatchJob) -> bool:
    """Whether it was done, and its pictures are still there."""
    entry = manifest.done(job.key)
    return entry is not None and all((manifest.path.parent / name).exists() for name in entry.get("pictures", ()))


def batch(jobs: list[BatchJob], settings: Settings, models: Models, terminal: Terminal, opening: Turn) -> int:
    """Do every job that is not done yet.

    Returns:
        The exit code: 1 when some failed, 130 when a person ended it.

    Raises:
        UserError: the manifest can be neither used nor written.
    """
    manifest = open_manifest(terminal.pictures.folder / MANIFEST)
    for job in jobs:
        if _is_done(manifest, job):
            continue
        status, entry = _done(job, settings, models, terminal, opening)
        manifest.write(job.key, status, line=job.number, text=job.asked["text"], **entry)
        if status == INTERRUPTED:
            terminal.info("stopped; run the same again to go on.")
            return STOPPED
    failed = [str(job.number) for job in jobs if job.key in manifest.failures]
    left = f", {len(failed)} failed: line {', '.join(failed)}" if failed else ""
    terminal.info(f"{len(jobs) - len(failed)} of {len(jobs)} requests are done{left}; see {manifest.path}")
    return 1 if failed else 0


def _done(
    job: BatchJob, settings: Settings, models: Models, terminal: Terminal, opening: Turn
) -> tuple[str, dict[str, Any]]:
    """Try a job: (status, what else the manifest says of it)."""
    pictures, failures = len(terminal.pictures.paths), terminal.failures
    assistant = models.assistant(settings)
    entry: dict[str, Any] = {}
    status = DONE
    try:
        turn = _prepared(job, assistant, settings.seed, opening)
        entry["seed"] = assistant.session.seed
        for text in job.asked["text"]:
            terminal.info(f"You: {plain(text)}")
            terminal.answer(assistant, replace(turn, text=text))
            turn = Turn("")
    except UserError as problem:
        terminal.error(f"line {job.number}: {problem}")
    except KeyboardInterrupt:
        status = INTERRUPTED
    if assistant.cancelled:
        status = INTERRUPTED
    elif terminal.failures > failures:
        status = FAILED
    replies = [message.text for message in assistant.session.conversation.messages if message.role == "assistant"]
    return status, entry | {"pictures": [path.name for path in terminal.pictures.paths[pictures:]], "replies": replies}


def _prepared(job: BatchJob, assistant: Any, first_seed: int | None, opening: Turn) -> Turn:
    """Make the job's settings; its first turn, without the words.

    Raises:
        UserError: a value is none that can be used.
    """
    asked = job.asked
    for name in asked:
        if name in CHANGES:
            change(assistant, name, _typed(asked[name]))
    if asked.get("control_image") is not None:
        files = asked["control_image"] if isinstance(asked["control_image"], list) else [asked["control_image"]]
        if not all(isinstance(file, str) for file in files):
            raise UserError(f"control_image {reprlib.repr(files)} is no name of a file; give one, or a list of them.")
        images = tuple(open_image(file, exact=True) for file in files)
        assistant.settings = replace(assistant.settings, control_images=images)
    seed = asked.get("seed", None if first_seed is None else first_seed + job.number - 1)
    if seed is not None:
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= LARGEST_SEED:
            raise UserError(f"seed {seed!r} is out of range; use 0 to {LARGEST_SEED}.")
        assistant.reseed(seed)
    assistant.check()
    return _turn(asked, assistant, opening)


def _turn(asked: dict[str, Any], assistant: Any, opening: Turn) -> Turn:
    turn = opening
    if asked.get("image") is not None:
        turn = Turn("", (open_image(_text(asked, "image"), exact=True),))
    if asked.get("outpaint") is None and asked.get("mask") is None:
        return turn
    if not turn.images:
        raise UserError("a mask or an outpainting needs a picture; give the line an image, too.")
    picture = turn.images[0]
    turn = Turn("", turn.images)
    if asked.get("outpaint") is not None:
        text, fill = _text(asked, "outpaint"), SETTINGS["fill"].checked(asked.get("fill", turn.fill))
        Canvas.parse(text, picture.size)
        turn = replace(turn, outpaint=text, fill=fill)
    if asked.get("mask") is not None:
        soft = assistant.settings.repaint.get("soft", False)
        turn = replace(turn, mask=parsed_args.open_mask(_text(asked, "mask"), picture.size, soft=soft))
    return turn


def _text(asked: dict[str, Any], name: str) -> str:
    if not isinstance(asked[name], str):
        raise UserError(f"{name} {asked[name]!r} is no text; give the name of a file, or the extents to add.")
    return asked[name]


def _typed(value: Any) -> str:
    """A value of JSON as a person would type it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return "default" if value is None else str(value)
