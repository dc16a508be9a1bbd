"""Many requests from a file, one a line, done once each: a run that was ended goes on where it stopped.

A line is plain words, or a JSON object such as

    {"text": "a red circle", "seed": 7}
    {"text": ["fill it", "now in green"], "image": "a.png", "mask": "m.png", "steps": 20}

with `text` (one message, or several of one conversation), `image`, `mask`, `outpaint`, `fill`, `seed`, and any setting
of `/set`.  Empty lines and lines that begin with # are passed over.
"""

import hashlib
import json
import reprlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypedDict

from llmga.assistant.loading import Models
from llmga.assistant.session import Turn
from llmga.assistant.settings import SETTINGS, Settings
from llmga.diffusers.canvas import Canvas
from llmga.errors import UserError
from llmga.files import write_whole
from llmga.images import open_image
from llmga.limits import LARGEST_SEED
from llmga.plain_text import plain
from llmga.serve import args as flags
from llmga.serve.terminal.drawing import Terminal
from llmga.serve.terminal.settings_command import CHANGES, change
from llmga.typed import one_part, parsed, read_json, typed

MANIFEST = "manifest.json"
OWN = ("text", "image", "mask", "outpaint", "fill", "seed")
LARGEST_FILE = 64_000_000  # bytes


@dataclass(frozen=True)
class Job:
    """One line of the file.

    Attributes:
        number: of the line, from 1.
        key: of the line in the manifest; another text on the same line is another job.
        asked: its object; of plain words, only `text`.
    """

    number: int
    key: str
    asked: dict[str, Any]

    @classmethod
    def of(cls, number: int, line: str) -> "Job":
        """Raises: UserError, naming the line."""
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


def read_jobs(file: str | Path) -> list[Job]:
    """Raises: UserError."""
    try:
        with Path(file).open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise UserError(f"batch {str(file)!r} has more than {LARGEST_FILE} bytes; split it.")
        text = content.decode("utf-8-sig")
    except UserError:
        raise
    except (OSError, ValueError) as problem:
        raise UserError(f"batch {str(file)!r} cannot be read ({_reason(problem)}); give a UTF-8 text file.") from None
    lines = ((number, line.strip()) for number, line in enumerate(text.split("\n"), 1))
    jobs = [Job.of(number, line) for number, line in lines if line and not line.startswith("#")]
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


class _Jobs(TypedDict):
    jobs: dict[str, _Entry]


class Manifest:
    """What was done, as JSON beside the pictures; whole on disk after every job.

    Attributes:
        jobs: by key; status (done, failed, interrupted), line, text, seed, pictures, replies.
    """

    def __init__(self, path: Path):
        self.path, self.jobs = path, {}
        try:
            if path.exists():
                self.jobs = dict(typed(_Jobs, read_json(path, longest=10 * LARGEST_FILE, most=LARGEST_FILE))["jobs"])
        except (OSError, ValueError, TypeError) as problem:
            raise UserError(
                f"{str(path)!r} cannot be used as a manifest ({_reason(problem)}); choose another --save-path."
            ) from None

    def done(self, job: Job) -> bool:
        """Whether it was done, and its pictures are still there."""
        entry = self.jobs.get(job.key, {})
        pictures = [self.path.parent / name for name in entry.get("pictures", ())]
        return entry.get("status") == "done" and all(picture.exists() for picture in pictures)

    def write(self, job: Job, **entry: Any) -> None:
        """Raises: UserError when the disk does not take it."""
        self.jobs[job.key] = {"line": job.number, "text": job.asked["text"], **entry}
        content = json.dumps({"jobs": self.jobs}, ensure_ascii=False, indent=1)
        try:
            write_whole(self.path, content.encode(errors="replace"))
        except OSError as problem:
            raise UserError(f"{str(self.path)!r} cannot be written ({_reason(problem)}); make room.") from None


def batch(jobs: list[Job], settings: Settings, models: Models, terminal: Terminal, opening: Turn) -> int:
    """Do every job that is not done yet; 1 when some failed, 130 when a person ended it.  Raises: UserError."""
    manifest = Manifest(terminal.pictures.folder / MANIFEST)
    failed = []
    for job in jobs:
        if manifest.done(job):
            continue
        entry = _done(job, settings, models, terminal, opening)
        manifest.write(job, **entry)
        if entry["status"] == "interrupted":
            terminal.tell("stopped; run the same again to go on.")
            return 130
        failed += [job.number] if entry["status"] == "failed" else []
    left = f", {len(failed)} failed: line {', '.join(map(str, failed))}" if failed else ""
    terminal.tell(f"{len(jobs) - len(failed)} of {len(jobs)} requests are done{left}; see {manifest.path}")
    return 1 if failed else 0


def _done(job: Job, settings: Settings, models: Models, terminal: Terminal, opening: Turn) -> dict[str, Any]:
    """What the manifest says of the job, now that it was tried."""
    pictures, failures = len(terminal.pictures.paths), terminal.failures
    assistant = models.assistant(settings)
    entry: dict[str, Any] = {"status": "done"}
    try:
        turn = _prepared(job, assistant, settings.seed, opening)
        entry["seed"] = assistant.session.seed
        for text in job.asked["text"]:
            terminal.tell(f"You: {plain(text)}")
            terminal.answer(assistant, replace(turn, text=text))
            turn = Turn("")
    except UserError as problem:
        terminal.fail(f"line {job.number}: {problem}")
    except KeyboardInterrupt:
        entry["status"] = "interrupted"
    if assistant.cancelled:
        entry["status"] = "interrupted"
    elif terminal.failures > failures:
        entry["status"] = "failed"
    replies = [message.text for message in assistant.session.conversation.messages if message.role == "assistant"]
    return entry | {"pictures": [path.name for path in terminal.pictures.paths[pictures:]], "replies": replies}


def _prepared(job: Job, assistant: Any, first_seed: int | None, opening: Turn) -> Turn:
    """The job's settings made, its first turn without the words.  Raises: UserError."""
    asked = job.asked
    for name in asked:
        if name in CHANGES:
            change(assistant, name, _typed(asked[name]))
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
        turn = replace(turn, mask=flags.open_mask(_text(asked, "mask"), picture.size, soft=soft))
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


def _reason(problem: Exception) -> str:
    return (getattr(problem, "strerror", None) or str(problem)).lower()
