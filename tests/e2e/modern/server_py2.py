"""A server of both eras on the Python SDK 2.x, Streamable HTTP: `server_py2.py`; it says where on stderr."""

# mypy: disable-error-code="import-not-found, no-any-return"

from __future__ import annotations

import asyncio
import socket
import sys
from collections import Counter
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged

TEXT = {"type": "string"}
TOOLS: dict[str, dict[str, Any]] = {
    "echo": {"text": TEXT},
    "grüße": {"text": TEXT},
    "region": {"region": {**TEXT, "x-mcp-header": "Region"}, "zone": {"type": "integer", "x-mcp-header": "Zone"}},
    "invalid": {"x": {"type": "number", "x-mcp-header": "X"}},
    "slow": {"text": TEXT},
    "cancelled": {"text": TEXT},
    "change": {},
}
bus = InMemorySubscriptionBus()
cancelled: Counter[str] = Counter()
"""By the text that a call names: each client names its own."""


async def list_tools(context: Any, params: Any) -> Any:
    """Answer tools/list."""
    schemas = {name: {"type": "object", "properties": properties} for name, properties in TOOLS.items()}
    return types.ListToolsResult(tools=[types.Tool(name=name, input_schema=one) for name, one in schemas.items()])


async def call_tool(context: Any, params: Any) -> Any:
    """Answer tools/call."""
    given = params.arguments or {}
    text = str(given.get("text"))
    if params.name == "region":
        text = f"{given['region']} {given.get('zone')}"
    elif params.name == "slow":
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled[text] += 1
            raise
    elif params.name == "cancelled":
        text = str(cancelled[text])
    elif params.name == "change":
        await bus.publish(ToolsListChanged())
    return types.CallToolResult(content=[types.TextContent(text=text)])


def main() -> None:
    """Listen, say where, serve."""
    server: Any = Server(
        "modern-py2",
        version="1",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_subscriptions_listen=ListenHandler(bus),
    )
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stderr.write(f"listening http://127.0.0.1:{listener.getsockname()[1]}/mcp\n")
    sys.stderr.flush()
    config = uvicorn.Config(server.streamable_http_app(), log_level="warning", timeout_graceful_shutdown=1)
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main()
