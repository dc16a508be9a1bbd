"""Answers of /v1/responses that a later request goes on from; the oldest give way."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from llmga.serve.api.chat_schemas import MessageIn
from llmga.serve.api.responses_schemas import GivenItem, ImageItem, ResponseObject

MOST = 256  # answers
LARGEST = 256_000_000  # characters of all together, pictures included


@dataclass(frozen=True)
class StoredResponse:
    """An answer and what it answered.

    Attributes:
        messages: The whole conversation, the answer included.
        weight: Characters that it takes.
        given: The items that it answered.
    """

    response: ResponseObject
    messages: tuple[MessageIn, ...]
    weight: int
    given: tuple[GivenItem, ...] = ()


class ResponseStore:
    """The latest answers of every client, in memory; each is found by the client that it was given to.

    Args:
        most: How many are kept.
        largest: How many characters they may have together.
    """

    def __init__(self, most: int = MOST, largest: int = LARGEST):
        self._most, self._largest = most, largest
        self._kept: OrderedDict[tuple[str, str], StoredResponse] = OrderedDict()

    def put(
        self,
        client: str,
        response: ResponseObject,
        messages: Sequence[MessageIn],
        given: Sequence[GivenItem] = (),
    ) -> None:
        """Keep an answer; the pictures that were given weigh once, as the conversation has the same texts."""
        weight = len(response.model_dump_json()) + sum(len(message.model_dump_json()) for message in messages)
        self._kept[client, response.id] = StoredResponse(response, tuple(messages), weight, tuple(given))
        while len(self._kept) > self._most or sum(each.weight for each in self._kept.values()) > self._largest:
            self._kept.popitem(last=False)

    def get(self, client: str, name: str) -> StoredResponse | None:
        """Return an answer; None where it is not (or no longer) here."""
        return self._kept.get((client, name))

    def delete(self, client: str, name: str) -> bool:
        """Forget an answer; whether it was here."""
        return self._kept.pop((client, name), None) is not None

    def painted(self, client: str, name: str) -> ImageItem | None:
        """Return a picture by the name of its item."""
        mine = (each.response for (owner, _), each in reversed(self._kept.items()) if owner == client)
        items = (item for response in mine for item in response.output if isinstance(item, ImageItem))
        return next((item for item in items if item.id == name), None)
