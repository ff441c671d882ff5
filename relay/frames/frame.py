"""One JSON-RPC message exactly as it arrived, and the little of it that the relay reads.

A frame is its bytes. Its ``head`` (kind, id, method, progress token) is read when somebody asks, once; byte-to-byte
pipes never ask. Nothing here decodes a payload: msgspec skips what it is not told to build.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

import msgspec

__all__ = ["Frame", "Head", "Kind", "RequestId"]

RequestId = str | int
"""A JSON-RPC id. ``1`` and ``"1"`` are different ids, as they are different Python values."""


class Kind(enum.Enum):
    """What a frame is, by JSON-RPC 2.0."""

    REQUEST = "request"
    NOTIFICATION = "notification"
    RESPONSE = "response"
    BATCH = "batch"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Head:
    """The routing facts of one message; for a batch, the heads of its members."""

    kind: Kind
    id: RequestId | None = None
    method: str | None = None
    token: RequestId | None = None
    """The progress token: a request's own, or the one a ``notifications/progress`` speaks of."""
    target: RequestId | None = None
    """The request a ``notifications/cancelled`` speaks of."""
    members: tuple[Head, ...] = ()
    fault: str = ""
    """Why the frame is INVALID, in words for its sender."""
    is_json: bool = True
    """False if the bytes are not even JSON."""

    @property
    def messages(self) -> tuple[Head, ...]:
        """The messages of a batch, or this one."""
        return self.members if self.kind is Kind.BATCH else (self,)


_Unset = msgspec.UnsetType


class _Envelope(msgspec.Struct):
    id: int | str | None | _Unset = msgspec.UNSET
    method: str | _Unset = msgspec.UNSET
    params: msgspec.Raw | _Unset = msgspec.UNSET
    result: msgspec.Raw | _Unset = msgspec.UNSET
    error: msgspec.Raw | _Unset = msgspec.UNSET


class _Meta(msgspec.Struct):
    progressToken: int | str | None = None


class _RequestParams(msgspec.Struct):
    meta: _Meta | None = msgspec.field(name="_meta", default=None)


class _NoticeParams(msgspec.Struct):
    progressToken: int | str | None = None
    requestId: int | str | None = None


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_members = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_request_params = msgspec.json.Decoder(_RequestParams).decode
_decode_notice_params = msgspec.json.Decoder(_NoticeParams).decode

# What msgspec raises for bytes that are not the JSON that was asked for; RecursionError for 1,000 nested arrays.
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_NEWLINES = bytes.maketrans(b"\r\n", b"  ")
_MEMBER_KEY = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_ROUTED_KEYS = frozenset(("id", "method", "jsonrpc", "params", "result", "error"))


class Frame:
    """One JSON-RPC message exactly as it arrived, without its line ending."""

    __slots__ = ("_head", "belongs_to", "raw")

    def __init__(self, raw: bytes, belongs_to: RequestId | None = None) -> None:
        """Hold ``raw``; ``belongs_to`` names the request on whose own response stream the frame arrived, if any."""
        self.raw = raw
        self.belongs_to = belongs_to
        self._head: Head | None = None

    @property
    def head(self) -> Head:
        """Kind, id, method and progress token; ``Kind.INVALID``, with the reason, if this is no JSON-RPC message."""
        head = self._head
        if head is None:
            head = self._head = _read_head(self.raw)
        return head

    @property
    def line(self) -> bytes:
        """The frame on one line, for transports that frame by newlines.

        A raw CR or LF in JSON can only be white space between tokens, so a space in its place keeps the meaning.
        """
        raw = self.raw
        return raw.translate(_NEWLINES) if b"\n" in raw or b"\r" in raw else raw

    def split(self) -> list[Frame]:
        """Return the members of a batch as frames of their own, their bytes as they are."""
        return [Frame(bytes(member), self.belongs_to) for member in _decode_members(self.raw)]

    def __repr__(self) -> str:
        """Show the start of the frame."""
        return f"Frame({self.raw[:60]!r}{'…' if len(self.raw) > 60 else ''})"


def _read_head(raw: bytes) -> Head:
    try:
        return _head_of(_decode_envelope(raw), raw)
    except _UNREADABLE as exc:
        if raw.lstrip()[:1] == b"[":
            return _read_batch(raw)
        return _unreadable(exc)


def _unreadable(exc: Exception) -> Head:
    return Head(Kind.INVALID, fault=str(exc) or type(exc).__name__, is_json=isinstance(exc, msgspec.ValidationError))


def _read_batch(raw: bytes) -> Head:
    try:
        members = tuple(_read_head(bytes(member)) for member in _decode_members(raw))
    except _UNREADABLE as exc:
        return _unreadable(exc)
    if not members:
        return Head(Kind.INVALID, fault="an empty batch")
    for member in members:
        if member.kind in (Kind.INVALID, Kind.BATCH):
            return Head(Kind.INVALID, fault=member.fault or "a batch within a batch")
    return Head(Kind.BATCH, members=members)


def _head_of(envelope: _Envelope, raw: bytes) -> Head:
    has_answer = envelope.result is not msgspec.UNSET or envelope.error is not msgspec.UNSET
    message_id = None if envelope.id is msgspec.UNSET else envelope.id
    if envelope.method is msgspec.UNSET:
        if has_answer and envelope.id is not msgspec.UNSET:
            return Head(Kind.RESPONSE, message_id)
        return Head(Kind.INVALID, message_id, fault="neither a method nor a result or error with an id")
    if has_answer:
        return Head(Kind.INVALID, message_id, fault="both a method and a result or error")
    if envelope.id is msgspec.UNSET:
        return _notification(envelope.method, envelope.params)
    if message_id is None:
        return Head(Kind.INVALID, fault="a request whose id is null")
    token = None
    if envelope.params is not msgspec.UNSET and b"progressToken" in raw:
        token = _request_token(envelope.params)
    return Head(Kind.REQUEST, message_id, envelope.method, token)


def _notification(method: str, params: msgspec.Raw | _Unset) -> Head:
    if params is not msgspec.UNSET and method in ("notifications/progress", "notifications/cancelled"):
        try:
            notice = _decode_notice_params(params)
        except _UNREADABLE:
            return Head(Kind.NOTIFICATION, method=method)
        return Head(Kind.NOTIFICATION, method=method, token=notice.progressToken, target=notice.requestId)
    return Head(Kind.NOTIFICATION, method=method)


def _request_token(params: msgspec.Raw) -> RequestId | None:
    try:
        meta = _decode_request_params(params).meta
    except _UNREADABLE:
        return None
    return meta.progressToken if meta is not None else None


def repeated_key(raw: bytes) -> str | None:
    """Return a top-level key that routing depends on and that stands twice, if there is one.

    Parsers differ in which of the two they believe, so such a frame could be one thing here and another at its
    destination. Cheap for ordinary frames: the scan runs only if a key could repeat.
    """
    if raw.count(b'"id"') < 2 and raw.count(b'"method"') < 2 and raw.count(b'"jsonrpc"') < 2 and b"\\u" not in raw:
        return None
    depth = 0
    seen: set[str] = set()
    for token in _MEMBER_KEY.finditer(raw):
        text = token.group()
        if text in (b"{", b"["):
            depth += 1
        elif text in (b"}", b"]"):
            depth -= 1
        elif depth == 1 and raw[token.end() :].lstrip()[:1] == b":":
            key = str(msgspec.json.decode(text))
            if key in seen and key in _ROUTED_KEYS:
                return key
            seen.add(key)
    return None


_TOKEN = rb'("(?:[^"\\]|\\.)*"|-?\d+)'
_FIRST_MEMBERS = re.compile(
    rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?(?:"id"\s*:\s*' + _TOKEN + rb'\s*,\s*)?"(method|result|error)"\s*:'
)
# A match ends at the brace that closes the message, so whatever precedes it are members of the message itself.
_LAST_MEMBERS = re.compile(rb',\s*"id"\s*:\s*' + _TOKEN + rb'\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$')


def salvage_head(start: bytes, end: bytes) -> Head:
    """Read the head of a message of which only the first and the last bytes are left.

    Good for the member orders that real SDKs write (id before or after the payload); else ``Kind.INVALID``.
    """
    first = _FIRST_MEMBERS.match(start)
    if first is None:
        return Head(Kind.INVALID, fault="its envelope is neither at its start nor at its end")
    token = first.group(1)
    if token is None and (last := _LAST_MEMBERS.search(end)) is not None:
        token = last.group(1)
    message_id: RequestId | None = msgspec.json.decode(token, type=int | str) if token is not None else None
    if first.group(2) != b"method":
        return Head(Kind.RESPONSE, message_id)
    return Head(Kind.REQUEST if message_id is not None else Kind.NOTIFICATION, message_id)
