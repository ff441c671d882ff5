"""An endpoint and the peer that a test drives: what ``check_endpoint`` gets, and helpers of its laws."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from relay.endpoints.base import Endpoint
from relay.frames.frame import Frame
from relay.limits import Limits

__all__ = ["CHECK_LIMITS", "Capabilities", "Far", "Pair", "far_of", "joined", "numbered", "of_size", "request", "take"]

CHECK_LIMITS = Limits(max_frame_bytes=2 * 2**20, close_grace=0.5, linger=1, stall=5)
"""The limits that ``make_pair`` gets, small enough to be reached."""


class Far(Protocol):
    """The peer, driven by the test."""

    async def receive(self) -> Sequence[Frame]:
        """Return what the endpoint has sent since the last call; ``()`` after its ``send_eof``."""

    async def send(self, frames: Sequence[Frame]) -> None:
        """Send frames to the endpoint; waits while the endpoint takes none."""

    async def send_eof(self) -> None:
        """Tell the endpoint that no more will come."""

    async def vanish(self) -> None:
        """Disconnect without an end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a transport can show."""

    reads: bool = True
    """The endpoint receives what far sends."""
    writes: bool = True
    """Far receives what the endpoint sends."""
    half_close: bool = True
    """``send_eof`` reaches the peer, and the peer may still answer."""
    blocks_sender: bool = True
    """A peer that does not read holds ``send`` back (a regular file never does)."""
    vanishing_breaks: bool = False
    """A peer that disconnects without an end has failed: ``receive`` raises instead of returning ``()``."""
    most_buffered: int = 4 * 2**20
    """Bytes after which ``send`` must block: the buffers of the endpoint, the kernel and the peer."""
    bounds_frames: bool = True
    """A frame above the limit is detected and dropped (in memory, nothing is framed)."""


@dataclass(slots=True)
class Pair:
    """An endpoint and its peer."""

    near: Endpoint
    far: Far


@dataclass(slots=True)
class far_of:  # a function in spirit: makes a Far of an Endpoint
    """Drive the peer through an endpoint at the other end."""

    endpoint: Endpoint
    on_vanish: Callable[[], None] | None = field(default=None)

    async def receive(self) -> Sequence[Frame]:
        """As the endpoint's."""
        return await self.endpoint.receive()

    async def send(self, frames: Sequence[Frame]) -> None:
        """As the endpoint's."""
        await self.endpoint.send(frames)

    async def send_eof(self) -> None:
        """As the endpoint's."""
        await self.endpoint.send_eof()

    async def vanish(self) -> None:
        """Close the endpoint, or call ``on_vanish``."""
        if self.on_vanish is not None:
            self.on_vanish()
        else:
            await self.endpoint.aclose()


@contextlib.asynccontextmanager
async def joined(near: Endpoint, far: Far) -> AsyncIterator[Pair]:
    """Make a pair of two endpoints, and close both at the end."""
    try:
        yield Pair(near, far)
    finally:
        await near.aclose()
        await far.vanish()


def numbered(count: int, size: int = 0) -> list[Frame]:
    """Make requests 0, 1, … with so many bytes of padding."""
    return [request(number, size) for number in range(count)]


def request(number: int, size: int = 0) -> Frame:
    """Make one request with so many bytes of padding."""
    return Frame(b'{"jsonrpc":"2.0","id":%d,"method":"x","params":{"p":"%s"}}' % (number, b"x" * size))


def of_size(number: int, size: int) -> Frame:
    """Make a request of exactly so many bytes."""
    return request(number, size - len(request(number).raw))


async def take(source: Endpoint | Far, count: int) -> list[Frame]:
    """Receive until ``count`` frames have come, or the end."""
    frames: list[Frame] = []
    while len(frames) < count and (batch := await source.receive()):
        frames += batch
    return frames
