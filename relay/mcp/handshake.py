"""What the relay itself says to a server, and how it reads the answers: the handshakes of both eras, and a ping.

A session of the legacy era begins with ``initialize`` and ``notifications/initialized``. Requests of 2026-07-28 need no
handshake: each names its version and its client in ``_meta``. The relay says nothing else of its own to a server, but
for the end of a request or a subscription of a client that has left.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import RequestId
from relay.frames.strictness import UNREADABLE, read_text
from relay.mcp.revisions import LEGACY_VERSIONS, MODERN_VERSION

__all__ = [
    "CLIENT_INFO",
    "INITIALIZED",
    "OWN_ID",
    "initialize",
    "initialize_params",
    "is_refusal",
    "modern_meta",
    "modern_request",
    "negotiated_version",
    "ping",
]

OWN_ID = "mcp-relay"
"""The id of a request that is the only one of the relay's own on its connection."""
CLIENT_INFO: Mapping[str, str] = {"name": "mcp-relay", "version": "1"}
"""How the relay introduces itself. The version is constant, because some servers recognize a client by it."""
INITIALIZED = Frame(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')


def initialize_params(version: str = LEGACY_VERSIONS[-1], client: Mapping[str, str] = CLIENT_INFO) -> dict[str, object]:
    """Return the params of an ``initialize`` of a client without capabilities."""
    return {"protocolVersion": version, "capabilities": {}, "clientInfo": client}


def initialize(version: str = LEGACY_VERSIONS[-1]) -> Frame:
    """Make the relay's own ``initialize``, under ``OWN_ID``."""
    return replies.request(OWN_ID, "initialize", initialize_params(version))


def ping(request_id: RequestId) -> Frame:
    """Make a ``ping`` of the legacy era: any answer shows that the server lives."""
    return replies.request(request_id, "ping", {})


def modern_meta(version: str = MODERN_VERSION, client: Mapping[str, str] = CLIENT_INFO) -> dict[str, object]:
    """Return the ``_meta`` of a request of 2026-07-28 of a client without capabilities."""
    return {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientInfo": client,
        "io.modelcontextprotocol/clientCapabilities": {},
    }


def modern_request(request_id: RequestId, method: str, params: Mapping[str, object]) -> Frame:
    """Make a request of 2026-07-28: ``server/discover``, or ``tools/list`` with its cursor."""
    return replies.request(request_id, method, {**params, "_meta": modern_meta()})


def is_refusal(answer: Frame) -> bool:
    """Tell whether the answer to an ``initialize`` is an error: the server has begun no session."""
    return b'"error"' in answer.raw and b'"result"' not in answer.raw


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
