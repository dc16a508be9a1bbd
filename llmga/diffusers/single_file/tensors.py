"""The tensors of a file, which stay on disk until they are used."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from llmga.diffusers.file_headers import Header, load_pytorch, read_header, state_dict_of
from llmga.diffusers.file_kinds import FileKind, recognise
from llmga.errors import UserError


class TensorFile(Mapping[str, Tensor]):
    """A file of weights by the names in it.

    Args:
        path: a .safetensors file, or a PyTorch file that holds nothing but tensors and numbers.

    Raises:
        UserError: it is of another type, damaged, or holds Python objects.
    """

    def __init__(self, path: Path):
        self.path = path
        self.header: Header = read_header(path)
        self.kind: FileKind = recognise(self.header.shapes, self.header.metadata)

    def __iter__(self) -> Iterator[str]:
        return iter(self.header.shapes)

    def __len__(self) -> int:
        return len(self.header.shapes)

    def __contains__(self, name: object) -> bool:
        return name in self.header.shapes

    def __getitem__(self, name: str) -> Tensor:
        if name not in self:
            raise KeyError(name)
        tensor: Tensor = self._opened[name]
        return tensor

    @cached_property
    def _opened(self) -> Any:
        if self.path.suffix == ".safetensors":
            return _Safetensors(self.path, self.header)
        return state_dict_of(load_pytorch(self.path))

    def release(self) -> None:
        """Let go of what is open; the next use opens it again."""
        self.__dict__.pop("_opened", None)

    def beginning(self, prefix: str) -> dict[str, Tensor]:
        """The tensors under a prefix, by their whole names."""
        return {name: self[name] for name in self if name.startswith(prefix)}


class _Safetensors:
    def __init__(self, path: Path, header: Header):
        from safetensors import SafetensorError, safe_open

        try:
            self.stream = safe_open(path, "pt").__enter__()
            self.problems = (SafetensorError, AttributeError, TypeError, ValueError)
        except SafetensorError as problem:
            raise UserError(f"{str(path)!r} is damaged ({problem}); fetch it again.") from None
        self.path, self.header = path, header

    def __getitem__(self, name: str) -> Tensor:
        try:
            tensor: Tensor = self.stream.get_tensor(name)
        except self.problems:
            raise UserError(f"{str(self.path)!r} holds {name} in the number format {self.header.formats[name]}, which "
                            "is not read here; give another file.") from None  # fmt: skip
        return tensor
