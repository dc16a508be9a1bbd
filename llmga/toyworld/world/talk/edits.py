"""What an edit of a picture is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from llmga.toyworld.world.scene import Scene
from llmga.toyworld.world.talk.asking import Asked
from llmga.toyworld.world.talk.gallery import Gallery
from llmga.toyworld.world.talk.voice import Voice


@dataclass(frozen=True)
class Edit:
    """A new scene, the words for the slots of its row, and what is judged (default: everything in it).

    Attributes:
        is_where: whether the words say where it all is (`at night`), not what the background is.
    """

    scene: Scene
    words: Mapping[str, str] = field(default_factory=dict)
    asked: Asked | None = None
    is_where: bool = False


Act = Callable[[Gallery, Voice], Edit | None]


def any_of(scene: Scene, voice: Voice) -> int | None:
    """One of the things."""
    return voice.rng.randrange(len(scene.things)) if scene.things else None
