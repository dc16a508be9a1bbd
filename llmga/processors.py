"""Processors of transformers that see pictures and films, without their part for films."""

from typing import Any

from transformers.utils import is_torchvision_available


def without_films(known: Any) -> Any:
    """What has `from_pretrained`: the class, or one like it without its part for films where that would fail.

    That part needs torchvision, which pictures do not.
    """
    if is_torchvision_available() or not any("video" in name for name in known.get_attributes()):
        return known
    return type(known.__name__, (_WithoutFilms, known), {"__module__": known.__module__})


class _WithoutFilms:
    @classmethod
    def get_attributes(cls) -> list[str]:
        named = super().get_attributes()  # type: ignore[misc] # of the processor that this is mixed into
        return [name for name in named if "video" not in name]
