"""Read a malformed answer, and write it under the id of its request.

Servers write an id in another spelling (``"7"`` or ``7.0`` for 7), add ``"method":null``, leave the id out, or send
bytes that are not UTF-8. Nothing here knows which requests are open: ``routing/matching.py`` does.

A frame that is well formed and answers an open request never comes here.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from relay.frames import replies
from relay.frames.envelope import find_messages, salvage_head
from relay.frames.faults import message_fault
from relay.frames.frame import Frame
from relay.frames.head import Head, Kind, RequestId
from relay.frames.json_cost import MOST_NAME
from relay.frames.json_scan import Span, TooMany
from relay.frames.lines import KEPT
from relay.frames.strictness import UNREADABLE, mend, read_id

__all__ = ["Sifted", "StandIn", "error_under", "is_error", "meant_by", "respelled", "sift"]

_SCALAR = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|-?\d++(?:\.\d++)?+(?:[eE][+-]?\d++)?+|null|true|false'
_MEMBER = re.compile(
    rb'\s*+[{,]\s*+("[^"\\]*+(?:\\.[^"\\]*+)*+")\s*+:\s*+(?:(' + _SCALAR + rb")(?=\s*+[,}]))?", re.DOTALL
)
# It ends at the brace that closes the message, so what it holds are members of the message itself.
_LAST_MEMBERS = re.compile(rb'(?:,\s*+"(?:jsonrpc|id|method)"\s*+:\s*+(?:' + _SCALAR + rb")\s*+)++\}\s*+$", re.DOTALL)
# An answer that ends before its result or error. The byte behind each scalar must be there: a cut may shorten a scalar.
_CUT_SHORT = re.compile(
    rb'\s*+\{(?=[^{}]*"jsonrpc")(?:\s*+"(?:jsonrpc|id)"\s*+:\s*+(?:' + _SCALAR + rb")(?=[\s,}])\s*+,?+)++"
    rb'\s*+(?:"(?:[re][a-z]{0,5}+)?+)?+[\s}\]]*+$',
    re.DOTALL,
)
_CUT_ID = re.compile(rb'"id"\s*+:\s*+(' + _SCALAR + rb")(?=[\s,}])", re.DOTALL)
_MOST_MEMBERS = 32  # at either end; and KEPT bytes
_Unset = msgspec.UnsetType


class _Loose(msgspec.Struct):
    id: msgspec.Raw | _Unset = msgspec.UNSET
    method: msgspec.Raw | _Unset = msgspec.UNSET
    result: msgspec.Raw | _Unset = msgspec.UNSET
    error: msgspec.Raw | _Unset = msgspec.UNSET

    @property
    def has_method(self) -> bool:
        """Whether it names a method: null is none."""
        return _is_there(self.method)

    @property
    def has_answer(self) -> bool:
        """Whether it has a result or an error, be it null."""
        return self.result is not msgspec.UNSET or self.error is not msgspec.UNSET


_decode_loosely = msgspec.json.Decoder(_Loose).decode


def _is_there(value: msgspec.Raw | _Unset) -> bool:
    return isinstance(value, msgspec.Raw) and _start_of(value, 5) != b"null"


def _start_of(value: msgspec.Raw, size: int) -> bytes:
    return bytes(memoryview(value)[:size])


def _read_loosely(raw: bytes) -> _Loose | None:
    try:
        return _decode_loosely(mend(raw))
    except UNREADABLE:
        return None


def is_error(frame: Frame) -> bool:
    """Tell whether an answer is an error. An answer that has a result too is not."""
    loose = _read_loosely(frame.raw)
    return loose is not None and _is_there(loose.error) and not _is_there(loose.result)


# What an invalid frame was meant to be.


def meant_by(frame: Frame, *, is_server: bool) -> Head:
    """Return the kind and the id that an invalid frame was meant to have, as far as that can be told.

    Whoever looks for the side that waits must not take any frame for a request. An id alone is a server's answer, and
    a client's request; so is a frame with both a method and a result.
    """
    # What costs too much to read is not read again: its ends must do.
    loose = _read_loosely(frame.raw) if frame.head.is_json and not frame.head.is_excessive else None
    if loose is None:
        head = salvage_head(frame.raw[:KEPT], frame.raw[-KEPT:])
        return _cut_answer(frame.raw) or head if is_server and head.kind is Kind.INVALID else head
    message_id = read_id(_start_of(loose.id, MOST_NAME + 1)) if isinstance(loose.id, msgspec.Raw) else None
    has_answer = loose.has_answer and (is_server or not loose.has_method)
    if has_answer or (is_server and not loose.has_method and loose.id is not msgspec.UNSET):
        return Head(Kind.RESPONSE, message_id)
    if loose.id is not msgspec.UNSET:
        return Head(Kind.REQUEST, message_id)
    return Head(Kind.NOTIFICATION) if loose.has_method else frame.head


def _cut_answer(raw: bytes) -> Head | None:
    """Read the id of an answer that ends before its result; None if ``raw`` may be anything else."""
    if len(raw) > KEPT or _CUT_SHORT.match(raw) is None or (found := _CUT_ID.search(raw)) is None:
        return None
    message_id = read_id(found.group(1))
    return None if message_id is None else Head(Kind.RESPONSE, message_id)


class Sifted(NamedTuple):
    """The outcome of an invalid frame."""

    onward: list[Frame]
    """The frames to forward instead: a mended answer, or an error for the request that waits."""
    back: list[Frame]
    """The errors for its sender, one for each request."""
    is_noise: bool
    """Whether no part of it was an answer that could be mended."""


def sift(frame: Frame, name: str, *, is_server: bool) -> Sifted:
    """Say what becomes of an invalid frame of the peer ``name``; a server's noise is no request, and has no answer.

    A batch is taken member by member: one that is wrong must not cost the others their answers.
    """
    onward: list[Frame] = []
    back: list[Frame] = []
    is_noise = False
    for one in _members_of(frame):
        if one.head.kind is not Kind.INVALID:
            onward.append(one)
            continue
        meant = meant_by(one, is_server=is_server)
        fault = one.head.fault
        if meant.kind is Kind.RESPONSE:
            mended = _mended(one, meant.id)
            is_noise = is_noise or mended is None
            said = f"{name}: its answer is {message_fault(fault)}"
            onward.append(mended or error_under(meant.id, said, one.belongs_to))
            continue
        is_noise = True
        if meant.kind is Kind.REQUEST or (meant.kind is Kind.INVALID and not is_server):
            back.append(replies.not_a_message(one.head, meant.id))
    return Sifted(onward, back, is_noise)


class StandIn(Frame):
    """An error of the relay's own in place of an answer that cannot be forwarded."""

    __slots__ = ()


def error_under(request_id: RequestId | None, said: str, belongs_to: RequestId | None) -> Frame:
    """Return the error that replaces an answer."""
    return StandIn(replies.error(request_id, replies.LOST, said, delivered="unknown").raw, belongs_to)


def _members_of(frame: Frame) -> Iterator[Frame]:
    """Yield the messages of a batch, or the frame itself."""
    raw = frame.raw
    members: list[Span] = []
    if raw.lstrip()[:1] == b"[":
        with contextlib.suppress(TooMany, *UNREADABLE):
            _, members = find_messages(raw)
    if not members:
        yield frame
    for start, end in members:
        yield Frame(raw[start:end], frame.belongs_to)


def _mended(frame: Frame, request_id: RequestId | None) -> Frame | None:
    """Return a malformed answer mended; None if it cannot be."""
    # What costs too much to read is not read again: its ends must do.
    loose = _read_loosely(frame.raw) if frame.head.is_json and not frame.head.is_excessive else None
    if loose is None or not loose.has_answer or loose.has_method:
        return None
    raw = frame.raw
    if loose.method is not msgspec.UNSET:
        raw = _without_method(raw)
    mended = Frame(raw, frame.belongs_to, Head(Kind.RESPONSE, request_id))
    # An integer that was written as a fraction is one again; of what names nothing the spelling does not matter.
    return mended if request_id is None or isinstance(request_id, str) else respelled(mended, request_id)


# Where the members of the envelope stand.


class _Member(NamedTuple):
    key: bytes
    start: int
    """Where its key begins."""
    value: tuple[int, int]


def _envelope(raw: bytes) -> Iterator[_Member]:
    """Go over the scalar members at both ends of a message: before its first container, and after its last."""
    start, position = raw[:KEPT], 0
    for _ in range(_MOST_MEMBERS):
        found = _MEMBER.match(start, position)
        if found is None or found.group(2) is None:
            break
        yield _Member(found.group(1)[1:-1], found.start(1), found.span(2))
        position = found.end()
    offset = max(len(raw) - KEPT, position)
    last = _LAST_MEMBERS.search(raw, offset)
    at = last.start() if last is not None else len(raw)
    for _ in range(_MOST_MEMBERS):
        found = _MEMBER.match(raw, at)
        if found is None or found.group(2) is None:
            break
        yield _Member(found.group(1)[1:-1], found.start(1), found.span(2))
        at = found.end()


def _without_method(raw: bytes) -> bytes:
    """Return an answer without its ``"method":null``, which some clients' strict readers refuse."""
    for member in _envelope(raw):
        if member.key == b"method":
            before, after = raw[: member.start].rstrip(), raw[member.value[1] :].lstrip()
            if after[:1] == b",":
                return before + after[1:]
            return before.removesuffix(b",") + after
    return raw  # somewhere in the middle: no client reads it as more than it is


def respelled(frame: Frame, request_id: RequestId) -> Frame | None:
    """Return an answer under the id of its request, all other bytes as they are; None if its own cannot be found."""
    raw, value = frame.raw, msgspec.json.encode(request_id)
    spans = [member.value for member in _envelope(raw) if member.key == b"id"]
    loose = _read_loosely(raw) if not spans else None
    if loose is not None and loose.id is msgspec.UNSET:
        at = raw.index(b"{") + 1
        raw = raw[:at] + b'"id":' + value + b"," + raw[at:]
    elif not spans:
        return None
    whole, at = memoryview(raw), 0
    parts: list[bytes | memoryview] = []
    for start, end in spans:
        parts += (whole[at:start], value)
        at = end
    raw = b"".join((*parts, whole[at:]))
    return type(frame)(raw, frame.belongs_to, Head(Kind.RESPONSE, request_id))
