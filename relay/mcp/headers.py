"""The HTTP headers of MCP: what they are called, and how those of 2026-07-28 mirror a frame.

Both sides use it: the client makes the headers from the frame, the listener checks them against it. MCP 2026-07-28,
"Streamable HTTP": "Request Metadata", "Server Validation".
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
from typing import TYPE_CHECKING

from relay.frames.frame import Frame
from relay.frames.json_scan import TooMany
from relay.mcp.facts import NAMED_BY, RequestFacts
from relay.mcp.tool_headers import ToolHeaders, is_same_integer, mirrored, quoted

if TYPE_CHECKING:
    from multidict import MultiMapping

__all__ = [
    "LAST_EVENT_ID",
    "METHOD",
    "NAME",
    "PROTOCOL_VERSION",
    "SESSION_ID",
    "check_headers",
    "is_session_id",
    "request_headers",
]


SESSION_ID = "Mcp-Session-Id"
LAST_EVENT_ID = "Last-Event-ID"
PROTOCOL_VERSION = "MCP-Protocol-Version"
METHOD = "Mcp-Method"
NAME = "Mcp-Name"

_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,1024}")
_SENTINEL, _SENTINEL_END = "=?base64?", "?="
_PLAIN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?|")
_ADMISSIBLE = re.compile(r"[\t\x20-\x7e]*")


def is_session_id(value: str) -> bool:
    """Tell whether ``value`` may be a session id: visible ASCII (2025-11-25, "Session Management")."""
    return _VISIBLE_ASCII.fullmatch(value) is not None


def request_headers(frame: Frame, facts: RequestFacts, tools: ToolHeaders | None = None) -> dict[str, str]:
    """Return the headers that mirror a modern frame; those of its parameters if its tool was listed.

    ``MCP-Protocol-Version`` and ``Mcp-Method`` have no encoding. A value that does not fit gets no header, and the
    server refuses the request.
    """
    headers: dict[str, str] = {}
    if facts.version is not None and _PLAIN.fullmatch(facts.version):
        headers[PROTOCOL_VERSION] = facts.version
    method = frame.head.method
    if method is not None and _PLAIN.fullmatch(method):
        headers[METHOD] = method
    if facts.name is not None:
        headers[NAME] = _encode(facts.name)
    with contextlib.suppress(TooMany):
        for annotation, value in mirrored(frame, facts, tools):
            if value is not None:
                headers[annotation.header] = _encode(value)
    return headers


def check_headers(
    headers: MultiMapping[str], frame: Frame, facts: RequestFacts, tools: ToolHeaders | None = None
) -> str | None:
    """Return why the headers of a POST contradict the modern frame in it; None if they agree.

    ``headers`` must find a name in any case, as aiohttp's do.
    """
    reason = _contradiction(headers, PROTOCOL_VERSION, facts.version, is_encoded=False)
    reason = reason or _contradiction(headers, METHOD, frame.head.method, is_encoded=False)
    if reason is None and frame.head.method in NAMED_BY:
        reason = _contradiction(headers, NAME, facts.name)
    if reason is None:
        reason = _contradicted_parameter(headers, frame, facts, tools)
    return f"Header mismatch: {reason}" if reason is not None else None


def _contradicted_parameter(
    headers: MultiMapping[str], frame: Frame, facts: RequestFacts, tools: ToolHeaders | None
) -> str | None:
    try:
        for annotation, value in mirrored(frame, facts, tools):
            reason = _contradiction(headers, annotation.header, value, is_number=annotation.type == "integer")
            if reason is not None:
                return reason
    except TooMany as exc:
        return f"the values of the tool's headers: {exc}"
    return None


def _contradiction(
    headers: MultiMapping[str], name: str, wanted: str | None, *, is_encoded: bool = True, is_number: bool = False
) -> str | None:
    values = headers.getall(name, None)
    if values is None:
        return None if wanted is None else f"the {name} header is missing; the body value is {quoted(wanted)}"
    if len(values) > 1:
        return f"the {name} header stands {len(values)} times"
    if _ADMISSIBLE.fullmatch(values[0]) is None:
        return f"{name} header value {quoted(values[0])} has characters that no header may have"
    value = _decode(values[0]) if is_encoded else values[0]
    if value is None:
        return f"{name} header value {quoted(values[0])} is not Base64 of UTF-8"
    if wanted is None:
        return f"{name} header value {quoted(value)} has no value in the body"
    if value == wanted or (is_number and is_same_integer(value, wanted)):
        return None
    return f"{name} header value {quoted(value)} does not match body value {quoted(wanted)}"


def _encode(value: str) -> str:
    is_sentinel = value.startswith(_SENTINEL) and value.endswith(_SENTINEL_END)
    if _PLAIN.fullmatch(value) and not is_sentinel:
        return value
    # "replace": msgspec rejects half surrogates already, but this must not depend on it.
    return _SENTINEL + base64.b64encode(value.encode("utf-8", "replace")).decode() + _SENTINEL_END


def _decode(value: str) -> str | None:
    """Undo ``_encode``; None if a value is marked as Base64 and is not canonical Base64 of UTF-8."""
    payload = value[len(_SENTINEL) : -len(_SENTINEL_END)]
    if value != _SENTINEL + payload + _SENTINEL_END:
        return value
    try:
        data = base64.b64decode(payload, validate=True)
        return data.decode() if base64.b64encode(data).decode() == payload else None
    except (binascii.Error, UnicodeDecodeError):
        return None
