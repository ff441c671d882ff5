"""Read what a frame of revision 2026-07-28 declares in its ``_meta``: version, capabilities, log level."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from relay.frames.frame import Frame
from relay.frames.json_cost import BUILT, MOST_ESCAPES
from relay.frames.json_scan import Text
from relay.frames.strictness import UNREADABLE, mend, read_text

__all__ = ["RequestFacts", "name_in", "read_facts"]


Read = TypeVar("Read")


class RequestFacts(msgspec.Struct, frozen=True, gc=False):
    """What a modern frame declares beside its head."""

    version: str | None = None
    """The protocol version in ``_meta``; None if that member is no string."""
    has_capabilities: bool = False
    """Whether ``_meta`` has the client's capabilities as an object."""
    name: str | None = None
    """What ``Mcp-Name`` mirrors: the tool, prompt or resource; None for other methods, and if it is no string."""
    arguments: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """The arguments of a ``tools/call``; read only if the tool is annotated."""
    has_log: bool = False
    """Whether ``_meta`` asks for log messages, by their level."""


class _Object(msgspec.Struct, gc=False):
    """Any object; no member of it is built."""


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


# The same with nothing built: for a frame that is large or odd.


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
_VERSION_KEY_TAIL = b"/protocolVersion"  # "io.modelcontextprotocol\/protocolVersion" ends with it, too
_ESCAPED_KEY = re.compile(rb"\\u00(?:2[fF]|[567])")  # a slash or a letter: the tail can be spelt with it
_V, _BACKSLASH = b"V\\"  # as numbers: such a byte is found in 0.05 us where a bytes object takes 0.4
NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


def read_facts(frame: Frame) -> RequestFacts | None:
    """Return what a modern frame declares; None for a legacy frame, whose ``_meta`` names no protocol version.

    1.1 us for a request of 300 bytes, 0.1 us for a legacy one.
    """
    raw = frame.raw
    if (_V not in raw or _VERSION_KEY_TAIL not in raw) and (_BACKSLASH not in raw or not _is_escaped(raw)):
        return None  # as do nearly all legacy frames
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
    named_by = NAMED_BY.get(frame.head.method or "")
    name = None if named_by is None else params.name if named_by == "name" else params.uri
    has_capabilities = params.meta.capabilities is not msgspec.UNSET
    has_log = params.meta.level is not msgspec.UNSET
    return RequestFacts(params.meta.version, has_capabilities, name, params.arguments, has_log)


def name_in(frame: Frame) -> str | None:
    """Return the tool, prompt or resource that a request of either era names; None if it names none."""
    named_by = NAMED_BY.get(frame.head.method or "")
    params = None if named_by is None else _read_or(_decode_well_formed, frame.raw, _WellFormedRequest()).params
    if params is None or isinstance(params, msgspec.UnsetType):
        return None
    return read_text(params.name if named_by == "name" else params.uri)


def _is_escaped(raw: bytes) -> bool:
    """Tell whether the key may be spelt with escapes. A frame with very many must have the key in plain."""
    if len(raw) > BUILT:
        return raw.count(b"\\") <= MOST_ESCAPES and b"\\u00" in raw
    return _ESCAPED_KEY.search(raw) is not None


def _read_bare_facts(frame: Frame) -> RequestFacts | None:
    """Read a frame that is large, has a value of another type than it should, or has half a surrogate pair."""
    params: _BareParams | _WellFormedParams | msgspec.UnsetType
    meta: _BareMeta | msgspec.UnsetType
    try:  # one pass: each takes up to 30 ms for 16 MiB
        params = _decode_well_formed(frame.raw).params
        meta = msgspec.UNSET if isinstance(params, msgspec.UnsetType) else params.meta
    except UNREADABLE:
        params, meta = _read_odd_params(frame.raw)
    if isinstance(params, msgspec.UnsetType) or isinstance(meta, msgspec.UnsetType) or meta.version is msgspec.UNSET:
        return None
    named_by = NAMED_BY.get(frame.head.method or "")
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
