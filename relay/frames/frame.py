"""One JSON-RPC message exactly as it arrived, and the little of it that the relay reads.

A frame is its bytes. Its ``head`` (kind, id, method, progress token) is read when somebody asks, once; byte-to-byte
pipes never ask. Nothing here decodes a payload: msgspec skips what it is not told to build.
"""

from __future__ import annotations

import contextlib
import enum
import re
from collections.abc import Iterable, Iterator

import msgspec

from relay.frames.json_cost import BUILT, MOST_MESSAGES, MOST_NAME, excess, is_utf8, may_hold
from relay.frames.json_scan import Malformed, Span, Text, TooMany, elements, find_members
from relay.limits import DEFAULT_LIMITS

__all__ = ["UNREADABLE", "Frame", "Head", "Kind", "RequestId", "each_message", "read_name", "read_text"]

RequestId = str | int
"""A JSON-RPC id. ``1`` and ``"1"`` are different ids, as they are different Python values."""


class Kind(enum.Enum):
    """What a frame is, by JSON-RPC 2.0."""

    REQUEST = "request"
    NOTIFICATION = "notification"
    RESPONSE = "response"
    BATCH = "batch"
    INVALID = "invalid"


class Head(msgspec.Struct, frozen=True, gc=False):  # made for every frame: 0.08 us, a dataclass 0.88
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
    payload_size: int = 0
    """Bytes of a large message's params, result or error; 0 if it was not looked at."""
    is_excessive: bool = False
    """Whether it is INVALID because of what it would cost to read; see ``bounds``."""

    @property
    def asks(self) -> bool:
        """Whether it is a request, or a batch with one in it: whether answers are due."""
        return self.kind is Kind.REQUEST or any(member.kind is Kind.REQUEST for member in self.members)

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


class _BareEnvelope(msgspec.Struct):
    """The envelope of a large message: nothing of it is built before its size is known."""

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
_decode_str = msgspec.json.Decoder(str).decode
_decode_request_params = msgspec.json.Decoder(_RequestParams).decode
_decode_notice_params = msgspec.json.Decoder(_NoticeParams).decode

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, Malformed)
"""What is raised for bytes that are not the JSON that was asked for; RecursionError for 1,000 nested arrays."""
_SPEAKING_OF_REQUESTS = ("notifications/progress", "notifications/cancelled")
_NEWLINES = bytes.maketrans(b"\r\n", b"  ")
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
_MOST_MENDED = 500_000  # escapes of a message with half a surrogate pair: 3 MB of them
_HALF = re.compile("\ufffd")
_BLUNTED = re.compile("[\uf000-\uffff]")
_ENVELOPE_KEY = re.compile(rb'"(jsonrpc|id|method|params|result|error)"\s*:')
_ENVELOPE_MEMBER = rb'"(?:jsonrpc|id|method)"\s*:\s*(?:"[^"\\]*"|-?\d+)\s*'
_BEFORE_PAYLOAD = re.compile(rb"\s*\{\s*(?:" + _ENVELOPE_MEMBER + rb',\s*)*"(?:params|result|error)"\s*:\s*')
_AFTER_PAYLOAD = re.compile(rb"\s*(?:,\s*" + _ENVELOPE_MEMBER + rb")*\}\s*")
_AFTER_MESSAGES = re.compile(rb"\s*+\]\s*+")
_LARGE = 2048  # bytes from which on a look at a message's ends is cheaper than a look at all of it
_ENDS = 4096  # bytes at either end of a large message in which its envelope is looked for
_ROUTED_KEYS = ("id", "method", "jsonrpc", "params", "result", "error")


class Frame:
    """One JSON-RPC message exactly as it arrived, without its line ending."""

    __slots__ = ("_excess", "_head", "belongs_to", "found", "raw")
    found: tuple[object]
    """What ``modern`` has found in a large frame, once; not there before."""
    _excess: tuple[int, int, str]
    """What ``excess`` has found, and within which bounds; not there before."""

    def __init__(self, raw: bytes, belongs_to: RequestId | None = None, head: Head | None = None) -> None:
        """Hold ``raw``; ``belongs_to`` names the request on whose own response stream the frame arrived, if any.

        ``head`` is what is known of the frame already.
        """
        self.raw = raw
        self.belongs_to = belongs_to
        self._head = head

    @property
    def head(self) -> Head:
        """Kind, id, method and progress token; ``Kind.INVALID``, with the reason, if this is no JSON-RPC message."""
        head = self._head
        if head is None:
            raw = self.raw
            # msgspec does not look at what it skips. 0.03 us for 100 B, 3.5 for 100 kB.
            head = self._head = _read_head(raw, self) if raw.isascii() or is_utf8(raw) else _NOT_UTF8
        return head

    def read_whole(self) -> Head:
        """Return the head, read from the whole frame: of one from a stranger the ends alone could be made to lie."""
        head = self._head = _read_whole_head(self.raw, self)
        return head

    def excess(self, nodes: int = DEFAULT_LIMITS.max_json_nodes, values: int = DEFAULT_LIMITS.max_json_values) -> str:
        """Say what this has too many of, as ``bounds.excess`` does; counted once, for that may take 80 ms."""
        known = getattr(self, "_excess", None)
        if known is None or known[:2] != (nodes, values):
            known = self._excess = (nodes, values, excess(self.raw, nodes, values))
        return known[2]

    @property
    def line(self) -> bytes:
        """The frame on one line, for transports that frame by newlines.

        A raw CR or LF in JSON can only be white space between tokens, so a space in its place keeps the meaning.
        """
        raw = self.raw
        return raw.translate(_NEWLINES) if b"\n" in raw or b"\r" in raw else raw

    def split(self) -> list[Frame]:
        """Return the members of a batch as frames of their own, their bytes as they are."""
        _, spans = _find_messages(self.raw)
        return [Frame(self.raw[start:end], self.belongs_to) for start, end in spans]

    def __repr__(self) -> str:
        """Show the start of the frame."""
        return f"Frame({self.raw[:60]!r}{'…' if len(self.raw) > 60 else ''})"


def each_message(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Go through frames message by message: a batch by its members."""
    for frame in frames:
        if frame.head.kind is Kind.BATCH:
            yield from frame.split()
        else:
            yield frame


_NOT_UTF8 = Head(Kind.INVALID, fault="it is not UTF-8", is_json=False)


def _read_head(raw: Text, frame: Frame | None = None) -> Head:
    if len(raw) > _LARGE and (head := _peek_at_answer(raw)) is not None:
        return head
    return _read_whole_head(raw, frame)


def _read_whole_head(raw: Text, frame: Frame | None = None) -> Head:
    """Read the head of a message; ``frame`` is what it is, unless it is part of one, and knows what was counted."""
    try:
        return _head_of(_decode_envelope(raw) if len(raw) <= BUILT else _decode_large(raw), raw, frame)
    except UNREADABLE as exc:
        if (raw[:64].lstrip() or raw.lstrip())[:1] == b"[":
            return _read_batch(raw)
        if _has_too_many_escapes(raw):
            fault = f"half a surrogate pair among more than {_MOST_MENDED} escapes, or {exc}"
            return Head(Kind.INVALID, fault=fault, is_excessive=True)
        if (mended := _mend(raw)) is not raw:
            return _see_to_names(_read_whole_head(mended, frame), mended)
        return _unreadable(exc)


def _decode_large(raw: Text) -> _Envelope:
    """Read the envelope of a large message; its names only if they are no larger than names are."""
    bare = _decode_bare_envelope(raw)
    return _Envelope(
        msgspec.UNSET if isinstance(bare.id, _Unset) else read_name(bare.id),
        msgspec.UNSET if isinstance(bare.method, _Unset) else _read_str(bare.method),
        bare.params,
        bare.result,
        bare.error,
    )


def read_name(name: msgspec.Raw) -> RequestId | None:
    """Return the string or integer that stands there, None for null. Raises UNREADABLE if it is none, or too large."""
    message_id: RequestId | None = _decode_id(_bounded(name))
    return message_id


def _read_str(value: bytes | msgspec.Raw) -> str:
    text: str = _decode_str(_bounded(value))
    return text


def read_text(value: bytes | msgspec.Raw | _Unset) -> str | None:
    """Return the string that stands there; None if it is anything else, or too large for a name."""
    with contextlib.suppress(*UNREADABLE):
        return None if isinstance(value, _Unset) else _read_str(value)
    return None


def _bounded(name: bytes | msgspec.Raw) -> bytes | msgspec.Raw:
    """See that what is to be built is no larger than names are. Raises ValidationError."""
    if (size := memoryview(name).nbytes) > MOST_NAME:
        raise msgspec.ValidationError(f"an id or a method of {size} bytes; at most {MOST_NAME}")
    return name


def _mend(raw: Text) -> Text:
    """Replace half surrogate pairs by an escape as long as theirs, for msgspec, which reads none.

    They are legal JSON, and what JavaScript writes of a string cut in the middle of an emoji. In a large message
    every escape of a surrogate is replaced, those of whole pairs too: to tell them apart takes 0.3 us each.
    """
    if len(raw) > BUILT:
        return raw if _has_too_many_escapes(raw) else _blunt(raw)
    if b"\\u" not in raw:
        return raw
    mended = _ESCAPE.sub(_mend_escape, raw)
    return raw if mended == raw else mended


def _has_too_many_escapes(raw: Text) -> bool:
    """Tell whether to mend a message, and to read what is mended, would hold up others."""
    return len(raw) > 6 * _MOST_MENDED and raw.count(b"\\u") > _MOST_MENDED


def _mend_escape(escape: re.Match[bytes]) -> bytes:
    return b"\\ufffd" if escape.group(1) else escape.group()


def _blunt(raw: Text) -> Text:
    """Write ``\\uf…`` for each ``\\ud…``, piece by piece: two copies more of the whole would be too many."""
    blunted = None
    for start in range(0, len(raw), BUILT):
        # An escape may begin in one piece and go on in the next.
        piece = raw[start : start + BUILT + 2] if blunted is None else blunted[start : start + BUILT + 2]
        blunt = piece
        for letter in (b"d", b"D"):
            if letter in piece:  # which is found, or not, 20 times faster than the whole escape
                blunt = blunt.replace(b"\\u" + letter, b"\\uf")
        if blunt is not piece and blunt != piece:
            blunted = blunted or bytearray(raw)
            blunted[start : start + len(piece)] = blunt
    return blunted or raw


def _see_to_names(head: Head, mended: Text) -> Head:
    """Return the head of a message that ``_mend`` has changed, if its names are not what was changed of it."""
    mark = _HALF if len(mended) <= BUILT else _BLUNTED
    if any(isinstance(text, str) and mark.search(text) for text in (head.id, head.method, head.token, head.target)):
        return Head(Kind.INVALID, fault="half a surrogate pair in its id or method, or beside escapes in them")
    return head


def _unreadable(exc: Exception) -> Head:
    return Head(Kind.INVALID, fault=str(exc) or type(exc).__name__, is_json=isinstance(exc, msgspec.ValidationError))


def _find_messages(raw: Text) -> tuple[Text, list[Span]]:
    """Return where the members of a batch stand, and the text they can be read in. Raises Malformed, TooMany."""
    try:
        return raw, _spans_of_messages(raw)
    except Malformed:
        if (mended := _mend(raw)) is raw:
            raise
        return mended, _spans_of_messages(mended)


def _spans_of_messages(text: Text) -> list[Span]:
    spans = list(elements(text, MOST_MESSAGES))
    if spans and _AFTER_MESSAGES.fullmatch(text, spans[-1][1]) is None:
        raise Malformed("something behind the batch")
    return spans


def _read_batch(raw: Text) -> Head:
    try:
        text, spans = _find_messages(raw)
    except TooMany:
        return Head(Kind.INVALID, fault=f"a batch of more than {MOST_MESSAGES} messages", is_excessive=True)
    except UNREADABLE as exc:
        return _unreadable(exc)
    if not spans:
        return Head(Kind.INVALID, fault="an empty batch")
    heads: list[Head] = []
    for start, end in spans:
        head = _read_head(text[start:end])
        if text is not raw:
            head = _see_to_names(head, text)
        if head.kind in (Kind.INVALID, Kind.BATCH):
            return Head(Kind.INVALID, fault=head.fault or "a batch within a batch", is_excessive=head.is_excessive)
        heads.append(head)
    return Head(Kind.BATCH, members=tuple(heads))


def _head_of(envelope: _Envelope, raw: Text, frame: Frame | None) -> Head:
    has_answer = envelope.result is not msgspec.UNSET or envelope.error is not msgspec.UNSET
    message_id = None if envelope.id is msgspec.UNSET else envelope.id
    if envelope.method is msgspec.UNSET:
        if has_answer and envelope.id is not msgspec.UNSET:
            return Head(Kind.RESPONSE, message_id, payload_size=_size(envelope, raw))
        return Head(Kind.INVALID, message_id, fault="neither a method nor a result or error with an id")
    if has_answer:
        return Head(Kind.INVALID, message_id, fault="both a method and a result or error")
    if envelope.id is msgspec.UNSET:
        return _notification(envelope, raw, frame)
    if message_id is None:
        return Head(Kind.INVALID, fault="a request whose id is null")
    token = None
    if envelope.params is not msgspec.UNSET and (b"progressToken" in raw or (b"\\" in raw and may_hold(raw, b"\\u00"))):
        if len(raw) > BUILT and (fault := _excess(raw, frame)):
            return Head(Kind.INVALID, message_id, fault=fault, is_excessive=True)
        token = _request_token(envelope.params)
    return Head(Kind.REQUEST, message_id, envelope.method, token, payload_size=_size(envelope, raw))


def _size(envelope: _Envelope, raw: Text) -> int:
    if len(raw) <= _LARGE:
        return 0
    payload = next((p for p in (envelope.params, envelope.result, envelope.error) if p is not msgspec.UNSET), None)
    return memoryview(payload).nbytes if isinstance(payload, msgspec.Raw) else 0


def _excess(raw: Text, frame: Frame | None) -> str:
    return excess(raw) if frame is None else frame.excess()  # to mend a frame changes no count


def _notification(envelope: _Envelope, raw: Text, frame: Frame | None) -> Head:
    assert isinstance(envelope.method, str), "a notification has a method"
    token = target = None
    if envelope.method in _SPEAKING_OF_REQUESTS and isinstance(envelope.params, msgspec.Raw):
        if len(raw) > BUILT and (fault := _excess(raw, frame)):
            return Head(Kind.INVALID, fault=fault, is_excessive=True)
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
    """Return what names a request; None if it is anything else, or too large."""
    if value is msgspec.UNSET:
        return None
    try:
        return read_name(value)
    except UNREADABLE:
        return None


def repeated_key(frame: Frame) -> str | None:
    """Return a top-level key that routing depends on and that stands twice, if there is one.

    Parsers differ in which of the two they believe, so such a frame could be one thing here and another at its
    destination. Cheap for ordinary frames, 0.6 us: its members are gone through only if a key could repeat. Raises
    TooMany.
    """
    raw = frame.raw
    if len(raw) <= _LARGE:
        if b"\\u" not in raw and raw.count(b'"id"') < 2 and raw.count(b'"method"') < 2 and raw.count(b'"params"') < 2:
            return None
    elif _is_plain(raw, frame.head.payload_size):
        return None
    return None if frame.head.kind is Kind.BATCH else _look_for_repeated_key(raw)


def _is_plain(raw: bytes, payload_size: int) -> bool:
    """Tell whether a large message is its payload and, around it, each envelope key once: no scan of the payload."""
    before = _BEFORE_PAYLOAD.match(raw, 0, _ENDS)
    if before is None or not payload_size:
        return False
    end = before.end() + payload_size
    after = _AFTER_PAYLOAD.fullmatch(raw, end) if len(raw) - end <= _ENDS else None
    if after is None:
        return False
    keys = _ENVELOPE_KEY.findall(before.group()) + _ENVELOPE_KEY.findall(after.group())
    return len(keys) == len(set(keys))


def _look_for_repeated_key(raw: bytes) -> str | None:
    try:
        return _repeated_key_in(raw)
    except UNREADABLE:
        return _repeated_key_in(_mend(raw))


def _repeated_key_in(text: Text) -> str | None:
    seen: set[str] = set()
    for key, _ in find_members(text, _ROUTED_KEYS):
        if key in seen:
            return key
        seen.add(key)
    return None


_SCALAR = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|-?\d++(?:\.\d++)?+(?:[eE][+-]?\d++)?+|null'
# A scalar that the cut may have shortened is none: what follows it must be there.
_LEADING_MEMBER = re.compile(
    rb'\s*[{,]\s*"(jsonrpc|id|method|params|result|error)"\s*:\s*(?:(' + _SCALAR + rb")(?=\s*[,}]))?"
)
# What nearly all servers write before a result: one match is 0.5 us, to go from member to member 2.
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
    if (usual := _USUAL_ANSWER.match(raw, 0, _ENDS)) is not None:
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


def salvage_head(start: Text, end: Text) -> Head:
    """Read the head of a message from its first and its last bytes, of each no more than ``_ENDS``.

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
    """Return what a message is (a notification is a request here), and how its id is written there."""
    leading = _leading_members(start)
    is_answer = "result" in leading or "error" in leading
    if is_answer == (leading.get("method", b"null") != b"null"):
        return Kind.INVALID, None
    token = leading.get("id")
    if "id" not in leading and (last := _LAST_MEMBERS.search(end, max(len(end) - _ENDS, 0))) is not None:
        token = last.group(1)
    return Kind.RESPONSE if is_answer else Kind.REQUEST, token


_FRACTION = re.compile(rb"(-?)(\d{1,40})(?:\.(\d{1,40}))?(?:[eE]([+-]?\d{1,3}))?")


def read_id(token: bytes) -> RequestId | None:
    """Return what a JSON value names as an id: a string, or an integer, also one that is written as a fraction."""
    if len(token) > MOST_NAME:
        return None
    with contextlib.suppress(*UNREADABLE):
        named: RequestId | None = _decode_id(token)
        return named
    found = _FRACTION.fullmatch(token.strip())
    if found is None:
        return None
    sign, whole, fraction, exponent = found.groups()
    digits, shift = whole + (fraction or b""), int(exponent or 0) - len(fraction or b"")
    if not digits.strip(b"0"):
        return 0
    if shift > 40 or (shift < 0 and digits[shift:].strip(b"0")):
        return None
    return int(sign + (digits + b"0" * shift if shift >= 0 else digits[:shift] or b"0"))


def _leading_members(start: Text) -> dict[str, bytes | None]:
    """Return the members up to the first whose value is no scalar, or is cut: that one's value is None."""
    found: dict[str, bytes | None] = {}
    position = 0
    while (member := _LEADING_MEMBER.match(start, position, _ENDS)) is not None:
        found[member.group(1).decode()] = member.group(2)
        if member.group(2) is None:
            break
        position = member.end()
    return found
