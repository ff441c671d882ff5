"""Read an answer in a Content-Encoding that nobody asked for: gzip and deflate are read, any other is named.

Bounded: whatever a piece unpacks to comes in steps, so that a bomb ends where its reader's limit is.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

from relay.errors import EndpointBroken

__all__ = ["CONTENT_ENCODING", "coding_of", "decode", "describe_coding", "is_readable"]

CONTENT_ENCODING = "Content-Encoding"

_STEP = 64 * 1024
_STEPS_AT_ONCE = 16  # 1 MiB takes some 4 ms; then others have their turn
_GZIP = 16 + zlib.MAX_WBITS
_READABLE = ("gzip", "x-gzip", "deflate")


class _Headers(Protocol):
    def get(self, name: str, /) -> str | None:
        """Return one header."""


def coding_of(headers: _Headers) -> str:
    """Return the coding of a body; "" if it is as it is."""
    value = headers.get(CONTENT_ENCODING)
    return "" if value is None or (coding := value.strip().lower()) == "identity" else coding


def is_readable(coding: str) -> bool:
    """Tell whether a body in this coding can be read."""
    return not coding or coding in _READABLE


def describe_coding(coding: str) -> str:
    """Say what a coding is that cannot be read."""
    shown = "".join(c for c in coding if c.isprintable())[:40]
    return f"the answer has Content-Encoding: {shown}, which was not asked for and cannot be read here"


async def decode(pieces: AsyncIterator[bytes], coding: str, name: str) -> AsyncIterator[bytes]:
    """Yield what ``pieces`` of a body stand for. Raises EndpointBroken if they are not in that coding."""
    unpacking = _Unpacking(coding) if is_readable(coding) else None
    steps = 0
    try:
        async for piece in pieces:
            if piece and unpacking is None:
                raise EndpointBroken(f"{name}: {describe_coding(coding)}")
            for part in unpacking.feed(piece) if unpacking is not None else ():
                yield part
                steps += 1
                if steps % _STEPS_AT_ONCE == 0:
                    await asyncio.sleep(0)
    except zlib.error:
        raise EndpointBroken(f"{name}: the answer is not the {coding} that it says it is") from None
    if unpacking is not None and not unpacking.is_whole:
        raise EndpointBroken(f"{name}: the answer's {coding} ends too early")


class _Unpacking:
    """One body on its way out of gzip or deflate."""

    def __init__(self, coding: str) -> None:
        self._is_gzip = coding != "deflate"
        self._member = zlib.decompressobj(_GZIP) if self._is_gzip else None
        self.is_whole = True
        """Whether it may end here; so may one of no bytes at all."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not data:
            return
        if self._member is None:
            # RFC 9110 wants zlib's format; some servers send the bare deflate in it.
            self._member = zlib.decompressobj(zlib.MAX_WBITS if data[0] & 0x0F == 8 else -zlib.MAX_WBITS)
        while True:
            part = self._member.decompress(data, _STEP)
            data = self._member.unconsumed_tail
            self.is_whole = self._member.eof
            if part:
                yield part
            if self._member.eof:
                data = self._member.unused_data
                if not data or not self._is_gzip:
                    return
                self._member = zlib.decompressobj(_GZIP)  # of several, which RFC 1952 allows
            elif not data and len(part) < _STEP:
                return
