"""A client on the Python SDK 2.x that finds out what its server speaks: `client_py2.py MODE LOOP,… COMMAND ARG...`.

It runs the command once for each value of MCP_RELAY_LOOP, and prints what it saw as one JSON list of objects.
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import uuid
from typing import Any

from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters


async def call(client: Any, name: str, **arguments: object) -> str:
    """Call a tool; return its text."""
    result = await client.call_tool(name, arguments)
    return str(result.content[0].text)


async def cancel(client: Any, name: str, run: str) -> None:
    """Call a tool and lose patience."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            await call(client, name, text=run)


async def listen(client: Any, seen: dict[str, Any]) -> None:
    """Subscribe twice, and see a change on both."""
    async with client.listen(tools_list_changed=True) as one, client.listen(tools_list_changed=True) as other:
        await call(client, "change")
        seen["events"] = [type(await anext(aiter(each))).__name__ for each in (one, other)]


async def once(loop: str) -> dict[str, Any]:
    """Do everything once; return what was seen."""
    seen: dict[str, Any] = {}
    run = uuid.uuid4().hex  # others cancel calls of the same server
    mode, _, command, *arguments = sys.argv[1:]
    environment = {**os.environ, "MCP_RELAY_LOOP": loop}
    server = StdioServerParameters(command=command, args=arguments, env=environment)
    async with Client(server, mode=mode) as client:
        seen["version"] = client.protocol_version
        seen["echo"] = await call(client, "echo", text="né\u2028")
        listed = await client.list_tools()
        seen["tools"] = sorted(tool.name for tool in listed.tools)
        if "region" in seen["tools"]:
            seen["unicode"] = await call(client, "grüße", text="x")
            seen["region"] = await call(client, "region", region=" é", zone=42)
            await cancel(client, "slow", run)
            for _ in range(50 if mode == "auto" else 1):
                seen["cancelled"] = await call(client, "cancelled", text=run)
                if seen["cancelled"] != "0":
                    break
                await asyncio.sleep(0.1)
        if seen["version"] == "2026-07-28":
            await listen(client, seen)
        seen["many"] = list(await asyncio.gather(*(call(client, "echo", text=str(n)) for n in range(50))))
    return seen


async def main() -> None:
    """Do everything with each loop."""
    sys.stdout.write(json.dumps([await once(loop) for loop in sys.argv[2].split(",")]))


if __name__ == "__main__":
    asyncio.run(main())
