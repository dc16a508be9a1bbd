"""Caches of conversations that may go on: what a language model has read already need not be read again."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from threading import Lock

from PIL import Image

from llmga.llava.conversation import Conversation, Message
from llmga.llava.loading import NewChat
from llmga.llava.planner import Planner


class PrefixCache:
    """Keeps the planners of the latest conversations, which hold key-value caches of what they have read.

    Each serves its own client only, and one request at a time.

    Nothing is remembered by this: a request's messages say everything, and a cache serves them only as far as they are
    token by token what it was made from.  Without it, answers would be the same, and slower.

    Args:
        bound: How many planners are kept.
        told: Called with whether a conversation went on from one that is kept.
    """

    def __init__(self, new_chat: NewChat, bound: int, told: Callable[[bool], None] = lambda hit: None):
        self.new_chat = new_chat
        self.bound = bound
        self._told = told
        self._kept: OrderedDict[tuple[str, int], tuple[Planner, Conversation]] = OrderedDict()
        self._numbers, self._lock = count(), Lock()

    def take(self, client: str, wanted: Conversation) -> tuple[Planner, Conversation]:
        """Return a planner for the conversation, and the conversation with the system text and pictures that it knows.

        It is the client's planner with the longest common prefix, or a new one, and belongs to the caller until `put`.
        """
        planner, known = self.warm(client, wanted)
        return planner, taught(known, planner.teaching)

    def warm(self, client: str, wanted: Conversation) -> tuple[Planner, Conversation]:
        """Return the same with the system text as it is."""
        best = self._best(client, wanted)
        self._told(best is not None)
        planner, known = best or (self.new_chat(), Conversation())
        return planner, replace(wanted, messages=tuple(_with_known_images(wanted.messages, known.messages)))

    def put(self, client: str, planner: Planner, conversation: Conversation) -> None:
        """Keep what the planner has read of the conversation for the next request of this client."""
        with self._lock:
            self._kept[client, next(self._numbers)] = planner, conversation
            while len(self._kept) > self.bound:
                self._kept.popitem(last=False)

    def _best(self, client: str, wanted: Conversation) -> tuple[Planner, Conversation] | None:
        with self._lock:
            shared = {
                key: _common_prefix(known.messages, wanted.messages)
                for key, (_, known) in self._kept.items()
                if key[0] == client
            }
            best = max(shared, key=shared.__getitem__, default=None)
            return self._kept.pop(best) if best and shared[best] else None


def taught(conversation: Conversation, teaching: str) -> Conversation:
    """Return the conversation with what a planner has to be taught before a system text of its own."""
    system = conversation.system and "\n\n".join(filter(None, (teaching, conversation.system)))
    return replace(conversation, system=system)


def _common_prefix(kept: tuple[Message, ...], wanted: tuple[Message, ...]) -> int:
    """Return with how many equal messages both begin."""
    pairs = zip(kept, wanted, strict=False)
    equal = (old.text == new.text and _same_images(old, new) for old, new in pairs)
    return next((index for index, same in enumerate(equal) if not same), min(len(kept), len(wanted)))


def _with_known_images(wanted: tuple[Message, ...], kept: tuple[Message, ...]) -> list[Message]:
    """Return the messages wanted, with the very image objects of those kept: a cache knows them by identity."""
    known = dict(enumerate(kept))
    return [
        replace(new, images=known[index].images)
        if new.images and index in known and _same_images(known[index], new)
        else new
        for index, new in enumerate(wanted)
    ]


def _same_images(old: Message, new: Message) -> bool:
    return len(old.images) == len(new.images) and all(map(_same, old.images, new.images))


def _same(old: Image.Image, new: Image.Image) -> bool:
    return old.size == new.size and old.mode == new.mode and old.tobytes() == new.tobytes()
