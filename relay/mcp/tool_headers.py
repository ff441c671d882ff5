"""What a frame of revision 2026-07-28 says of itself, and which HTTP headers mirror it.

Pure, and for both sides: who dials makes the headers from the frame, who listens checks them against it. MCP
2026-07-28, "Streamable HTTP": "Request Metadata", "Custom Headers from Tool Parameters", "Server Validation".
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast

import msgspec

from relay.frames.frame import Frame
from relay.frames.head import RequestId
from relay.frames.json_cost import BUILT, MOST_ESCAPES, MOST_NAME
from relay.frames.json_scan import Span, Text, TooMany, elements, find_members
from relay.frames.strictness import UNREADABLE, mend, read_text
from relay.mcp.http_rules import PROTOCOL_VERSION

if TYPE_CHECKING:
    from multidict import MultiMapping

__all__ = [
    "HEADER_MISMATCH",
    "INVALID_PARAMS",
    "METHOD",
    "METHOD_NOT_FOUND",
    "MISSING_CAPABILITY",
    "MODERN_VERSION",
    "NAME",
    "PARAM_PREFIX",
    "UNSUPPORTED_VERSION",
    "Annotation",
    "InvalidTool",
    "RequestFacts",
    "ToolHeaders",
    "check_headers",
    "error_for",
    "is_modern_error",
    "read_facts",
    "request_headers",
    "without_tools",
]

MODERN_VERSION = "2026-07-28"

Read = TypeVar("Read")

HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602

METHOD = "Mcp-Method"
NAME = "Mcp-Name"
PARAM_PREFIX = "Mcp-Param-"


# What a request says of itself.


class RequestFacts(msgspec.Struct, frozen=True, gc=False):
    """What a modern frame says beside its head."""

    version: str | None = None
    """The protocol version in ``_meta``; None if what stands there is no string."""
    has_capabilities: bool = False
    """Whether ``_meta`` holds the client's capabilities, as an object."""
    name: str | None = None
    """What ``Mcp-Name`` mirrors: the tool, prompt or resource; None for other methods, and if it is no string."""
    arguments: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """The arguments of a ``tools/call``; looked into only if the tool is annotated."""
    has_log: bool = False
    """Whether ``_meta`` asks for log messages, by their level."""


class _Object(msgspec.Struct, gc=False):
    """Any object; nothing of it is built."""


class _Meta(msgspec.Struct, gc=False):
    version: str | msgspec.UnsetType = msgspec.field(
        name="io.modelcontextprotocol/protocolVersion", default=msgspec.UNSET
    )
    capabilities: _Object | msgspec.UnsetType = msgspec.field(
        name="io.modelcontextprotocol/clientCapabilities", default=msgspec.UNSET
    )
    level: msgspec.Raw | msgspec.UnsetType = msgspec.field(
        name="io.modelcontextprotocol/logLevel", default=msgspec.UNSET
    )


class _Params(msgspec.Struct, gc=False):
    meta: _Meta | msgspec.UnsetType = msgspec.field(name="_meta", default=msgspec.UNSET)
    name: str | None = None
    uri: str | None = None
    arguments: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Request(msgspec.Struct, gc=False):
    params: _Params | msgspec.UnsetType = msgspec.UNSET


# The same with nothing built: of a frame that is large or odd.


_MaybeRaw = msgspec.Raw | msgspec.UnsetType


class _BareMeta(msgspec.Struct, gc=False):
    version: _MaybeRaw = msgspec.field(name="io.modelcontextprotocol/protocolVersion", default=msgspec.UNSET)
    capabilities: _MaybeRaw = msgspec.field(name="io.modelcontextprotocol/clientCapabilities", default=msgspec.UNSET)
    level: _MaybeRaw = msgspec.field(name="io.modelcontextprotocol/logLevel", default=msgspec.UNSET)


class _BareParams(msgspec.Struct, gc=False):
    meta: _MaybeRaw = msgspec.field(name="_meta", default=msgspec.UNSET)
    name: _MaybeRaw = msgspec.UNSET
    uri: _MaybeRaw = msgspec.UNSET
    arguments: _MaybeRaw = msgspec.UNSET


class _BareRequest(msgspec.Struct, gc=False):
    params: _MaybeRaw = msgspec.UNSET


class _WellFormedParams(msgspec.Struct, gc=False):
    meta: _BareMeta | msgspec.UnsetType = msgspec.field(name="_meta", default=msgspec.UNSET)
    name: _MaybeRaw = msgspec.UNSET
    uri: _MaybeRaw = msgspec.UNSET
    arguments: _MaybeRaw = msgspec.UNSET


class _WellFormedRequest(msgspec.Struct, gc=False):
    params: _WellFormedParams | msgspec.UnsetType = msgspec.UNSET


_decode_request = msgspec.json.Decoder(_Request).decode
_decode_well_formed = msgspec.json.Decoder(_WellFormedRequest).decode
_decode_bare_request = msgspec.json.Decoder(_BareRequest).decode
_decode_bare_params = msgspec.json.Decoder(_BareParams).decode
_decode_bare_meta = msgspec.json.Decoder(_BareMeta).decode
_decode_object = msgspec.json.Decoder(_Object).decode

_VERSION_KEY_TAIL = b"/protocolVersion"  # and so ends "io.modelcontextprotocol\/protocolVersion"
_ESCAPED_KEY = re.compile(rb"\\u00(?:2[fF]|[567])")  # an escape of the slash or a letter: the tail may be spelt so
_V, _BACKSLASH = b"V\\"  # as numbers: such a byte is found in 0.05 us where a bytes object takes 0.4
_NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


def read_facts(frame: Frame) -> RequestFacts | None:
    """Return what a modern frame says of itself; None if its ``_meta`` names no protocol version: a legacy one.

    1.1 us for a request of 300 bytes, 0.1 us for a legacy one.
    """
    raw = frame.raw
    if (_V not in raw or _VERSION_KEY_TAIL not in raw) and (_BACKSLASH not in raw or not _is_escaped(raw)):
        return None  # as nearly all do that are legacy
    if len(raw) > BUILT:
        found: tuple[RequestFacts | None] | None = getattr(frame, "found", None)
        if found is None:
            found = frame.found = (_read_bare_facts(frame),)
        return found[0]
    try:
        params = _decode_request(raw).params
    except UNREADABLE:
        return _read_bare_facts(frame)
    if params is msgspec.UNSET or params.meta is msgspec.UNSET or params.meta.version is msgspec.UNSET:
        return None
    named_by = _NAMED_BY.get(frame.head.method or "")
    name = None if named_by is None else params.name if named_by == "name" else params.uri
    has_capabilities = params.meta.capabilities is not msgspec.UNSET
    has_log = params.meta.level is not msgspec.UNSET
    return RequestFacts(params.meta.version, has_capabilities, name, params.arguments, has_log)


def _is_escaped(raw: bytes) -> bool:
    """Tell whether the key may be spelt with escapes. Among very many it must be plain, as all write it."""
    if len(raw) > BUILT:
        return raw.count(b"\\") <= MOST_ESCAPES and b"\\u00" in raw
    return _ESCAPED_KEY.search(raw) is not None


def _read_bare_facts(frame: Frame) -> RequestFacts | None:
    """Read a frame that is large, or in which a value is not of the type that it should be, or half a pair."""
    params: _BareParams | _WellFormedParams | msgspec.UnsetType
    meta: _BareMeta | msgspec.UnsetType
    try:  # in one go: of 16 MiB each takes up to 30 ms
        params = _decode_well_formed(frame.raw).params
        meta = msgspec.UNSET if isinstance(params, msgspec.UnsetType) else params.meta
    except UNREADABLE:
        params, meta = _read_odd_params(frame.raw)
    if isinstance(params, msgspec.UnsetType) or isinstance(meta, msgspec.UnsetType) or meta.version is msgspec.UNSET:
        return None
    named_by = _NAMED_BY.get(frame.head.method or "")
    name = None if named_by is None else read_text(params.name if named_by == "name" else params.uri)
    has_log = meta.level is not msgspec.UNSET
    return RequestFacts(read_text(meta.version), _is_object(meta.capabilities), name, params.arguments, has_log)


def _read_odd_params(raw: bytes) -> tuple[_BareParams, _BareMeta]:
    try:
        request = _decode_bare_request(raw)
    except UNREADABLE:
        request = _read_or(_decode_bare_request, mend(raw), _BareRequest())
    params = _read_or(_decode_bare_params, request.params, _BareParams())
    return params, _read_or(_decode_bare_meta, params.meta, _BareMeta())


def _read_or(decode: Callable[[Text | msgspec.Raw], Read], value: Text | _MaybeRaw, otherwise: Read) -> Read:
    try:
        return otherwise if isinstance(value, msgspec.UnsetType) else decode(value)
    except UNREADABLE:
        return otherwise


def _is_object(value: _MaybeRaw) -> bool:
    try:
        return not isinstance(value, msgspec.UnsetType) and _decode_object(value) is not None
    except UNREADABLE:
        return False


# What refuses it.


class _Error(msgspec.Struct, gc=False):
    code: int
    message: str


class _Refusal(msgspec.Struct, gc=False):
    error: _Error


class _RawRefusal(msgspec.Struct, gc=False):
    error: msgspec.Raw


_decode_refusal = msgspec.json.Decoder(_Refusal).decode
_decode_raw_refusal = msgspec.json.Decoder(_RawRefusal).decode
_MODERN_ERRORS = (HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION)


def is_modern_error(refusal: Frame) -> bool:
    """Tell whether only a modern server refuses a request like this: what a client may conclude the era from."""
    try:
        return _decode_refusal(refusal.raw).error.code in _MODERN_ERRORS
    except UNREADABLE:
        return False


def error_for(refusal: Frame, request_id: RequestId) -> Frame | None:
    """Return the JSON-RPC error in a refusal as the answer to ``request_id``; None if there is no such error.

    A server that could not read the request, or a gateway before it, refuses it under no id or one of its own.
    """
    try:
        _decode_refusal(refusal.raw)
        error = bytes(_decode_raw_refusal(refusal.raw).error)
    except UNREADABLE:
        return None
    return Frame(b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (msgspec.json.encode(request_id), error), request_id)


# Annotated tools.


class Annotation(msgspec.Struct, frozen=True):
    """A tool parameter that an HTTP header mirrors."""

    header: str
    """The header's whole name, ``Mcp-Param-…``."""
    path: tuple[str, ...]
    """The keys that lead to the value in the arguments."""
    type: str
    """``string``, ``integer`` or ``boolean``."""


@dataclass(frozen=True, slots=True)
class InvalidTool:
    """A tool that clients must leave out, because of an annotation."""

    name: str
    reason: str


class _Tool(msgspec.Struct, gc=False):
    name: msgspec.Raw
    inputSchema: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode_tool = msgspec.json.Decoder(_Tool).decode

_KEY = "x-mcp-header"
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PRIMITIVE = ("string", "integer", "boolean")
_MOST_TOOLS = 5000  # of one answer: 7 us each
_LARGEST_SCHEMA = 1024 * 1024  # bytes
_MOST_SCHEMA = 20_000  # values in the schemas of an answer that are annotated: each is built and looked at, 2 us
# Where in a schema there are schemas (JSON Schema 2020-12, and what it replaced): as the value or a list of them, and
# as members under names of the author's choice. All else is data, which may hold such a key and annotates nothing.
_HOLDING_SCHEMAS = frozenset(
    "additionalItems additionalProperties allOf anyOf contains contentSchema else if items not oneOf prefixItems"
    " propertyNames then unevaluatedItems unevaluatedProperties".split()
)
_NAMING_SCHEMAS = frozenset("$defs definitions dependencies dependentSchemas patternProperties properties".split())


class ToolHeaders:
    """Which headers the tools of one server want, as its answers to ``tools/list`` say."""

    def __init__(self, max_tools: int = 4096) -> None:
        """Remember so many tools; of more, those listed last."""
        self._tools: dict[str, tuple[Annotation, ...]] = {}
        self._max_tools = max_tools

    def learn(self, answer: Frame) -> list[InvalidTool]:
        """Take an answer to ``tools/list``; return the tools in it whose annotations break the rules."""
        invalid: list[InvalidTool] = []
        left = _MOST_SCHEMA
        for name, schema in () if answer.excess() else _tools_in(answer):
            annotations: tuple[Annotation, ...] = ()
            if schema is not None:
                try:
                    left -= sum(map(schema.count, (b"{", b"[", b","))) if len(schema) <= _LARGEST_SCHEMA else left + 1
                    if left < 0:
                        raise _InvalidAnnotation("the schemas with annotations are too large to be looked at")
                    annotations = _read_annotations(_read_schema(schema))
                except _InvalidAnnotation as exc:
                    invalid.append(InvalidTool(name, str(exc)))
            self._tools.pop(name, None)  # so that it counts as listed last
            self._tools[name] = annotations
        for bad in invalid:
            self._tools[bad.name] = ()
        while len(self._tools) > self._max_tools:
            del self._tools[next(iter(self._tools))]
        return invalid

    def of(self, name: str) -> tuple[Annotation, ...] | None:
        """Return the annotations of a tool; none if they were invalid, and None if the tool was never listed."""
        return self._tools.get(name)


def _tools_in(answer: Frame) -> Iterator[tuple[str, bytes | None]]:
    """Yield the names of an answer's tools, and their schemas if they may be annotated.

    With one of them malformed, the others all the same.
    """
    text, spans = _find_tools(answer.raw)
    for start, end in spans:
        try:
            tool = _decode_tool(memoryview(text)[start:end])
        except UNREADABLE:
            continue
        if (name := read_text(tool.name)) is None:
            continue
        may_annotate = text.find(_KEY.encode(), start, end) >= 0 or text.find(b"\\u00", start, end) >= 0
        is_bare = not may_annotate or isinstance(tool.inputSchema, msgspec.UnsetType)
        yield name, None if is_bare else bytes(cast(msgspec.Raw, tool.inputSchema))


def _find_tools(raw: bytes) -> tuple[Text, list[Span]]:
    """Return where the tools of an answer stand, as far as they are looked at, and the text they can be read in."""
    try:
        return raw, _spans_of_tools(raw)
    except UNREADABLE:
        text = mend(raw)
    try:
        return text, _spans_of_tools(text)
    except UNREADABLE:
        return text, []


def _spans_of_tools(text: Text) -> list[Span]:
    start, spans = 0, list[Span]()
    try:
        for key in ("result", "tools"):
            start = max((span[0] for _, span in find_members(text, (key,), start)), default=-1)
            if start < 0:
                return []
        for span in elements(text, _MOST_TOOLS, start):
            spans.append(span)
    except TooMany:
        pass  # those that have been looked at are
    return spans


def _read_schema(schema: bytes) -> object:
    try:
        return msgspec.json.decode(schema)
    except UNREADABLE:  # the parts that were skipped before may hold what is no UTF-8
        return None


class _InvalidAnnotation(Exception):
    """An annotation breaks a rule of "Schema Extension"; the message says which."""


def _read_annotations(root: object) -> tuple[Annotation, ...]:
    """Return the annotations of an input schema, in its order. Raises _InvalidAnnotation."""
    found: dict[str, Annotation] = {}
    for path, schema in _schemas_in(root):
        if _KEY not in schema:
            continue
        if not path:
            raise _InvalidAnnotation(f"{_KEY} stands where no chain of properties alone leads")
        annotation = _read_annotation(path, schema)
        other = found.setdefault(annotation.header.lower(), annotation)
        if other is not annotation:
            raise _InvalidAnnotation(f"{_shown(path)} and {_shown(other.path)} have the same {_KEY}")
    return tuple(found.values())


def _read_annotation(path: tuple[str, ...], schema: dict[str, object]) -> Annotation:
    name, kind = schema[_KEY], schema.get("type")
    if not isinstance(name, str) or _TOKEN.fullmatch(name) is None:
        raise _InvalidAnnotation(f"the {_KEY} of {_shown(path)} is not the name of an HTTP header")
    if not isinstance(kind, str) or kind not in _PRIMITIVE:
        raise _InvalidAnnotation(f"{_shown(path)} has an {_KEY} and is no string, integer or boolean")
    return Annotation(PARAM_PREFIX + name, path, kind)


def _schemas_in(root: object) -> Iterator[tuple[tuple[str, ...] | None, dict[str, object]]]:
    """Yield each schema within ``root``, with the path of properties to it; None if something else is on the way."""
    waiting: list[tuple[tuple[str, ...] | None, object]] = [((), root)]
    while waiting:
        path, schema = waiting.pop()
        if isinstance(schema, list):
            waiting += [(None, member) for member in reversed(schema)]
        if not isinstance(schema, dict):
            continue
        yield path, schema
        inner: list[tuple[tuple[str, ...] | None, object]] = []
        for keyword, value in schema.items():
            if keyword in _NAMING_SCHEMAS and isinstance(value, dict):
                is_chain = keyword == "properties" and path is not None
                inner += [((*(path or ()), name) if is_chain else None, member) for name, member in value.items()]
            elif keyword in _HOLDING_SCHEMAS:
                inner.append((None, value))
        waiting += reversed(inner)


def _shown(path: tuple[str, ...]) -> str:
    return repr(_short(".".join(path)))


def without_tools(answer: Frame, names: Collection[str]) -> Frame:
    """Return an answer to ``tools/list`` with the tools of these names cut out, and nothing else of it touched."""
    text, spans = _find_tools(answer.raw)
    is_cut = [_name_of(text[start:end]) in names for start, end in spans]
    return Frame(_cut(answer.raw, spans, is_cut), answer.belongs_to)


def _name_of(tool: Text) -> str | None:
    try:
        return read_text(_decode_tool(tool).name)
    except UNREADABLE:
        return None


def _cut(raw: bytes, spans: list[Span], is_cut: list[bool]) -> bytes:
    """Leave out members of an array: each with what follows it, the last ones with what goes before them."""
    last_kept = max((number for number, cut in enumerate(is_cut) if not cut), default=-1)
    pieces: list[bytes] = []
    kept_to = 0
    for number, (start, _) in enumerate(spans):
        if not is_cut[number]:
            continue
        if number < last_kept:
            pieces.append(raw[kept_to:start])
            kept_to = spans[number + 1][0]
        else:
            pieces.append(raw[kept_to : spans[last_kept][1] if last_kept >= 0 else start])
            kept_to = spans[-1][1]
            break
    return b"".join((*pieces, raw[kept_to:]))


# The headers.

_SENTINEL, _SENTINEL_END = "=?base64?", "?="
_PLAIN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?|")
_ADMISSIBLE = re.compile(r"[\t\x20-\x7e]*")
_INTEGER = re.compile(r"(-?)(?=[0-9])0*+([0-9]*+)(?:\.0++)?")  # possessive: a header is a stranger's
_LONGEST_NUMBER = 400  # characters; a longer one is no value for a header
_SHOWN = 100  # characters of a value in a reason


def request_headers(frame: Frame, facts: RequestFacts, tools: ToolHeaders | None = None) -> dict[str, str]:
    """Return the headers that mirror a modern frame; those of its parameters if its tool was listed.

    What is no fit value for ``MCP-Protocol-Version`` or ``Mcp-Method``, which know no encoding, has no header: it is
    for the server to refuse it.
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
        for annotation, value in _mirrored(frame, facts, tools):
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
    if reason is None and frame.head.method in _NAMED_BY:
        reason = _contradiction(headers, NAME, facts.name)
    if reason is None:
        reason = _contradicted_parameter(headers, frame, facts, tools)
    return f"Header mismatch: {reason}" if reason is not None else None


def _contradicted_parameter(
    headers: MultiMapping[str], frame: Frame, facts: RequestFacts, tools: ToolHeaders | None
) -> str | None:
    try:
        for annotation, value in _mirrored(frame, facts, tools):
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
        return None if wanted is None else f"the {name} header is missing; the body value is {_quoted(wanted)}"
    if len(values) > 1:
        return f"the {name} header stands {len(values)} times"
    if _ADMISSIBLE.fullmatch(values[0]) is None:
        return f"{name} header value {_quoted(values[0])} has characters that no header may have"
    value = _decode(values[0]) if is_encoded else values[0]
    if value is None:
        return f"{name} header value {_quoted(values[0])} is not Base64 of UTF-8"
    if wanted is None:
        return f"{name} header value {_quoted(value)} has no value in the body"
    if value == wanted or (is_number and _is_same_integer(value, wanted)):
        return None
    return f"{name} header value {_quoted(value)} does not match body value {_quoted(wanted)}"


def _mirrored(frame: Frame, facts: RequestFacts, tools: ToolHeaders | None) -> Iterator[tuple[Annotation, str | None]]:
    """Yield the annotations of the tool that a frame calls, each with the text of its value; None if it has none.

    Raises TooMany if a value cannot be found, or is larger than any header.
    """
    if tools is None or facts.name is None or frame.head.method != "tools/call":
        return
    annotations = tools.of(facts.name)
    if not annotations:
        return
    arguments = b"" if isinstance(facts.arguments, msgspec.UnsetType) else bytes(facts.arguments)
    for annotation in annotations:
        yield annotation, _text_of(_value_at(arguments, annotation.path))


def _value_at(arguments: bytes, path: tuple[str, ...]) -> bytes | None:
    """Return the value at a path as it stands: of a key that stands twice, the last one's. Raises TooMany."""
    start, end = 0, len(arguments)
    for key in path:
        try:
            found = [span for _, span in find_members(arguments, (key,), start)]
        except UNREADABLE:
            return None
        if not found:
            return None
        start, end = found[-1]
    return arguments[start:end]


def _text_of(text: bytes | None) -> str | None:
    """Return what a header says of a value; None for null, arrays and objects, of which it says nothing."""
    if text is None:
        return None
    if text[:1] == b'"':
        if len(text) > MOST_NAME:
            raise TooMany(f"a value of {len(text)} bytes is more than a header holds")
        return read_text(text)
    if text[:1] in b"n[{" or len(text) > _LONGEST_NUMBER:
        return None
    number = text.decode()
    integer = _INTEGER.fullmatch(number)
    return number if integer is None else _canonical(integer)


def _canonical(integer: re.Match[str]) -> str:
    sign, digits = integer.groups()
    return sign + digits if digits else "0"


def _is_same_integer(one: str, other: str) -> bool:
    first, second = _INTEGER.fullmatch(one), _INTEGER.fullmatch(other)
    return first is not None and second is not None and _canonical(first) == _canonical(second)


def _encode(value: str) -> str:
    is_sentinel = value.startswith(_SENTINEL) and value.endswith(_SENTINEL_END)
    if _PLAIN.fullmatch(value) and not is_sentinel:
        return value
    # "replace": msgspec lets no half surrogate through, but nothing here depends on it.
    return _SENTINEL + base64.b64encode(value.encode("utf-8", "replace")).decode() + _SENTINEL_END


def _decode(value: str) -> str | None:
    """Undo ``_encode``; None if a value says that it is Base64, and is not, or not in its one canonical form."""
    payload = value[len(_SENTINEL) : -len(_SENTINEL_END)]
    if value != _SENTINEL + payload + _SENTINEL_END:
        return value
    try:
        data = base64.b64decode(payload, validate=True)
        return data.decode() if base64.b64encode(data).decode() == payload else None
    except (binascii.Error, UnicodeDecodeError):
        return None


def _quoted(value: str) -> str:
    return repr(_short(value))


def _short(value: str) -> str:
    return value if len(value) <= _SHOWN else value[:_SHOWN] + "…"
