"""What HTTP says about a frame: header names, media types, protocol versions, session ids.

Pure. MCP, Transports, "Streamable HTTP" of 2025-03-26, 2025-06-18 and 2025-11-25.
"""

from __future__ import annotations

import functools
import re

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
    "is_session_id",
    "media_type",
]

JSON = "application/json"
EVENT_STREAM = "text/event-stream"

SESSION_ID = "Mcp-Session-Id"
PROTOCOL_VERSION = "MCP-Protocol-Version"
LAST_EVENT_ID = "Last-Event-ID"

LEGACY_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""The session-based revisions."""

_EXCLUDES = re.compile(r"q=0(?:\.0*)?")
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,1024}")


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


def is_session_id(value: str) -> bool:
    """Tell whether ``value`` may be a session id: visible ASCII (2025-11-25, "Session Management")."""
    return _VISIBLE_ASCII.fullmatch(value) is not None
