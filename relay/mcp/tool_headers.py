"""Tool parameters that an HTTP header mirrors: ``x-mcp-header`` in a tool's schema, ``Mcp-Param-…`` in a request.

MCP 2026-07-28, "Streamable HTTP", "Custom Headers from Tool Parameters".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from relay.frames.frame import Frame
from relay.frames.json_cost import MOST_NAME
from relay.frames.json_scan import Span, TooMany, find_members
from relay.frames.strictness import UNREADABLE, read_text
from relay.mcp.facts import RequestFacts
from relay.mcp.tool_list import KEY, tools_in

__all__ = ["PARAM_PREFIX", "Annotation", "InvalidTool", "ToolHeaders", "is_same_integer", "mirrored", "quoted"]


PARAM_PREFIX = "Mcp-Param-"


class Annotation(msgspec.Struct, frozen=True):
    """A tool parameter that an HTTP header mirrors."""

    header: str
    """The header's whole name, ``Mcp-Param-…``."""
    path: tuple[str, ...]
    """The keys that lead to the value in the arguments."""
    type: str
    """``string``, ``integer`` or ``boolean``."""


class InvalidTool(msgspec.Struct, frozen=True, gc=False):
    """A tool that clients must exclude because of a bad annotation."""

    name: str
    reason: str


_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PRIMITIVE = ("string", "integer", "boolean")
_LARGEST_SCHEMA = 1024 * 1024  # bytes
_MOST_SCHEMA = 20_000  # values in the annotated schemas of one answer: to build and inspect each takes 2 us
# The keywords of a schema that hold schemas (JSON Schema 2020-12 and earlier drafts): as a value or a list, or as
# members under names that the author chose. All else is data: a key like ours in it annotates nothing.
_HOLDING_SCHEMAS = frozenset(
    "additionalItems additionalProperties allOf anyOf contains contentSchema else if items not oneOf prefixItems"
    " propertyNames then unevaluatedItems unevaluatedProperties".split()
)
_NAMING_SCHEMAS = frozenset("$defs definitions dependencies dependentSchemas patternProperties properties".split())


class ToolHeaders:
    """Which headers the tools of one server require, learned from its answers to ``tools/list``."""

    def __init__(self, max_tools: int = 4096) -> None:
        """Remember up to ``max_tools`` tools, those listed last."""
        self._tools: dict[str, tuple[Annotation, ...]] = {}
        self._max_tools = max_tools

    def learn(self, answer: Frame) -> list[InvalidTool]:
        """Take an answer to ``tools/list``; return the tools in it whose annotations break the rules."""
        invalid: list[InvalidTool] = []
        left = _MOST_SCHEMA
        for name, schema in () if answer.excess() else tools_in(answer):
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
        """Return the annotations of a tool; an empty tuple if they were invalid, None if the tool was never listed."""
        return self._tools.get(name)


def _read_schema(schema: bytes) -> object:
    try:
        return msgspec.json.decode(schema)
    except UNREADABLE:  # the parts that were skipped before may hold bytes that are no UTF-8
        return None


class _InvalidAnnotation(Exception):
    """An annotation breaks a rule of "Schema Extension"; the message says which."""


def _read_annotations(root: object) -> tuple[Annotation, ...]:
    """Return the annotations of an input schema, in its order. Raises _InvalidAnnotation."""
    found: dict[str, Annotation] = {}
    for path, schema in _schemas_in(root):
        if KEY not in schema:
            continue
        if not path:
            raise _InvalidAnnotation(f"{KEY} stands where no chain of properties alone leads")
        annotation = _read_annotation(path, schema)
        other = found.setdefault(annotation.header.lower(), annotation)
        if other is not annotation:
            raise _InvalidAnnotation(f"{_shown(path)} and {_shown(other.path)} have the same {KEY}")
    return tuple(found.values())


def _read_annotation(path: tuple[str, ...], schema: dict[str, object]) -> Annotation:
    name, kind = schema[KEY], schema.get("type")
    if not isinstance(name, str) or _TOKEN.fullmatch(name) is None:
        raise _InvalidAnnotation(f"the {KEY} of {_shown(path)} is not the name of an HTTP header")
    if not isinstance(kind, str) or kind not in _PRIMITIVE:
        raise _InvalidAnnotation(f"{_shown(path)} has an {KEY} and is no string, integer or boolean")
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


_INTEGER = re.compile(r"(-?)(?=[0-9])0*+([0-9]*+)(?:\.0++)?")  # possessive: a stranger wrote the header
_LONGEST_NUMBER = 400  # characters; a longer number gets no header
_QUOTE = ord('"')
_SHOWN = 100  # characters of a value in a reason


def mirrored(frame: Frame, facts: RequestFacts, tools: ToolHeaders | None) -> Iterator[tuple[Annotation, str | None]]:
    """Yield the annotations of the tool that a frame calls, each with the text of its value; None if it has none.

    Raises TooMany if a value cannot be found, or is larger than any header.
    """
    if tools is None or facts.name is None or frame.head.method != "tools/call":
        return
    annotations = tools.of(facts.name)
    if not annotations:
        return
    arguments = memoryview(b"" if isinstance(facts.arguments, msgspec.UnsetType) else facts.arguments)
    spans = _spans_at(arguments, {annotation.path for annotation in annotations})
    for annotation in annotations:
        span = spans.get(annotation.path)
        yield annotation, None if span is None else _text_of(arguments[span[0] : span[1]])


def _spans_at(text: memoryview, paths: set[tuple[str, ...]], start: int = 0) -> dict[tuple[str, ...], Span]:
    """Return where the values at these paths stand, the last one if a key is repeated. Raises TooMany.

    Each object is scanned once, however many paths lead through it: 16 MiB take up to 30 ms.
    """
    keys = tuple(sorted({path[0] for path in paths}))
    try:
        found = dict(find_members(text, keys, start))
    except UNREADABLE:
        return {}
    spans: dict[tuple[str, ...], Span] = {}
    for key, span in found.items():
        rests = {path[1:] for path in paths if path[0] == key}
        if () in rests:
            spans[key,] = span
        if inner := rests - {()}:
            spans |= {(key, *rest): at for rest, at in _spans_at(text, inner, span[0]).items()}
    return spans


def _text_of(value: memoryview) -> str | None:
    """Return the text of a value for a header; None for null, arrays and objects, which have none."""
    if value[0] == _QUOTE:
        if len(value) > MOST_NAME:
            raise TooMany(f"a value of {len(value)} bytes is more than a header holds")
        return read_text(bytes(value))
    if value[0] in b"n[{" or len(value) > _LONGEST_NUMBER:
        return None
    number = str(value, "ascii")
    integer = _INTEGER.fullmatch(number)
    return number if integer is None else _canonical(integer)


def _canonical(integer: re.Match[str]) -> str:
    sign, digits = integer.groups()
    return sign + digits if digits else "0"


def is_same_integer(one: str, other: str) -> bool:
    """Tell whether two texts are the same integer, however each is written: ``7``, ``007``, ``7.0``."""
    first, second = _INTEGER.fullmatch(one), _INTEGER.fullmatch(other)
    return first is not None and second is not None and _canonical(first) == _canonical(second)


def quoted(value: str) -> str:
    """Return a value for a message, in quotes and cut if it is long."""
    return repr(_short(value))


def _short(value: str) -> str:
    return value if len(value) <= _SHOWN else value[:_SHOWN] + "…"
