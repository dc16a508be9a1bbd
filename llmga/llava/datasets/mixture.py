"""Several files of records as one dataset of encoded samples."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import Value
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from llmga.errors import UserError
from llmga.images import open_image
from llmga.llava.conversation import Conversation
from llmga.llava.datasets import KINDS
from llmga.llava.datasets.base import Record, Unusable, read_records
from llmga.llava.tokenization import IGNORED, Encoded

logger = logging.getLogger(__name__)
ATTEMPTS = 1000  # unusable samples in a row after which the data, not the sample, is to blame
MISSING, CUT, TOO_LONG, UNANSWERED, MALFORMED = (
    "picture missing or unreadable",
    "end cut off",
    "picture or answer beyond the length limit",
    "no answer to learn",
    "malformed record",
)
CHARACTERS_PER_TOKEN = 4  # rough, only to batch samples of like length


@dataclass(frozen=True)
class DataSource:
    """One file of records.

    Attributes:
        kind: a key of `KINDS`.
        file: JSON list or JSONL.
        image_folder: where the records' picture names start.
        share: how much of it an epoch takes: 0.5 a random half, 2 everything twice.
    """

    kind: str
    file: str
    image_folder: str = ""
    share: float = 1.0

    @classmethod
    def parse(cls, text: str) -> "DataSource":
        """Read `kind=file[,images=folder][,share=number]`.

        Raises: UserError.
        """
        (kind, _, file), *rest = (part.partition("=") for part in text.split(","))
        options = {name: value for name, _, value in rest}
        try:
            share = float(options.pop("share", 1))
        except ValueError:
            raise UserError(f"the share in data source {text!r} must be a number.") from None
        source = cls(kind, file, options.pop("images", ""), share)
        if not file or options:
            raise UserError(f"data source {text!r} must look like kind=file,images=folder,share=1.0.")
        return source

    def check(self) -> None:
        """Raises: UserError for an unknown kind or a share that is not positive."""
        KINDS[self.kind]
        if not 0 < self.share < 1000:
            raise UserError(f"the share of {self.file!r} is {self.share}, but must be between 0 and 1000.")


@dataclass(frozen=True)
class Sample:
    """Tokens, labels (-100 where nothing is learnt) and the pictures in the order of their markers."""

    input_ids: list[int]
    labels: list[int]
    images: tuple[Image.Image, ...]


class Tally:
    """Counts by reason, shared with the worker processes of a data loader."""

    def __init__(self) -> None:
        self._counts = {reason: Value("q", 0) for reason in (MISSING, CUT, TOO_LONG, UNANSWERED, MALFORMED)}

    def add(self, reason: str) -> int:
        counter = self._counts.get(reason, self._counts[MALFORMED])
        with counter.get_lock():
            counter.value += 1
            return counter.value

    def counts(self) -> dict[str, int]:
        """Only the reasons that occurred."""
        return {reason: counter.value for reason, counter in self._counts.items() if counter.value}


class Mixture(Dataset):
    """Samples of all sources, one after the other; order is the sampler's business.

    A key is `epoch * len(self) + index`: chance (masks, phrasings) follows from seed, epoch and index alone, so that
    workers, restarts and resumed runs see the same samples.  A sample that cannot be used is counted in `tally` and
    replaced by the next one.
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
    ):
        self.sources, self.encode, self.max_length, self.seed = tuple(sources), encode, max_length, seed
        self.image_token_id, self.tokens_per_image = image_token_id, tokens_per_image
        self.records = [read_records(source.file, KINDS[source.kind].fields) for source in self.sources]
        self.rows = _chosen_rows([len(records) for records in self.records], self.sources, seed)
        self.tally = Tally()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int) -> Sample:
        epoch, index = divmod(int(key), len(self))
        for step in range(min(ATTEMPTS, len(self))):
            try:
                return self._sample(epoch, (index + step) % len(self))
            except Unusable as problem:
                if self.tally.add(str(problem)) <= 3:
                    logger.warning("left out: %s (%s)", problem, problem.__cause__ or "see the data")
        raise UserError(f"not one of {step + 1} samples in a row can be used: {self.tally.counts()}; check the data.")

    def split(self, fraction: float) -> tuple["Mixture", "Mixture"]:
        """Two parts without common rows, the second with `fraction` of them (at least one)."""
        held_out = max(1, round(fraction * len(self)))
        order = np.random.default_rng([self.seed, 1]).permutation(len(self))
        return self._part(np.sort(order[held_out:])), self._part(np.sort(order[:held_out]))

    def lengths(self) -> np.ndarray:
        """Roughly, the tokens of each sample; costs no tokenising."""
        per_source = [[_rough_length(record, self.tokens_per_image) for record in part] for part in self.records]
        return np.array([per_source[source][row] for source, row in self.rows])

    def _part(self, indices: np.ndarray) -> "Mixture":
        part = object.__new__(Mixture)
        part.__dict__.update(self.__dict__, rows=self.rows[indices])
        return part

    def _record(self, index: int) -> tuple[DataSource, Record]:
        source, row = self.rows[index]
        return self.sources[source], self.records[source][row]

    def _sample(self, epoch: int, index: int) -> Sample:
        source, record = self._record(index)
        rng = np.random.default_rng([self.seed, epoch, index])
        conversation = KINDS[source.kind].converse(record, _opener(source), rng)
        encoded = self.encode(conversation)
        return self._fitted(Sample(encoded.input_ids, encoded.labels, conversation.images()))

    def _fitted(self, sample: Sample) -> Sample:
        """The sample within the length limit.  Only words at the end may go, and only if an answer remains."""
        ids, labels = sample.input_ids[: self.max_length], sample.labels[: self.max_length]
        if self.image_token_id in sample.input_ids[self.max_length :]:
            raise Unusable(TOO_LONG)
        if all(label == IGNORED for label in labels):
            raise Unusable(UNANSWERED if len(ids) == len(sample.input_ids) else TOO_LONG)
        if len(ids) < len(sample.input_ids):
            self.tally.add(CUT)
        return Sample(ids, labels, sample.images)


def _opener(source: DataSource) -> Callable[[str], Image.Image]:
    def open_picture(name: str) -> Image.Image:
        try:
            return open_image(Path(source.image_folder) / name)
        except UserError as problem:
            raise Unusable(MISSING) from problem

    return open_picture


def _chosen_rows(counts: Sequence[int], sources: Sequence[DataSource], seed: int) -> np.ndarray:
    """(source, row) of each sample, shape (samples, 2)."""
    rows = []
    for number, (count, source) in enumerate(zip(counts, sources, strict=True)):
        rng = np.random.default_rng([seed, number])
        wanted = max(1, round(source.share * count))
        passes = [np.arange(count) for _ in range(wanted // count)]
        chosen = np.concatenate([*passes, np.sort(rng.permutation(count)[: wanted % count])])
        rows.append(np.stack([np.full(len(chosen), number), chosen], axis=1))
    return np.concatenate(rows)


def _rough_length(record: Record, tokens_per_image: int) -> int:
    said = record.get("conversations")
    texts = [turn.get("value", "") for turn in said] if said else [record[key] for key in record if key != "image"]
    pictures = record.get("image") or []
    count = 1 if isinstance(pictures, str) else len(pictures)
    return sum(len(str(text)) for text in texts) // CHARACTERS_PER_TOKEN + count * tokens_per_image
