"""Several files of records as one dataset of encoded samples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from llmga.errors import UserError
from llmga.llava.conversation import Conversation
from llmga.llava.datasets.base import OpenPicture, Record, UnusableRecord
from llmga.llava.datasets.kinds import KINDS
from llmga.llava.datasets.left_out import CUT, MALFORMED, TOO_LONG, UNANSWERED, SkippedRecords
from llmga.llava.datasets.long_dialogues import Long, pieces, plan
from llmga.llava.datasets.pictures import MISSING, check_picture_folders, opener
from llmga.llava.datasets.recognition import fault
from llmga.llava.datasets.records import Records, open_records
from llmga.llava.datasets.shards import shards
from llmga.llava.datasets.sources import DataSource
from llmga.llava.tokenization import IGNORED, Encoded

__all__ = ["CUT", "MALFORMED", "MISSING", "TOO_LONG", "UNANSWERED", "DataSource", "Mixture", "Sample", "SkippedRecords"]
ATTEMPTS = 1000  # unusable samples in a row after which the data, not the sample, is to blame
CHARACTERS_PER_TOKEN = 4  # rough, only to batch samples of like length


@dataclass(frozen=True)
class Sample:
    """Tokens, labels (-100 where nothing is learnt) and the pictures in the order of their markers."""

    input_ids: list[int]
    labels: list[int]
    images: tuple[Image.Image, ...]


class Mixture(Dataset[Sample]):
    """Samples of all sources, one after the other; order is the sampler's business.

    A key is `epoch * len(self) + index`: what is drawn (masks, phrasings) follows from seed, epoch and index alone, so
    that workers, restarts and resumed runs see the same samples.  A sample that cannot be used is counted in `skipped`
    and replaced by the next one.  Of the records nothing is held in memory, of each sample eight bytes.

    Args:
        left_out: where what cannot be used is listed, a file.
        long: what becomes of dialogues beyond `max_length`: each piece is a sample of its own, the end is cut off, or
            they are left out.

    Attributes:
        rows: (source, row, piece) of each sample, int32 (samples, 3).

    Raises:
        UserError: for a file or picture folder that is missing, and a file of other records than its kind's.
    """

    def __init__(
        self,
        sources: Sequence[DataSource],
        encode: Callable[[Conversation], Encoded],
        *,
        image_token_id: int,
        tokens_per_image: int,
        max_length: int,
        seed: int = 0,
        left_out: Path | None = None,
        long: Long = "split",
    ):
        self.sources: tuple[DataSource, ...] = tuple(sources)
        self.encode = encode
        self._max_length, self._seed, self._long = max_length, seed, long
        self._image_token_id, self._tokens_per_image = image_token_id, tokens_per_image
        self.records: list[Records] = open_sources(self.sources)
        counts = [len(records) for records in self.records]
        self._pieces: list[np.ndarray] = [
            plan(source, records, encode, limit=max_length, tokens_per_image=tokens_per_image)
            if long == "split"
            else np.ones(len(records), dtype=np.int32)
            for source, records in zip(self.sources, self.records, strict=True)
        ]
        self.rows: np.ndarray = _with_pieces(_chosen_rows(counts, self.sources, seed), self._pieces)
        self.skipped: SkippedRecords = SkippedRecords(counts, left_out)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int) -> Sample:
        epoch, index = divmod(int(key), len(self))
        for step in range(min(ATTEMPTS, len(self))):
            source, row = map(int, self.rows[(index + step) % len(self), :2])
            if self.skipped.quarantined(source, row):
                continue
            try:
                return self._sample(epoch, (index + step) % len(self))
            except UnusableRecord as problem:
                self.skipped.leave_out(source, row, self.sources[source].file, problem)
        raise UserError(f"not one of {step + 1} samples in a row can be used: {self.skipped.counts()}; check the data.")

    def split(self, fraction: float) -> tuple["Mixture", "Mixture"]:
        """Two parts without common rows, the second with `fraction` of them (at least one, and all pieces of a split
        dialogue of which it has one).

        Raises:
            UserError: when nothing would be left to train on.
        """
        held_out = held_out_of(len(self), fraction)
        order = np.random.default_rng([self._seed, 1]).permutation(len(self))
        chosen = np.zeros(len(self), dtype=bool)
        chosen[order[:held_out]] = True
        chosen |= self._beside(chosen)
        if chosen.all():
            raise UserError(
                f"--eval-fraction {fraction} holds out pieces of every dialogue, which leaves nothing to train on; "
                "give more records, or --eval-fraction 0."
            )
        return self._part(np.flatnonzero(~chosen)), self._part(np.flatnonzero(chosen))

    def _beside(self, chosen: np.ndarray) -> np.ndarray:
        """Which samples are pieces of dialogues that chosen ones are pieces of, bool (samples,)."""
        found = np.zeros(len(self), dtype=bool)
        for number, pieces_of in enumerate(self._pieces):
            own = (self.rows[:, 0] == number) & (pieces_of[np.minimum(self.rows[:, 1], len(pieces_of) - 1)] > 1)
            found |= own & np.isin(self.rows[:, 1], self.rows[own & chosen, 1])
        return found

    def lengths(self) -> np.ndarray:
        """Roughly, the tokens of each sample, int64 (samples,); costs neither parsing nor tokenising."""
        lengths = np.empty(len(self), dtype=np.int64)
        for number, records in enumerate(self.records):
            own = self.rows[:, 0] == number
            rough = (
                records.characters() // CHARACTERS_PER_TOKEN // self._pieces[number]
                + records.pictures().astype(np.int64) * self._tokens_per_image
            )
            lengths[own] = rough[self.rows[own, 1]]
        return lengths

    def _part(self, indices: np.ndarray) -> "Mixture":
        part = object.__new__(Mixture)
        part.__dict__.update(self.__dict__, rows=self.rows[indices])
        return part

    def _sample(self, epoch: int, index: int) -> Sample:
        number, row, piece = self.rows[index]
        source, rng = self.sources[number], np.random.default_rng([self._seed, epoch, index])
        conversation = conversation_of(source, self.records[number][row], opener(source.image_folder), rng)
        encoded = encoded_of(conversation, self.encode)
        if self._long == "drop" and len(encoded.input_ids) > self._max_length:
            raise UnusableRecord(TOO_LONG)
        if self._long == "split" and len(encoded.input_ids) > self._max_length:
            parts = pieces(conversation, self.encode, self._max_length, encoded)
            part = next(islice(parts, int(piece), None), conversation)
            if self._pieces[number][row] == 1 and part is not conversation:  # more tokens than were foreseen
                self.skipped.add(CUT)
            conversation, encoded = part, encoded_of(part, self.encode)
        return self._fitted(Sample(encoded.input_ids, encoded.labels, conversation.images()))

    def _fitted(self, sample: Sample) -> Sample:
        """The sample within the length limit.  Only words at the end may go, and only if an answer remains."""
        ids, labels = sample.input_ids[: self._max_length], sample.labels[: self._max_length]
        if self._image_token_id in sample.input_ids[self._max_length :]:
            raise UnusableRecord(TOO_LONG)
        if all(label == IGNORED for label in labels):
            raise UnusableRecord(UNANSWERED if len(ids) == len(sample.input_ids) else TOO_LONG)
        if len(ids) < len(sample.input_ids):
            self.skipped.add(CUT)
        return Sample(ids, labels, sample.images)


def held_out_of(samples: int, fraction: float) -> int:
    """How many samples of an epoch are held out.

    Raises:
        UserError: when nothing would be left to train on.
    """
    held_out = max(1, round(fraction * samples)) if fraction else 0
    if held_out >= samples:
        raise UserError(
            f"--eval-fraction {fraction} holds out {held_out} of {samples} sample(s), which leaves nothing to train "
            "on; give more records, or --eval-fraction 0."
        )
    return held_out


def open_sources(sources: Sequence[DataSource]) -> list[Records]:
    """The records of all sources; what is read is kept, so that asking again costs nothing.

    Raises:
        UserError: for a file or picture folder that is missing, a file of other records than its kind's, and a share of
            what is not there.
    """
    for source in sources:
        shards(source.file)
        check_picture_folders(source.image_folder)
    records = [open_records(source) for source in sources]
    for number in range(len(sources)):
        samples_of(number, list(map(len, records)), sources)
    return records


def conversation_of(
    source: DataSource, record: Record, open_picture: OpenPicture, rng: np.random.Generator
) -> Conversation:
    """What the source's kind makes of a record.

    Raises:
        UnusableRecord: also where the record's shape surprises the kind.
    """
    kind = KINDS[source.kind]
    if told := fault(kind, record):
        raise UnusableRecord(MALFORMED) from UserError(f"a record {told}")
    try:
        return kind.to_conversation(record, open_picture, rng, source.phrasing)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as problem:
        raise UnusableRecord(MALFORMED) from problem


def encoded_of(conversation: Conversation, encode: Callable[[Conversation], Encoded]) -> Encoded:
    """Ids and labels.

    Raises:
        UnusableRecord: for markers without pictures, and text that has no UTF-8 form.
    """
    try:
        return encode(conversation)
    except (UserError, UnicodeError, TypeError) as problem:
        raise UnusableRecord(MALFORMED) from problem


def _chosen_rows(counts: Sequence[int], sources: Sequence[DataSource], seed: int) -> np.ndarray:
    """(source, row) of each sample, int32 (samples, 2)."""
    rows = []
    for number, count in enumerate(counts):
        times, rest = divmod(samples_of(number, counts, sources), count)
        chosen = [np.arange(count, dtype=np.int32)] * times
        if rest:
            chosen.append(np.sort(np.random.default_rng([seed, number]).permutation(count)[:rest]).astype(np.int32))
        rows.append(_numbered(number, np.concatenate(chosen)))
    return np.concatenate(rows)


def _with_pieces(rows: np.ndarray, counts: Sequence[np.ndarray]) -> np.ndarray:
    """(source, row) -> (source, row, piece), a row for each piece."""
    each = np.concatenate([counts[source][rows[rows[:, 0] == source, 1]] for source in range(len(counts))])
    starts = np.repeat(np.cumsum(each) - each, each)
    piece = (np.arange(each.sum()) - starts).astype(np.int32)
    return np.column_stack([np.repeat(rows, each, axis=0), piece])


def _numbered(number: int, chosen: np.ndarray) -> np.ndarray:
    rows = np.full((len(chosen), 2), number, dtype=np.int32)
    rows[:, 1] = chosen
    return rows


def samples_in(records: Sequence[Records], sources: Sequence[DataSource]) -> int:
    """How many samples all sources give in an epoch."""
    counts = list(map(len, records))
    return sum(samples_of(number, counts, sources) for number in range(len(counts)))


def samples_of(number: int, counts: Sequence[int], sources: Sequence[DataSource]) -> int:
    """How many samples a source gives in an epoch, of sources with these numbers of records."""
    source = sources[number]
    if source.per_vqa is None:
        return max(1, round(source.share * counts[number]))
    numbered = list(zip(counts, sources, strict=True))
    if not (talks := sum(count for count, other in numbered if other.kind == "vqa")):
        raise UserError(f"per_vqa of {source.file!r} needs a source of kind vqa; give one, or use share.")
    together = sum(count for count, other in numbered if other.kind == source.kind and other.per_vqa)
    return max(1, round(source.per_vqa * talks * counts[number] / together))
