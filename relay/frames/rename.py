"""Put another value in the four places of a frame that name a request: nothing is decoded and encoded again.

Clients that share one server choose the same ids, so the relay gives each request an id of its own and names it back
in what comes home: ``id``, ``params.requestId`` of ``notifications/cancelled``, the progress token, and the
``io.modelcontextprotocol/subscriptionId`` of 2026-07-28. All other bytes stay as they are.

Each place is found by a shortcut that is sure of it, or else by going over every token of the frame; where a key
stands twice, all its values are replaced, for parsers differ in which of them they believe.
"""

from __future__ import annotations

import re

import msgspec

from relay.frames.frame import Frame, Head, RequestId

__all__ = ["Unnameable", "subscription_of", "with_id", "with_number", "with_subscription", "with_target", "with_token"]

SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"

_NAME = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|-?\d++(?![\d.eE])'
"""What names a request: a JSON string or an integer."""
_VALUE = re.compile(rb"\s*+:\s*+(" + _NAME + rb")", re.DOTALL)
_COLON = re.compile(rb"\s*+:\s*+")
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)
_LEADING_ID = re.compile(
    rb'\s*+\{\s*+(?:"(?:jsonrpc|method)"\s*+:\s*+"[^"\\]*+"\s*+,\s*+)*+"id"\s*+:\s*+(' + _NAME + rb")", re.DOTALL
)
# The match ends at the brace that closes the message, so what it precedes are members of the message itself.
_TRAILING_ID = re.compile(rb',\s*+"id"\s*+:\s*+(' + _NAME + rb')\s*+(?:,\s*+"jsonrpc"\s*+:\s*+"2\.0"\s*+)?\}\s*+$')
_TAIL = 256  # bytes in which a trailing id is looked for


class Unnameable(ValueError):
    """A place that should name a request holds neither a string nor an integer: it could not be named back."""


class _SubscriptionMeta(msgspec.Struct):
    subscription: int | str | None = msgspec.field(name=SUBSCRIPTION_ID, default=None)


class _WithMeta(msgspec.Struct):
    meta: _SubscriptionMeta | None = msgspec.field(name="_meta", default=None)


class _Notice(msgspec.Struct):
    params: _WithMeta | None = None


_decode_notice = msgspec.json.Decoder(_Notice).decode


def subscription_of(frame: Frame) -> RequestId | None:
    """Return the ``subscriptionId`` in a notification's ``_meta``, if it has one."""
    if b"subscriptionId" not in frame.raw and b"\\u" not in frame.raw:
        return None
    try:
        notice = _decode_notice(frame.raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if notice.params is None or notice.params.meta is None:
        return None
    return notice.params.meta.subscription


def with_id(frame: Frame, new: RequestId) -> Frame:
    """Return the frame under another id: 1.4 us for 100 B, 6 us for 100 kB, of which 4 are the copy."""
    return _renamed(frame, _find_id(frame.raw), new, id=new)


def with_number(frame: Frame, new: int) -> Frame:
    """Return a request whose id is another, and its progress token, if it has one, the same.

    Raises Unnameable if its token is neither a string nor an integer.
    """
    raw, head = frame.raw, frame.head
    spans = _find_id(raw)
    tokens = _find(frame, ("params", "_meta", "progressToken"), is_read=head.token is not None)
    return _renamed(frame, sorted(spans + tokens), new, id=new, token=new if head.token is not None else None)


def _find_id(raw: bytes) -> list[tuple[int, int]]:
    if (found := _LEADING_ID.match(raw)) is not None:
        return [found.span(1)]
    if (found := _TRAILING_ID.search(raw, max(len(raw) - _TAIL, 0))) is not None:
        return [found.span(1)]
    return _scan(raw, ("id",))


def with_token(frame: Frame, new: RequestId) -> Frame:
    """Return a ``notifications/progress`` under another token. Raises Unnameable."""
    spans = _find(frame, ("params", "progressToken"), is_read=frame.head.token is not None)
    return _renamed(frame, spans, new, token=new)


def with_target(frame: Frame, new: RequestId) -> Frame:
    """Return a ``notifications/cancelled`` that speaks of another request. Raises Unnameable."""
    return _renamed(
        frame, _find(frame, ("params", "requestId"), is_read=frame.head.target is not None), new, target=new
    )


def with_subscription(frame: Frame, new: RequestId) -> Frame:
    """Return a notification, or the answer to ``subscriptions/listen``, that speaks of another subscription."""
    parent = "params" if frame.head.method is not None else "result"
    return _renamed(frame, _find(frame, (parent, "_meta", SUBSCRIPTION_ID), is_read=False), new)


def _find(frame: Frame, path: tuple[str, ...], *, is_read: bool) -> list[tuple[int, int]]:
    """Return where the values at ``path`` stand; ``is_read`` says that the decoder has found one there."""
    raw = frame.raw
    key = path[-1].encode()
    # One byte first: it is found 20 times faster than two.
    if b"\\" not in raw or (b"\\u" not in raw and (b"/" not in key or b"\\/" not in raw)):
        position = raw.find(b'"' + key + b'"')
        if position < 0:
            return []
        # One place only, and the decoder has read it at this path: it is that one.
        if is_read and raw.find(b'"' + key + b'"', position + 1) < 0:
            found = _VALUE.match(raw, position + len(key) + 2)
            if found is not None:
                return [found.span(1)]
    return _scan(raw, path)


def _scan(raw: bytes, path: tuple[str, ...]) -> list[tuple[int, int]]:
    """Go over the tokens of a frame; return where the values at ``path`` stand. Raises Unnameable."""
    spans: list[tuple[int, int]] = []
    depth = on_path = 0  # how many containers are open, and how many of the outermost of them lead to the place
    opens_next = 0  # where the container begins that the path goes on into
    for token in _TOKEN.finditer(raw):
        text = token.group()
        if text in (b"{", b"["):
            depth += 1
            if depth == 1 or (token.start() == opens_next and text == b"{"):
                on_path = depth
        elif text in (b"}", b"]"):
            if on_path == depth:
                on_path -= 1
            depth -= 1
        elif depth == on_path and (colon := _COLON.match(raw, token.end())) is not None:
            if _key(text) != path[depth - 1]:
                continue
            if depth < len(path):
                opens_next = colon.end()
                continue
            found = _VALUE.match(raw, token.end())
            if found is None:
                if raw.startswith(b"null", colon.end()):
                    continue
                raise Unnameable(f"{'.'.join(path)} is neither a string nor an integer")
            spans.append(found.span(1))
    return spans


def _key(text: bytes) -> str | None:
    try:
        return str(msgspec.json.decode(text))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None  # half a surrogate pair: no key of ours


def _renamed(
    frame: Frame,
    spans: list[tuple[int, int]],
    new: RequestId,
    *,
    id: RequestId | None = None,
    token: RequestId | None = None,
    target: RequestId | None = None,
) -> Frame:
    if not spans:
        return frame
    raw, value = frame.raw, msgspec.json.encode(new)
    parts: list[bytes] = []
    position = 0
    for start, end in spans:
        parts += (raw[position:start], value)
        position = end
    parts.append(raw[position:])
    head = frame.head
    renamed = Head(
        head.kind,
        head.id if id is None else id,
        head.method,
        head.token if token is None else token,
        head.target if target is None else target,
    )
    return Frame(b"".join(parts), frame.belongs_to, renamed)
