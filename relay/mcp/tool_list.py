"""Find the tools in an answer to ``tools/list`` one by one, and cut some out without a change to any other byte."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import cast

import msgspec

from relay.frames.frame import Frame
from relay.frames.json_scan import Span, Text, TooMany, elements, find_members
from relay.frames.strictness import UNREADABLE, mend, read_text

__all__ = ["tools_in", "without_tools"]


class _Tool(msgspec.Struct, gc=False):
    name: msgspec.Raw
    inputSchema: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode_tool = msgspec.json.Decoder(_Tool).decode
KEY = "x-mcp-header"
_MOST_TOOLS = 5000  # of one answer: 7 us each


def tools_in(answer: Frame) -> Iterator[tuple[str, bytes | None]]:
    """Yield the names of an answer's tools, and their schemas if they may be annotated; skip a malformed tool."""
    text, spans = _find_tools(answer.raw)
    for start, end in spans:
        try:
            tool = _decode_tool(memoryview(text)[start:end])
        except UNREADABLE:
            continue
        if (name := read_text(tool.name)) is None:
            continue
        may_annotate = text.find(KEY.encode(), start, end) >= 0 or text.find(b"\\u00", start, end) >= 0
        is_bare = not may_annotate or isinstance(tool.inputSchema, msgspec.UnsetType)
        yield name, None if is_bare else bytes(cast(msgspec.Raw, tool.inputSchema))


def _find_tools(raw: bytes) -> tuple[Text, list[Span]]:
    """Return where the tools of an answer stand, up to the limit, and the text to read them in."""
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
        pass  # the tools before the limit count
    return spans


def without_tools(answer: Frame, names: Collection[str]) -> Frame:
    """Return an answer to ``tools/list`` without the tools of these names; all other bytes stay."""
    text, spans = _find_tools(answer.raw)
    is_cut = [_name_of(text[start:end]) in names for start, end in spans]
    return Frame(_cut(answer.raw, spans, is_cut), answer.belongs_to)


def _name_of(tool: Text) -> str | None:
    try:
        return read_text(_decode_tool(tool).name)
    except UNREADABLE:
        return None


def _cut(raw: bytes, spans: list[Span], is_cut: list[bool]) -> bytes:
    """Cut elements out of an array, each with the comma after it, the last ones with the comma before."""
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
