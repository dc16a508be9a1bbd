"""All sources of a training, record by record: what is wrong, and what would be learnt."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from llmga.llava.conversation import Conversation
from llmga.llava.datasets.base import Record, UnusableRecord
from llmga.llava.datasets.kinds import KINDS
from llmga.llava.datasets.left_out import BLIND, UNANSWERED
from llmga.llava.datasets.long_dialogues import Long, pieces
from llmga.llava.datasets.mixture import conversation_of, encoded_of
from llmga.llava.datasets.records import Records
from llmga.llava.datasets.sources import DataSource
from llmga.llava.inspection import pictures, tokens, words
from llmga.llava.inspection.findings import EXAMPLES, Findings
from llmga.llava.inspection.tokens import SampleStatistics, Truncation
from llmga.llava.mllm import Mllm

REFUSALS = {UNANSWERED: "no-answer", BLIND: "marker-without-picture"}  # why a kind cannot use a record
BLANK = Image.new("RGB", (32, 32))  # stands for a picture that cannot be read, so that its record's words are seen


@dataclass
class SourceInspection:
    """One source.

    Attributes:
        learnt: how many of the records that were looked at can be learnt from.
        lessons: of these, one for each piece of a split dialogue; empty without a tokenizer.
    """

    source: DataSource
    records: int
    looked_at: int = 0
    lost: int = 0
    learnt: int = 0
    lessons: list[SampleStatistics] = field(default_factory=list)

    @property
    def coverage(self) -> float:
        """Supervised tokens over all tokens."""
        return sum(lesson.supervised for lesson in self.lessons) / max(1, sum(self.lengths()))

    @property
    def pieces(self) -> float:
        """Samples of a record, in the mean."""
        return len(self.lessons) / self.learnt if self.learnt and self.lessons else 1.0

    @property
    def beyond(self) -> Truncation:
        """What the length limit takes of the samples that are learnt."""
        return sum((lesson.beyond for lesson in self.lessons), Truncation())

    def lengths(self) -> list[int]:
        """Tokens of each lesson."""
        return [lesson.tokens for lesson in self.lessons]


@dataclass
class Inspection:
    """Looks at `sample` records of each source, spread evenly, at all of them for 0.

    Args:
        mllm: encodes; its weights are not used.  None leaves out what needs tokens.
        max_length: of a sample in tokens.
        long: what becomes of a longer dialogue, see `long_dialogues`.
    """

    mllm: Mllm | None
    max_length: int
    sample: int = 0
    seed: int = 0
    long: Long = "split"
    findings: Findings = field(default_factory=Findings)
    sources: list[SourceInspection] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.marks: tuple[str, ...] = tokens.role_marks(self.mllm) if self.mllm else ()

    def look_at(self, source: DataSource, records: Records) -> SourceInspection:
        """Go through one source."""
        looked = SourceInspection(source, len(records))
        self.sources.append(looked)
        faulty = dict(records.faults())
        for row, fault in faulty.items():
            self.findings.add("malformed", f"record {row} of {source.file!r}", fault)
        for row in _spread(len(records), self.sample):
            looked.looked_at += 1
            if row in faulty or not self._record(looked, row, records[row]):
                looked.lost += 1
        return looked

    def duplicates(self, parts: Sequence[tuple[DataSource, Records]]) -> None:
        """Find what is said twice, in all records of these sources."""
        digests = np.concatenate([records.digests() for _, records in parts])
        _, first, which = np.unique(digests, return_index=True, return_inverse=True)
        for number, index in enumerate(np.setdiff1d(np.arange(len(digests)), first)):
            told = f"as {_place(parts, first[which[index]])}" if number < EXAMPLES else ""
            self.findings.add("duplicate", _place(parts, index), told)

    def conclude(self) -> None:
        """What only all records together tell: that nothing is learnt, or nothing ever closed."""
        if not self.mllm:
            return
        lessons = [lesson for looked in self.sources for lesson in looked.lessons]
        looked_at = sum(looked.looked_at for looked in self.sources)
        if looked_at and not sum(lesson.supervised for lesson in lessons):
            worst = max(self.findings.of("loss"), key=self.findings.counts.__getitem__, default="")
            because = f" ({worst}: {self.findings.places[worst][0].rstrip('.')})" if worst else ""
            self.findings.add(
                "unsupervised", f"not one of {looked_at} records looked at teaches a token; check the data{because}"
            )
        opened = sum(lesson.opens for lesson in lessons)
        if opened and not any(lesson.closes for lesson in lessons):
            self.findings.add("never-closed", f"all of {opened} records with a picture prompt leave it open")

    def _record(self, looked: SourceInspection, row: int, record: Record) -> bool:
        """Whether the record can be learnt from."""
        place, source = f"record {row} of {looked.source.file!r}", looked.source
        for check, told in words.complaints(source.kind, record):
            self.findings.add(check, place, told)
        lost: list[object] = []

        def open_picture(name: object) -> Image.Image:
            image, complaints = pictures.look(source.image_folder, name)
            for check, told in complaints:
                self.findings.add(check, place, told)
            if image is None:
                lost.append(name)
            return image or BLANK

        try:
            rng = np.random.default_rng([self.seed, row])
            conversation = conversation_of(source, record, open_picture, rng)
        except UnusableRecord as problem:
            check = REFUSALS.get(str(problem), "turns" if "conversations" in KINDS[source.kind].fields else "malformed")
            self.findings.add(check, place, str(problem.__cause__ or problem))
            return False
        self._words(place, conversation)
        return not lost and (self.mllm is None or self._tokens(looked, place, conversation, self.mllm))

    def _words(self, place: str, conversation: Conversation) -> None:
        said = [message.text for message in conversation.messages if message.role == "assistant"]
        told = [complaint for answer in said for complaint in words.tag_complaints(answer)]
        told += tokens.mark_complaints(conversation, self.marks)
        for check, why in told:
            self.findings.add(check, place, why)

    def _tokens(self, looked: SourceInspection, place: str, conversation: Conversation, mllm: Mllm) -> bool:
        try:
            encoded = encoded_of(conversation, mllm.encode)
        except UnusableRecord as problem:  # markers and half characters were complained of already
            if conversation.system and not mllm.template.places_system:
                self.findings.add("malformed", place, str(problem.__cause__))
            return False
        length = len(encoded.input_ids)
        if length > self.max_length and self.long == "drop":
            self.findings.add("too-long", place, f"{length} tokens, the limit is {self.max_length}")
            return False
        whole = length <= self.max_length or self.long != "split"
        parts = [conversation] if whole else pieces(conversation, mllm.encode, self.max_length, encoded)
        learnt = [self._lesson(looked, place, part, mllm) for part in parts]
        looked.learnt += any(learnt)
        return any(learnt)

    def _lesson(self, looked: SourceInspection, place: str, conversation: Conversation, mllm: Mllm) -> bool:
        """Whether a conversation, or a piece of one, can be learnt from within the limit."""
        encoded = encoded_of(conversation, mllm.encode)
        told = list(tokens.complaints(conversation, encoded, mllm, self.max_length))
        for check, why in told:
            self.findings.add(check, place, why)
        lost = {"too-long", "no-answer"} & {check for check, _ in told}
        if not lost:
            looked.lessons.append(tokens.lesson(encoded, mllm, self.max_length))
        return not lost


def inspect(
    parts: Sequence[tuple[DataSource, Records]],
    mllm: Mllm | None,
    max_length: int,
    *,
    sample: int = 0,
    seed: int = 0,
    long: Long = "split",
) -> Inspection:
    """Everything about the records of these sources."""
    inspection = Inspection(mllm, max_length, sample, seed, long)
    for source, records in parts:
        inspection.look_at(source, records)
    for kind in dict.fromkeys(source.kind for source, _ in parts):  # kinds may share their pictures and captions
        inspection.duplicates([part for part in parts if part[0].kind == kind])
    inspection.conclude()
    return inspection


def _spread(count: int, sample: int) -> Iterator[int]:
    """`sample` of `count` rows at even distances."""
    if not 0 < sample < count:
        return iter(range(count))
    return iter(np.linspace(0, count - 1, sample).astype(int).tolist())


def _place(parts: Sequence[tuple[DataSource, Records]], index: int) -> str:
    """The record that stands at `index` when all sources follow each other."""
    for source, records in parts:
        if index < len(records):
            return f"record {index} of {source.file!r}"
        index -= len(records)
    raise IndexError(index)
