"""What is said in a handshake."""

from __future__ import annotations

import msgspec

from relay.frames.frame import Frame
from relay.frames.strictness import UNREADABLE, read_text

__all__ = ["negotiated_version"]


class _Negotiated(msgspec.Struct):
    protocolVersion: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Initialized(msgspec.Struct):
    result: _Negotiated | None = None


_decode_initialized = msgspec.json.Decoder(_Initialized).decode


def negotiated_version(answer: Frame) -> str | None:
    """Return the version in an answer to ``initialize``, empty if it says none; None if that answer is an error."""
    try:
        result = _decode_initialized(answer.raw).result
    except UNREADABLE:
        return None
    if result is None:
        return None
    return "" if result.protocolVersion is msgspec.UNSET else read_text(result.protocolVersion)
