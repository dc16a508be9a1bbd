"""What a vision-language model has read already, so that a conversation that goes on is not read again."""

from typing import Any

from PIL import Image
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig

from llmga.llava.prefixes import common_prefix
from llmga.llava.vlm import Vlm

Inputs = dict[str, Any]

# What generate takes whole, however much of it the cache holds: it is as long as the text, or speaks of the whole.
_WHOLE = ("input_ids", "attention_mask", "position_ids", "token_type_ids", "mm_token_type_ids", "batch_num_images")
_OF_PICTURES = ("pixel_values", "pixel_attention_mask", "image_sizes", "image_grid_thw")
_ATTENTION = {"full_attention", "sliding_attention"}

Images = tuple[Image.Image, ...]


class KeptReading:
    """The cache of one conversation.

    What a processor makes of a picture, and how a model counts its positions, is known for the whole conversation
    only; so that is always made anew, and of it the model reads what the cache lacks.  How many tokens each of several
    pictures takes is not known, either.  Hence a conversation is kept up to the end of a turn that was read, and
    beyond it up to the next picture.

    A model whose layers or inputs are unheard of reads everything anew.
    """

    def __init__(self, vlm: Vlm):
        self._vlm = vlm
        self._keeps = vlm.image_token_id is not None and _caches_every_token(vlm.model.config)
        self._place = -1 if vlm.image_token_id is None else vlm.image_token_id
        self.forget()

    def forget(self) -> None:
        """Keep nothing."""
        self._cache = DynamicCache()
        self._ids: list[int] = []
        self._turns: list[tuple[int, Images]] = [(0, ())]  # positions that were read, and the pictures in them

    def unread(self, inputs: Inputs, images: Images) -> Inputs:
        """What `generate` takes to go on from the cache.

        Args:
            inputs: of the whole conversation, as `Vlm.inputs` makes them.
            images: its pictures.
        """
        if not self._keeps or not set(inputs) <= {*_WHOLE, *_OF_PICTURES}:
            return inputs
        inputs = inputs | self._positions(inputs)
        ids = inputs["input_ids"][0].tolist()
        start, seen = self._known(ids, images)
        unseen = self._unseen(inputs, ids, start, len(images), seen)
        if unseen is None:
            start, unseen = 0, inputs
        self._roll_back(start)
        self._turns.append((len(ids), images))
        self._ids = ids
        return unseen | {"past_key_values": self._cache}

    def read(self, ids: list[int]) -> None:
        """Take note of what the cache holds after an answer: all ids but the last one, which was not read."""
        self._ids = ids[: self._cache.get_seq_length()]

    def _positions(self, inputs: Inputs) -> Inputs:
        """The positions of the whole text, which some models count by its pictures, old and new; what they note of
        them for the next call may be of another conversation by then."""
        model: Any = self._vlm.model
        if not hasattr(model.base_model, "rope_deltas"):
            return {}
        return {"position_ids": model._prepare_position_ids_for_generation(inputs["input_ids"], dict(inputs))}

    def _known(self, ids: list[int], images: Images) -> tuple[int, int]:
        """How many positions of the cache hold, and how many pictures are in them."""
        common = min(common_prefix(self._ids, ids), len(ids) - 1)
        turns = (turn for turn in reversed(self._turns) if turn[0] <= common and _begins(images, turn[1]))
        length, pictures = next(turns)
        return next((at for at in range(length, common) if ids[at] == self._place), common), len(pictures)

    def _unseen(self, inputs: Inputs, ids: list[int], start: int, pictures: int, seen: int) -> Inputs | None:
        """The inputs without the pictures that were seen; None where those cannot be told from the others."""
        whole = {name: value for name, value in inputs.items() if name in _WHOLE}
        if seen == pictures:
            return whole
        if not seen:
            return inputs
        places = (ids[:start].count(self._place), ids.count(self._place))
        later = {name: _later(inputs[name], pictures, seen, places) for name in inputs if name in _OF_PICTURES}
        return None if any(value is None for value in later.values()) else whole | later

    def _roll_back(self, length: int) -> None:
        if not length:
            self.forget()
        elif surplus := self._cache.get_seq_length() - length:
            self._cache.crop(-surplus)  # a negative number counts the tokens to remove
        self._turns = [turn for turn in self._turns if turn[0] <= length]


def _caches_every_token(config: PreTrainedConfig) -> bool:
    """Whether each layer caches keys and values of its own for each token, so that any number can be taken back."""
    text = config.get_text_config()
    layers = set(getattr(text, "layer_types", None) or _ATTENTION)
    return layers <= _ATTENTION and not config.is_encoder_decoder and not getattr(text, "num_kv_shared_layers", 0)


def _later(value: Tensor, pictures: int, seen: int, places: tuple[int, int]) -> Tensor | None:
    """The rows of the pictures that come later: a row is a picture, or as many of its tokens as any other.

    Args:
        value: (pictures or parts of them, …), or with one axis more in front, of length 1.
        places: how many tokens are those of the pictures seen, and of all.
    """
    axis = 0 if len(value) > 1 else 1
    rows = value.shape[axis]
    if rows == pictures:
        return value.narrow(axis, seen, rows - seen)
    past, rest = divmod(rows * places[0], places[1])
    return None if rest else value.narrow(axis, past, rows - past)


def _begins(images: Images, earlier: Images) -> bool:
    return len(earlier) <= len(images) and all(map(_same, images, earlier))


def _same(image: Image.Image, other: Image.Image) -> bool:
    return image is other
