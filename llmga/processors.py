"""Classes of processors where torchvision is not installed: for pictures they do not need it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from transformers import ProcessorMixin
from transformers.models.auto.processing_auto import processor_class_from_name
from transformers.utils import is_torchvision_available

_PIXTRAL = "PixtralProcessor"  # of Mistral 3, too


def processor_class(name: str) -> Any:
    """A processor's class that can be made here, None for an unknown name."""
    if is_torchvision_available():
        return processor_class_from_name(name)
    known = _pixtral() if name == _PIXTRAL else processor_class_from_name(name)
    return known and without_films(known)


def _pixtral() -> type[ProcessorMixin]:
    """The library withholds this one, whose module takes one function from the picture part that is written with
    torchvision; the other picture part has the same function."""
    package = "transformers.models.pixtral"
    withheld = f"{package}.image_processing_pixtral"
    sys.modules[withheld] = import_module(f"{package}.image_processing_pil_pixtral")
    try:
        found: type[ProcessorMixin] = getattr(import_module(f"{package}.processing_pixtral"), _PIXTRAL)
    finally:
        del sys.modules[withheld]
    return found


def without_films(known: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """The processor's class, made from its other parts alone; the class itself where it has no part for films."""
    kind: Any = known
    if not any(map(_is_of_films, kind.get_attributes())):
        return known

    return type(known.__name__, (_WithoutFilms, known), {"__module__": known.__module__})


def _is_of_films(part: str) -> bool:
    return "video" in part


class _WithoutFilms:
    @classmethod
    def get_attributes(cls) -> list[str]:
        """The names of the parts."""
        named = super().get_attributes()  # type: ignore[misc] # of the processor that this is mixed into
        return [name for name in named if not _is_of_films(name)]

    @classmethod
    def from_args_and_dict(cls, parts: list[Any], settings: dict[str, Any], **more: Any) -> Any:
        """Made from its parts; some insist on the one for films, which is None then."""
        named = dict(zip(cls.get_attributes(), parts, strict=True))
        kind: Any = super()
        with _words_for_numbers(cls):
            return kind.from_args_and_dict([named.get(name) for name in kind.get_attributes()], settings, **more)

    def apply_chat_template(self, *messages: Any, **settings: Any) -> Any:
        """Without what some processors ask their part for films first."""
        return ProcessorMixin.apply_chat_template(self, *messages, **settings)  # type: ignore[arg-type]


@contextmanager
def _words_for_numbers(kind: type) -> Iterator[None]:
    """SmolVLM's processor insists on a package that only films need; it is made as if the package were there."""
    module: Any = sys.modules[kind.__mro__[2].__module__]
    missing = getattr(module, "num2words", str) is None
    if missing:
        module.num2words = str
    try:
        yield
    finally:
        if missing:
            module.num2words = None
