"""The parts of a pipeline that learn, and their weights by name."""

from collections.abc import Iterable, Mapping
from itertools import islice
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from llmga.diffusers.train.config import Stage2Config
from llmga.diffusers.train.loading import learning_parts
from llmga.diffusers.train.networks import NETWORKS


class LearningParts:
    """What learns of a pipeline: its network and, perhaps, its text encoders.

    Attributes:
        parts: by their names in the pipeline, the network first.
        tensors: the parameters of each that learn, by name.
    """

    def __init__(self, pipe: Any, config: Stage2Config):
        self.pipe, self.config = pipe, config
        self.row = NETWORKS[config.family]
        self.parts: dict[str, Any] = {name: getattr(pipe, name) for name in learning_parts(config)}
        self.tensors: dict[str, dict[str, Any]] = {
            name: {key: tensor for key, tensor in part.named_parameters() if tensor.requires_grad}
            for name, part in self.parts.items()
        }

    def named(self) -> dict[str, Any]:
        """The parameters of all parts; those of text encoders with their part in front."""
        return {
            key if part == self.row.part else f"{part}.{key}": tensor
            for part, tensors in self.tensors.items()
            for key, tensor in tensors.items()
        }

    def groups(self) -> list[dict[str, Any]]:
        """The parameters of each part with their peak learning rate."""
        config = self.config
        of_texts = config.lr if config.text_encoder_lr is None else config.text_encoder_lr
        return [
            {"params": tensors.values(), "peak": config.lr if part == self.row.part else of_texts}
            for part, tensors in self.tensors.items()
        ]

    def split(self, learnt: Iterable[Tensor]) -> dict[str, dict[str, Tensor]]:
        """Values in the order of `named` -> those of each part, by parameter name."""
        values = iter(learnt)
        return {
            part: dict(zip(tensors, islice(values, len(tensors)), strict=True))
            for part, tensors in self.tensors.items()
        }

    def encoding(self, prepared: Mapping[str, Any]) -> Any:
        """What captions are encoded with: the pipeline, or its text encoders as accelerate prepared them.

        Args:
            prepared: the parts, by name.
        """
        if len(prepared) == 1:
            return self.pipe
        rest = {name: getattr(self.pipe, name, None) for name in ("tokenizer", "tokenizer_2", *self.row.towers)}
        learning = {name: _Prepared(each, self.parts[name]) for name, each in prepared.items()}
        return SimpleNamespace(**rest | learning, config=self.pipe.config)


class _Prepared:
    """A part that is called as accelerate prepared it, so that processes share gradients, and is else what it was."""

    def __init__(self, prepared: Any, part: Any):
        self._prepared, self._part = prepared, part

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self._prepared(*given, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)
