"""Messages of 2026-07-28, and answers that list tools."""

from __future__ import annotations

import json

from relay.frames.frame import Frame
from relay.mcp.facts import RequestFacts, read_facts
from relay.mcp.revisions import MODERN_VERSION
from relay.mcp.tool_headers import ToolHeaders

VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
META = {VERSION: MODERN_VERSION, CAPABILITIES: {}}


def request(method: str = "tools/call", /, **params: object) -> Frame:
    """Make a modern request."""
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": META, **params}}
    return Frame(json.dumps(message).encode())


def facts_of(frame: Frame) -> RequestFacts:
    """Read facts that must be there."""
    facts = read_facts(frame)
    assert facts is not None
    return facts


def listing(*tools: object) -> Frame:
    """Make an answer to tools/list."""
    return Frame(json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"tools": list(tools)}}).encode())


def tool(name: str, **properties: object) -> dict[str, object]:
    """Make a tool with such parameters."""
    return {"name": name, "inputSchema": {"type": "object", "properties": properties}}


def param(header: object, kind: object = "string") -> dict[str, object]:
    """Make an annotated parameter."""
    return {"type": kind, "x-mcp-header": header}


def learned(*tools: object) -> ToolHeaders:
    """Know these tools."""
    headers = ToolHeaders()
    assert headers.learn(listing(*tools)) == []
    return headers
