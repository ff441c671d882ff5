"""Decode an answer whose Content-Encoding the relay did not request: read gzip and deflate, reject any other.

Memory is bounded: each piece unpacks in steps, so a decompression bomb stops at the reader's limit.
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
_STEPS_AT_ONCE = 16  # 1 MiB takes some 4 ms; then the loop runs other tasks
_GZIP = 16 + zlib.MAX_WBITS
_READABLE = ("gzip", "x-gzip", "deflate")


class _Headers(Protocol):
    def get(self, name: str, /) -> str | None:
        """Return one header."""


def coding_of(headers: _Headers) -> str:
    """Return the coding of a body; "" if the body is not encoded."""
    value = headers.get(CONTENT_ENCODING)
    return "" if value is None or (coding := value.strip().lower()) == "identity" else coding


def is_readable(coding: str) -> bool:
    """Tell whether the relay can decode this coding."""
    return not coding or coding in _READABLE


def describe_coding(coding: str) -> str:
    """Return an error message that names an unsupported coding."""
    shown = "".join(c for c in coding if c.isprintable())[:40]
    return f"the answer has Content-Encoding: {shown}, which the relay did not request and cannot decode"


async def decode(pieces: AsyncIterator[bytes], coding: str, name: str) -> AsyncIterator[bytes]:
    """Yield the decoded bytes of ``pieces`` of a body. Raises EndpointBroken if they are not in that coding."""
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
        raise EndpointBroken(f"{name}: the answer is not valid {coding}") from None
    if unpacking is not None and not unpacking.is_whole:
        raise EndpointBroken(f"{name}: the answer's {coding} data ends too early")


class _Unpacking:
    """The decoder of one gzip or deflate body."""

    def __init__(self, coding: str) -> None:
        self._is_gzip = coding != "deflate"
        self._member = zlib.decompressobj(_GZIP) if self._is_gzip else None
        self.is_whole = True
        """Whether the body may end here; an empty body may, too."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not data:
            return
        if self._member is None:
            # RFC 9110 requires zlib's format; some servers send raw deflate.
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
                self._member = zlib.decompressobj(_GZIP)  # RFC 1952 allows several members
            elif not data and len(part) < _STEP:
                return
