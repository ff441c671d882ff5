"""Read the body of ``POST /proxy``: a call of one method, and the server that it is for.

Pure. The members ``params`` and ``id`` are never decoded: the server gets the bytes of ``params``, and the client gets
the bytes of ``id`` back.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from relay.endpoints.http.decisions import Refused
from relay.endpoints.http.media import without_bom
from relay.frames.faults import message_fault
from relay.frames.frame import Frame
from relay.frames.head import Kind
from relay.frames.json_cost import is_utf8
from relay.frames.json_scan import Text, TooMany, find_members, find_values
from relay.frames.strictness import UNREADABLE, mend
from relay.mcp.facts import read_facts
from relay.mcp.handshake import modern_meta
from relay.values import PrivateValue

if TYPE_CHECKING:
    from relay.endpoints.http.frame_checks import FrameChecks

__all__ = ["ProxiedCall", "is_token", "read_call"]

_KEYS = ("mcp_server_url", "mcp_token", "method", "params", "jsonrpc", "id")
_NAMELESS = b"0"
"""The id of a request whose own id the relay could not write as its client wrote it."""
_INTEGER = re.compile(rb"-?(?:0|[1-9][0-9]{0,999})")
_TOKEN = re.compile(r"[\x21-\x7e]{0,16384}")
_decode_str = msgspec.json.Decoder(str).decode
_decode_id = msgspec.json.Decoder(int | str).decode
_skip = msgspec.json.Decoder(msgspec.Raw).decode


class ProxiedCall(PrivateValue, frozen=True, kw_only=True):
    """One call, and the server that it is for."""

    url: str
    token: str
    """The bearer token for that server; empty for none."""
    frame: Frame
    spelling: bytes | None
    """The bytes of the id, if the frame has another id; the answer must get them back."""
    params: bytes | None

    @property
    def is_modern(self) -> bool:
        """Whether the call says itself that it is of 2026-07-28."""
        return read_facts(self.frame) is not None

    def as_modern(self) -> Frame:
        """Return the frame of a call of the legacy era as one of 2026-07-28: its ``_meta`` gets what that must say."""
        meta = msgspec.json.encode(modern_meta())
        params = self.params or b"{}"
        spans = find_values(_readable(params), ("_meta",))
        inside = next((span for span in spans if params[span[0] : span[0] + 1] == b"{"), None)
        if inside is None:
            params = _with_members(params, 0, b'"_meta":' + meta)
        else:
            params = _with_members(params, inside[0], meta[1:-1])
        return _frame(_id_in(self.frame), msgspec.json.encode(self.frame.head.method), params)


def is_token(text: str) -> bool:
    """Tell whether a token can stand in a header; an empty one means none."""
    return _TOKEN.fullmatch(text) is not None


def read_call(body: bytes, checks: FrameChecks) -> ProxiedCall:
    """Return the call in a body. Raises Refused with 422, or 413 if the body holds too much."""
    members = _members(without_bom(body), checks)
    url, method = _string(members, "mcp_server_url"), _string(members, "method")
    token = _string(members, "mcp_token", is_optional=True)
    if not is_token(token):
        raise _fault("mcp_token: expected visible ASCII characters, up to 16384 of them")
    if members.get("jsonrpc", b'"2.0"') != b'"2.0"':
        raise _fault("jsonrpc: expected '2.0'")
    params = members.get("params")
    if params == b"null":
        params = None
    if params is not None and not params.startswith(b"{"):
        raise _fault("params: expected an object or null")
    is_notification = method.startswith("notifications/")
    said = None if is_notification else members.get("id", b"1")
    shown = None if said is None else _shown_id(said)
    frame = _checked(_frame(shown, members["method"], params))
    return ProxiedCall(url=url, token=token, frame=frame, spelling=None if shown == said else said, params=params)


def _members(body: bytes, checks: FrameChecks) -> dict[str, bytes]:
    """Return the bytes of each member that matters. Raises Refused."""
    if not body.isascii() and not is_utf8(body):
        raise _fault("the body is not UTF-8")
    checks.check_counts(Frame(body))
    try:
        text = _readable(body)
        found = list(find_members(text, _KEYS))
    except TooMany as exc:
        raise Refused(413, str(exc)) from exc
    except UNREADABLE as exc:
        raise _fault("the body is not a JSON object") from exc
    members = {key: body[start:end] for key, (start, end) in found}
    if len(members) < len(found):  # another parser could read the other one
        raise _fault("a member stands twice")
    return members


def _readable(body: bytes) -> Text:
    """Return a body of the same length that msgspec reads to its end. Raises UNREADABLE if it is not JSON."""
    try:
        _skip(body)
    except UNREADABLE:
        text = mend(body)
        _skip(text)
        return text
    return body


def _string(members: dict[str, bytes], key: str, *, is_optional: bool = False) -> str:
    value = members.get(key)
    if is_optional and value in (None, b"null"):
        return ""
    if value is None:
        raise _fault(f"{key}: required")
    try:
        text: str = _decode_str(value)
    except UNREADABLE as exc:
        raise _fault(f"{key}: expected a string{' or null' if is_optional else ''}") from exc
    if not text and not is_optional:
        raise _fault(f"{key}: expected a string that is not empty")
    return text


def _shown_id(said: bytes) -> bytes:
    """Return the id that the relay's own frames can hold without another spelling. Raises Refused."""
    try:
        if _INTEGER.fullmatch(said) is None and not said.startswith(b'"'):
            raise msgspec.ValidationError
        value = _decode_id(said)
        return said if msgspec.json.encode(value) == said else _NAMELESS
    except OverflowError:
        return _NAMELESS
    except UNREADABLE as exc:
        raise _fault("id: expected an integer or a string") from exc


def _checked(frame: Frame) -> Frame:
    """Return a frame whose parts have been checked, if together they are a message. Raises Refused."""
    if (head := frame.read_whole()).kind is Kind.INVALID:
        raise _fault(f"method: {message_fault(head.fault)}")
    return frame


def _fault(text: str) -> Refused:
    return Refused(422, text)


def _frame(request_id: bytes | None, method: bytes, params: bytes | None) -> Frame:
    parts = [b'{"jsonrpc":"2.0"']
    if request_id is not None:
        parts += b',"id":', request_id
    parts += b',"method":', method
    if params is not None:
        parts += b',"params":', params
    return Frame(b"".join((*parts, b"}")))


def _id_in(frame: Frame) -> bytes | None:
    return None if frame.head.kind is not Kind.REQUEST else msgspec.json.encode(frame.head.id)


def _with_members(text: bytes, start: int, members: bytes) -> bytes:
    """Return ``text`` with more members at the beginning of the object at ``start``."""
    inside = start + 1
    is_empty = text[inside:].lstrip()[:1] == b"}"
    return text[:inside] + members + (b"" if is_empty else b",") + text[inside:]
