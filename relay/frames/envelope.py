"""Read the head of a message from its bytes: by msgspec, or for a large answer from its two ends.

msgspec skips what it is not told to build, so no payload is decoded.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from typing import Final

import msgspec

from relay.frames.faults import batch_fault
from relay.frames.head import ENDS, LARGE, REQUEST, RESPONSE, Counted, Head, Kind, RequestId
from relay.frames.json_cost import BUILT, MOST_MESSAGES, excess, may_hold, may_hold_key
from relay.frames.json_scan import Malformed, Span, Text, TooMany, check_members, elements
from relay.frames.strictness import (
    MOST_MENDED,
    UNREADABLE,
    blunt,
    has_too_many_escapes,
    mend,
    read_id,
    read_name,
    read_str,
)

__all__ = ["Steps", "find_messages", "last_of", "read_head", "read_whole_head", "salvage_head", "steps_of_head"]

Steps = Generator[None, None, Head]
"""Passes over a large message, each of which may take 50 ms, with room for other work between them."""

_Unset = msgspec.UnsetType
_UNSET: Final = msgspec.UNSET


class _Envelope(msgspec.Struct):
    id: int | str | None | _Unset = msgspec.UNSET
    method: str | _Unset = msgspec.UNSET
    params: msgspec.Raw | _Unset = msgspec.UNSET
    result: msgspec.Raw | _Unset = msgspec.UNSET
    error: msgspec.Raw | _Unset = msgspec.UNSET


class _BareEnvelope(msgspec.Struct):
    """The envelope of a large message: no member is built before its size is known."""

    id: msgspec.Raw | _Unset = msgspec.UNSET
    method: msgspec.Raw | _Unset = msgspec.UNSET
    params: msgspec.Raw | _Unset = msgspec.UNSET
    result: msgspec.Raw | _Unset = msgspec.UNSET
    error: msgspec.Raw | _Unset = msgspec.UNSET


class _Meta(msgspec.Struct):
    progressToken: msgspec.Raw | _Unset = msgspec.UNSET


class _RequestParams(msgspec.Struct):
    meta: _Meta | None = msgspec.field(name="_meta", default=None)


class _NoticeParams(msgspec.Struct):
    progressToken: msgspec.Raw | _Unset = msgspec.UNSET
    requestId: msgspec.Raw | _Unset = msgspec.UNSET


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_bare_envelope = msgspec.json.Decoder(_BareEnvelope).decode
_decode_id = msgspec.json.Decoder(int | str | None).decode
_decode_request_params = msgspec.json.Decoder(_RequestParams).decode
_decode_notice_params = msgspec.json.Decoder(_NoticeParams).decode
_SPEAKING_OF_REQUESTS = ("notifications/progress", "notifications/cancelled")
_HALF = re.compile("\ufffd")
_BLUNTED = re.compile("[\uf000-\uffff]")
_AFTER_MESSAGES = re.compile(rb"\s*+\]\s*+")
NOT_UTF8 = Head(Kind.INVALID, fault="it is not UTF-8", is_json=False)


def read_head(raw: Text) -> Head:
    """Return the head of a message; ``Kind.INVALID``, with the reason, if it is none.

    ``raw`` is UTF-8.
    """
    if len(raw) > LARGE and (head := _peek_at_answer(raw)) is not None:
        return head
    return read_whole_head(raw)


def read_whole_head(raw: Text) -> Head:
    """Return the head, read from the whole message, never from its ends alone."""
    if len(raw) > BUILT:
        return last_of(steps_of_head(raw))
    try:
        return _head_of(_decode_envelope(raw), raw)
    except UNREADABLE as exc:
        if raw.lstrip()[:1] == b"[":
            return last_of(_steps_of_batch(raw))
        if (mended := mend(raw)) is not raw:
            return _see_to_names(read_whole_head(mended), mended)
        return _unreadable(exc)


def steps_of_head(raw: Text, frame: Counted | None = None, *, is_whole: bool = True, is_server: bool = False) -> Steps:
    """Read the head of a message of more than ``BUILT`` bytes step by step, as ``read_whole_head`` does.

    ``frame`` is the frame it is the whole of, if any, which counts its values only once. Without ``is_whole`` the ends
    of an answer suffice, as for ``read_head``; with ``is_server`` the beginning of a request, too.
    """
    if not is_whole and (head := _peek_at_answer(raw)) is not None:
        return head
    if is_server and (head := _peek_at_request(raw)) is not None:
        return head
    try:
        check_members(raw)
        yield
        envelope = _decode_large(raw)
    except TooMany as exc:
        return Head(Kind.INVALID, fault=str(exc), is_excessive=True)
    except UNREADABLE as exc:  # whose traceback would keep the message
        unreadable, said = _unreadable(exc), str(exc)
    else:
        names_request = _may_name_request(envelope, raw)
        if names_request:
            yield
            if excessive := excess(raw) if frame is None else frame.excess():  # mending changes no count
                message_id = None if envelope.id is _UNSET else envelope.id
                return Head(Kind.INVALID, message_id, fault=excessive, is_excessive=True)
            yield
        return _head_of(envelope, raw, may_have_token=names_request)
    yield
    if (raw[:64].lstrip() or raw.lstrip())[:1] == b"[":
        return (yield from _steps_of_batch(raw))
    if has_too_many_escapes(raw):
        fault = f"half a surrogate pair among more than {MOST_MENDED} escapes, or {said}"
        return Head(Kind.INVALID, fault=fault, is_excessive=True)
    mended = blunt(raw)
    if mended is raw:
        return unreadable
    yield
    return _see_to_names((yield from steps_of_head(mended, frame)), mended)


def last_of(steps: Steps) -> Head:
    """Take all steps at once; return the head."""
    while True:
        try:
            next(steps)
        except StopIteration as exc:
            head: Head = exc.value
            return head


def _may_name_request(envelope: _Envelope, raw: Text) -> bool:
    """Tell whether a large message may name a request, beside its own id, by a member of its params."""
    method, has_params = envelope.method, envelope.params is not _UNSET
    if method is _UNSET or not has_params or envelope.result is not _UNSET or envelope.error is not _UNSET:
        return False
    if envelope.id is _UNSET:
        return method in _SPEAKING_OF_REQUESTS
    return envelope.id is not None and _may_have_token(raw)


def _decode_large(raw: Text) -> _Envelope:
    """Read the envelope of a large message. Raises UNREADABLE if its id or method is too large for a name."""
    bare = _decode_bare_envelope(raw)
    return _Envelope(
        msgspec.UNSET if isinstance(bare.id, _Unset) else read_name(bare.id),
        msgspec.UNSET if isinstance(bare.method, _Unset) else read_str(bare.method),
        bare.params,
        bare.result,
        bare.error,
    )


def _see_to_names(head: Head, mended: Text) -> Head:
    """Return the head of a message that ``mend`` has changed; INVALID if it may have changed a name."""
    mark = _HALF if len(mended) <= BUILT else _BLUNTED
    if any(isinstance(text, str) and mark.search(text) for text in (head.id, head.method, head.token, head.target)):
        return Head(Kind.INVALID, fault="half a surrogate pair in its id or method, or beside escapes in them")
    return head


def _unreadable(exc: Exception) -> Head:
    return Head(Kind.INVALID, fault=str(exc) or type(exc).__name__, is_json=isinstance(exc, msgspec.ValidationError))


def find_messages(raw: Text) -> tuple[Text, list[Span]]:
    """Return where the messages of a batch stand, and the text to read them in. Raises Malformed, TooMany."""
    try:
        return raw, _spans_of_messages(raw)
    except Malformed:
        if (mended := mend(raw)) is raw:
            raise
        return mended, _spans_of_messages(mended)


def _spans_of_messages(text: Text) -> list[Span]:
    spans = list(elements(text, MOST_MESSAGES))
    if spans and _AFTER_MESSAGES.fullmatch(text, spans[-1][1]) is None:
        raise Malformed("something behind the batch")
    return spans


def _steps_of_batch(raw: Text) -> Steps:
    try:
        text, spans = find_messages(raw)
    except TooMany:
        return Head(Kind.INVALID, fault=batch_fault(MOST_MESSAGES), is_excessive=True)
    except UNREADABLE as exc:
        return _unreadable(exc)
    if not spans:
        return Head(Kind.INVALID, fault="an empty batch")
    heads: list[Head] = []
    for start, end in spans:
        message = text[start:end]
        if len(message) <= BUILT:
            head = read_head(message)
        else:
            yield
            head = yield from steps_of_head(message, is_whole=False)
        if text is not raw:
            head = _see_to_names(head, text)
        if head.kind in (Kind.INVALID, Kind.BATCH):
            return Head(Kind.INVALID, fault=head.fault or "a batch within a batch", is_excessive=head.is_excessive)
        heads.append(head)
    return Head(Kind.BATCH, members=tuple(heads))


def _head_of(envelope: _Envelope, raw: Text, *, may_have_token: bool | None = None) -> Head:
    has_answer = envelope.result is not _UNSET or envelope.error is not _UNSET
    method, said = envelope.method, envelope.id
    message_id = None if said is _UNSET else said
    if method is _UNSET:
        if has_answer and said is not _UNSET:
            if len(raw) <= LARGE:
                return Head(RESPONSE, message_id)
            return Head(RESPONSE, message_id, payload_size=_size(envelope, raw))
        return Head(Kind.INVALID, message_id, fault="neither a method nor a result or error with an id")
    if has_answer:
        return Head(Kind.INVALID, message_id, fault="both a method and a result or error")
    if said is _UNSET:
        return _notification(envelope, raw)
    if message_id is None:
        return Head(Kind.INVALID, fault="a request whose id is null")
    token = None
    if envelope.params is not _UNSET and (_may_have_token(raw) if may_have_token is None else may_have_token):
        token = _request_token(envelope.params)
    if len(raw) <= LARGE:
        return Head(REQUEST, message_id, method, token)
    return Head(REQUEST, message_id, method, token, payload_size=_size(envelope, raw))


def _may_have_token(raw: Text) -> bool:
    if len(raw) > BUILT:
        return may_hold_key(raw, b"progressToken")
    return b"progressToken" in raw or (b"\\" in raw and may_hold(raw, b"\\u00"))


def _size(envelope: _Envelope, raw: Text) -> int:
    if len(raw) <= LARGE:
        return 0
    payload = next((p for p in (envelope.params, envelope.result, envelope.error) if p is not msgspec.UNSET), None)
    return memoryview(payload).nbytes if isinstance(payload, msgspec.Raw) else 0


def _notification(envelope: _Envelope, raw: Text) -> Head:
    assert isinstance(envelope.method, str), "a notification has a method"
    token = target = None
    if envelope.method in _SPEAKING_OF_REQUESTS and isinstance(envelope.params, msgspec.Raw):
        with contextlib.suppress(*UNREADABLE):
            notice = _decode_notice_params(envelope.params)
            token, target = _name_of(notice.progressToken), _name_of(notice.requestId)
    return Head(
        Kind.NOTIFICATION, method=envelope.method, token=token, target=target, payload_size=_size(envelope, raw)
    )


def _request_token(params: msgspec.Raw) -> RequestId | None:
    try:
        meta = _decode_request_params(params).meta
    except UNREADABLE:
        return None
    return _name_of(meta.progressToken) if meta is not None else None


def _name_of(value: msgspec.Raw | _Unset) -> RequestId | None:
    """Return a name of a request; None if the value is no name, or too large."""
    if value is msgspec.UNSET:
        return None
    try:
        return read_name(value)
    except UNREADABLE:
        return None


_SCALAR = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|-?\d++(?:\.\d++)?+(?:[eE][+-]?\d++)?+|null'
# The cut may have shortened the last scalar, so the byte behind a scalar must be there.
_LEADING_MEMBER = re.compile(
    rb'\s*[{,]\s*"(jsonrpc|id|method|params|result|error)"\s*:\s*(?:(' + _SCALAR + rb")(?=\s*[,}]))?"
)
# What nearly all servers write before a result: one match takes 0.5 us, a walk from member to member 2.
_USUAL_ANSWER = re.compile(
    rb'\s*\{\s*"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*(' + _SCALAR + rb')\s*,\s*"(?:result|error)"\s*:'
)
# A match ends at the brace that closes the message, so whatever precedes it are members of the message itself.
_LAST_MEMBERS = re.compile(rb',\s*"id"\s*:\s*(' + _SCALAR + rb')\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$', re.DOTALL)


def _peek_at_answer(raw: Text) -> Head | None:
    """Read the head of a large answer from its ends: 1 us where parsing 100 kB takes 25.

    Only an answer: of a request the progress token is wanted, which may be anywhere.
    """
    if not raw[-256:].rstrip().endswith(b"}"):
        return None
    if (usual := _USUAL_ANSWER.match(raw, 0, ENDS)) is not None:
        with contextlib.suppress(*UNREADABLE):
            if (message_id := _decode_id(usual.group(1))) is not None:
                return Head(Kind.RESPONSE, message_id)
        return None
    kind, token = _look_at_ends(raw, raw[-256:])
    if kind is not Kind.RESPONSE or token is None or b'"method"' in raw[:256]:
        return None
    with contextlib.suppress(*UNREADABLE):
        if (message_id := _decode_id(token)) is not None:
            return Head(Kind.RESPONSE, message_id)
    return None


def _peek_at_request(raw: Text) -> Head | None:
    """Read the head of a large request of a server from its beginning.

    The clients of a shared server wait until it is read: 70 ms for 16 MiB. Nobody but its client can be harmed by what
    stands behind its beginning, which the relay does not use.
    """
    if not raw[-256:].rstrip().endswith(b"}"):
        return None
    found = _leading_members(raw)
    method, message_id = found.get("method"), found.get("id")
    if not method or not message_id or found.get("params", b"") is not None or b"progressToken" in raw:
        return None
    with contextlib.suppress(*UNREADABLE):
        if (read := _decode_id(message_id)) is not None:
            return Head(REQUEST, read, read_str(method))
    return None


def salvage_head(start: Text, end: Text) -> Head:
    """Read the head of a message from its first and last bytes, up to ``ENDS`` of each.

    Good for the member orders that real SDKs write (id before or after the payload); else ``Kind.INVALID``.
    """
    kind, token = _look_at_ends(start, end)
    if kind is Kind.INVALID:
        return Head(Kind.INVALID, fault="its envelope is neither at its start nor at its end")
    message_id = None if token is None else read_id(token)
    if message_id is None and token not in (None, b"null"):
        return Head(Kind.INVALID, fault="its id is neither a string nor a number that can be kept")
    if kind is Kind.RESPONSE:
        return Head(kind, message_id)
    return Head(Kind.REQUEST if message_id is not None else Kind.NOTIFICATION, message_id)


def _look_at_ends(start: Text, end: Text) -> tuple[Kind, bytes | None]:
    """Return the kind of a message, RESPONSE or REQUEST (a notification counts as one), and its id as written."""
    leading = _leading_members(start)
    is_answer = "result" in leading or "error" in leading
    if is_answer == (leading.get("method", b"null") != b"null"):
        return Kind.INVALID, None
    token = leading.get("id")
    if "id" not in leading and (last := _LAST_MEMBERS.search(end, max(len(end) - ENDS, 0))) is not None:
        token = last.group(1)
    return Kind.RESPONSE if is_answer else Kind.REQUEST, token


def _leading_members(start: Text) -> dict[str, bytes | None]:
    """Return the members up to the first whose value is no scalar, or is cut; its value is None."""
    found: dict[str, bytes | None] = {}
    position = 0
    while (member := _LEADING_MEMBER.match(start, position, ENDS)) is not None:
        found[member.group(1).decode()] = member.group(2)
        if member.group(2) is None:
            break
        position = member.end()
    return found
