"""What an inspection finds: one row per check, counted, with the first places as examples."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Literal

from llmga.registry import Registry

Grade = Literal["stop", "loss", "odd"]
EXAMPLES = 3  # places that a report shows for each check


@dataclass(frozen=True)
class Check:
    """Something that an inspection looks for.

    Attributes:
        grade: "stop": nothing can be learnt; "loss": records are left out or teach what is wrong; "odd": it works, but
            may not be meant.
        said: what it found, in a report.
    """

    grade: Grade
    said: str


def _of(grade: Grade, **said: str) -> dict[str, Check]:
    return {name.replace("_", "-"): Check(grade, text) for name, text in said.items()}


CHECKS = Registry(
    "check",
    {
        **_of(
            "stop",
            data="a source cannot be read",
            model="the model cannot be read",
            unsupervised="no token is supervised",
            never_closed="no picture prompt is ever closed",
            disk="the disk is too small for the checkpoints",
            memory="the run does not fit the memory",
            batch="the batch cannot be kept",
            held_out="nothing is left to train on",
            blind="only the projector learns, and no record shows a picture",
        ),
        **_of(
            "loss",
            malformed="not a record of its kind",
            picture_missing="a picture is not there",
            picture_unreadable="a picture cannot be read: truncated, empty, or no picture",
            picture_huge="a picture has too many pixels to be opened",
            marker_without_picture="an <image> marker that shows no picture",
            tag_unclosed="a picture prompt is opened and not closed, or closed and not opened",
            tag_nested="a picture prompt within a picture prompt",
            tag_misspelt="a tag that is not written as <gen_image> or </gen_image>",
            tag_empty="a picture prompt without words",
            turns="a conversation that is no dialogue",
            no_answer="nothing to learn in a record",
            damaged_text="characters that were lost on the way",
            too_long="the picture or the answer lies beyond the length limit",
            cut="the end of a conversation or an answer is cut off at the length limit",
            wrong_labels="what is supervised is not what the assistant says",
        ),
        **_of(
            "odd",
            picture_transparent="a picture with an alpha channel: white shows through",
            picture_cmyk="a picture in print colours: converted to RGB",
            picture_deep="a picture of 16 or 32 bits a channel: scaled to 8",
            picture_animated="an animation: the first frame is taken",
            picture_tiny="a picture with hardly any pixels",
            picture_narrow="a very long and narrow picture, which is stretched to a square",
            picture_without_marker="fewer <image> markers than pictures: the rest goes to the front",
            role_marker="words that the chat template uses as markers",
            unknown_token="characters that the tokenizer does not know",
            dropped_turn="a turn that teaches nothing: an answer before any question, or a question without an answer",
            nothing_refined="a request that is its own refinement",
            duplicate="a record that says the same as an earlier one",
        ),
    },
)


@dataclass
class Findings:
    """Counts by check, and where it was found first."""

    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, check: str, place: str, told: str = "", times: int = 1) -> None:
        """Count what a check has found; the first places are kept."""
        CHECKS[check]
        self.counts[check] += times
        if len(self.places[check]) < EXAMPLES:
            self.places[check].append(f"{place}: {told}" if told else place)

    def merge(self, more: "Findings") -> None:
        """Add all that others found."""
        for check, count in more.counts.items():
            self.places[check] = (self.places[check] + more.places[check])[:EXAMPLES]
            self.counts[check] += count

    def of(self, grade: Grade) -> list[str]:
        """The checks of a grade that found something, in the order of `CHECKS`."""
        return [name for name, check in CHECKS.items() if check.grade == grade and self.counts[name]]

    def lines(self, grade: Grade) -> list[str]:
        """For a report: each check with its count and examples."""
        found = []
        for name in self.of(grade):
            found.append(f"{name} ({self.counts[name]}): {CHECKS[name].said}")
            found += [f"    {place}" for place in self.places[name]]
        return found
