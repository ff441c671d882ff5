"""`relay.testing.check_endpoint` finds what is wrong with an endpoint, and needs no test runner."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from relay.endpoints.core.memory import MemoryEndpoint, memory_pair
from relay.errors import RelayError
from relay.frames.frame import Frame
from relay.limits import Limits
from relay.testing import Capabilities, Pair, check_endpoint, far_of, joined

CAN = Capabilities(bounds_frames=False, most_buffered=(256 + 64) * 1024)


class Outer:
    """An endpoint somebody else wrote, without an inbox that could be looked into."""

    name = "outer"

    def __init__(self, inner: MemoryEndpoint) -> None:
        self.inner = inner

    async def receive(self) -> Sequence[Frame]:
        return await self.inner.receive()

    def call_at_end(self, callback: Callable[[], None]) -> None:
        self.inner.call_at_end(callback)

    async def send(self, frames: Sequence[Frame]) -> None:
        await self.inner.send(frames)

    async def send_eof(self) -> None:
        await self.inner.send_eof()

    async def aclose(self, reason: RelayError | None = None) -> None:
        await self.inner.aclose(reason)


class Shuffles(Outer):
    async def receive(self) -> Sequence[Frame]:
        return (await super().receive())[::-1]


class Changes(Outer):
    async def send(self, frames: Sequence[Frame]) -> None:
        await super().send([Frame(frame.raw.replace(b'"jsonrpc":"2.0"', b'"jsonrpc": "2.0"')) for frame in frames])


class NeverWaits(Outer):
    async def send(self, frames: Sequence[Frame]) -> None:
        if self.inner._sent_eof or self.inner._closed or self.inner._other._closed:
            await super().send(frames)
        self.inner._other._inbox.put(frames)


class ForgetsItsEnd(Outer):
    async def receive(self) -> Sequence[Frame]:
        return await super().receive() or [Frame(b"{}")]


class SendsAfterTheEnd(Outer):
    async def send(self, frames: Sequence[Frame]) -> None:
        with contextlib.suppress(RelayError):
            await super().send(frames)


def pairs(kind: type[Outer]) -> Callable[[Limits], contextlib.AbstractAsyncContextManager[Pair]]:
    @contextlib.asynccontextmanager
    async def make_pair(limits: Limits) -> AsyncIterator[Pair]:
        near, far = memory_pair(limits=limits)
        async with joined(kind(near), far_of(far)) as pair:
            yield pair

    return make_pair


async def test_an_endpoint_of_somebody_elses_passes() -> None:
    """Nothing is asked of it but the protocol."""
    await check_endpoint(pairs(Outer), CAN)


@pytest.mark.parametrize(
    ("kind", "law", "said"),
    [
        (Shuffles, "order_is_kept_inwards", "not b'"),
        (Changes, "order_is_kept_outwards", "frame 0 is b'"),
        (NeverWaits, "an_unread_sink_blocks_the_sender", "were accepted unread"),
        (ForgetsItsEnd, "the_end_has_no_frames", "came where"),
        (SendsAfterTheEnd, "late_answers_pass_a_half_closed_endpoint", "EndpointClosed should have been raised"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_what_is_wrong_is_named(kind: type[Outer], law: str, said: str) -> None:
    """The law, in a note, and what was seen."""
    with pytest.raises((AssertionError, ExceptionGroup)) as caught:
        await check_endpoint(pairs(kind), CAN)
    assert law in caught.value.__notes__[-1]
    assert said in _text(caught.value)


def _text(exc: BaseException) -> str:
    return " ".join(map(_text, exc.exceptions)) if isinstance(exc, BaseExceptionGroup) else str(exc)


def test_it_needs_no_test_runner_and_no_asserts() -> None:
    """A plain script may use it, under -O too: there it finds faults as well."""
    code = f"""
import asyncio, sys
sys.path.insert(0, ".")
from relay.testing import check_endpoint
assert False, "not seen under -O"
import contextlib, relay
from relay.testing import Capabilities, far_of, joined
class Changes(type(relay.memory_pair()[0])):
    async def send(self, frames): await super().send([relay.Frame(frame.raw + b" ") for frame in frames])
@contextlib.asynccontextmanager
async def make_pair(limits):
    near, far = relay.memory_pair(limits=limits)
    near.__class__ = Changes
    async with joined(near, far_of(far)) as pair: yield pair
try: asyncio.run(check_endpoint(make_pair, {CAN!r}))
except AssertionError as exc: print(exc.__notes__[-1].split(":")[1].strip(), "pytest" in sys.modules)
"""
    ended = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, timeout=30)
    assert (ended.stdout, ended.stderr) == ("order_is_kept_outwards False\n", "")
