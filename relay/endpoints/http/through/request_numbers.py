"""Keep the requests of one forwarded POST in the table of their server, under numbers of the relay's own.

Clients choose the same ids, and the relay forwards the ids unchanged. So the table cannot use them.
"""

from __future__ import annotations

from typing import Any

from relay.frames.frame import Frame
from relay.frames.head import RequestId
from relay.routing.open_table import Ending, OpenTable

__all__ = ["RequestNumbers"]


class RequestNumbers:
    """The open requests of one POST; a stream's own table tells it of each request that ends."""

    __slots__ = ("_numbers", "_table")

    def __init__(self, table: OpenTable[Any], numbers: dict[RequestId, int]) -> None:
        """Hold the numbers in ``table`` of requests that are open there, by the client's ids."""
        self._table = table
        self._numbers = numbers

    def end_all(self, ending: Ending, answer: Frame | None = None) -> None:
        """End every request that is still open; ``answer`` answers all of them."""
        for request_id in list(self._numbers):
            self.ended(request_id, ending, answer)

    # As the subscriber of a stream's table.

    def opened(self, request_id: RequestId, method: str | None) -> None:
        """Do nothing: the POST has opened its requests already."""

    def cancelled(self, request_id: RequestId) -> None:
        """Do nothing: a client cancels by another POST, which the relay does not read."""

    def ended(self, request_id: RequestId, ending: Ending, answer: Frame | None) -> None:
        """End one request."""
        number = self._numbers.pop(request_id, None)
        if number is not None:
            self._table.answer(number, answer, ending)
