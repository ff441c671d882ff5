"""What HTTP says about a frame: header names, media types, protocol versions, session ids.

Pure. MCP, Transports, "Streamable HTTP" of 2025-03-26 to 2026-07-28.
"""

from __future__ import annotations

import functools
import re

import msgspec
from multidict import MultiMapping

from relay.frames.frame import Frame
from relay.frames.strictness import UNREADABLE, read_text

__all__ = [
    "EVENT_STREAM",
    "JSON",
    "LAST_EVENT_ID",
    "LEGACY_VERSIONS",
    "PROTOCOL_VERSION",
    "SESSION_ID",
    "accepts",
    "has_batches",
    "has_priming",
    "is_foreign_error",
    "is_modern_version",
    "is_session_id",
    "listed",
    "media_type",
    "negotiated_version",
    "status_of",
    "without_bom",
]

JSON = "application/json"
EVENT_STREAM = "text/event-stream"

SESSION_ID = "Mcp-Session-Id"
PROTOCOL_VERSION = "MCP-Protocol-Version"
LAST_EVENT_ID = "Last-Event-ID"

LEGACY_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""The session-based revisions."""

_BOM = b"\xef\xbb\xbf"
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_EXCLUDES = re.compile(r"q=0(?:\.0*)?")
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,1024}")


def without_bom(body: bytes) -> bytes:
    """Return a JSON body without the byte order mark that some write before it, which no JSON has (RFC 8259, 8.1)."""
    return body.removeprefix(_BOM)


def listed(headers: MultiMapping[str], name: str) -> str | None:
    """Return a header that is a list, all its lines as one (RFC 9110 §5.3); None if there is none.

    ``headers`` must find a name in any case, as aiohttp's do.
    """
    values = headers.getall(name, None)
    return None if values is None else ", ".join(values)


@functools.lru_cache(128)  # a client sends the same value with each request
def media_type(value: str | None) -> str:
    """Return the type of a Content-Type header, in lower case and without its parameters."""
    return (value or "").partition(";")[0].strip().lower()


@functools.lru_cache(128)
def accepts(accept: str | None, wanted: str) -> bool:
    """Tell whether an Accept header admits ``wanted``; none at all admits everything (RFC 9110 §12.5.1)."""
    if accept is None:
        return True
    admitted: dict[str, bool] = {}
    for element in accept.lower().split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        admitted[name] = not any(_EXCLUDES.fullmatch(parameter) for parameter in parameters)
    family = wanted.partition("/")[0] + "/*"
    return next((admitted[name] for name in (wanted, family, "*/*") if name in admitted), False)


def has_batches(version: str | None) -> bool:
    """Tell whether a session of this version may send batches: 2025-03-26 alone, and who never said a version."""
    return version in (None, "2025-03-26")


def has_priming(version: str | None) -> bool:
    """Tell whether streams open with an empty event: from 2025-11-25 on; clients before it choke on empty data."""
    return version is not None and version >= "2025-11-25"


def is_modern_version(version: str | None) -> bool:
    """Tell whether a version is 2026-07-28 or a later one: no session, no handshake."""
    return version is not None and version >= "2026-07-28" and _DATE.fullmatch(version) is not None


def is_session_id(value: str) -> bool:
    """Tell whether ``value`` may be a session id: visible ASCII (2025-11-25, "Session Management")."""
    return _VISIBLE_ASCII.fullmatch(value) is not None


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


class _Error(msgspec.Struct):
    code: int = 0


class _ErrorAnswer(msgspec.Struct):
    error: _Error | None = None


_decode_error = msgspec.json.Decoder(_ErrorAnswer).decode
_ENDS = 4096  # bytes at each end of an answer in which its envelope is: a large one is not searched
_STATUSES = {-32601: 404, -32020: 400, -32021: 400, -32022: 400}


def status_of(answer: Frame) -> int:
    """Return the HTTP status of an answer of 2026-07-28: errors that concern the request as such have one."""
    code = _error_code(answer.raw)
    return 200 if code is None else _STATUSES.get(code, 200)


def is_foreign_error(answer: Frame) -> bool:
    """Tell whether an answer is an error that no server of 2026-07-28 gives to ``server/discover``."""
    code = _error_code(answer.raw)
    return code is not None and not -32099 <= code <= -32020


def _error_code(raw: bytes) -> int | None:
    """Return the code of an answer that is an error."""
    if b'"error"' not in raw[:_ENDS] and b'"error"' not in raw[-_ENDS:]:
        return None
    try:
        error = _decode_error(raw).error
    except UNREADABLE:
        return None
    return None if error is None else error.code
