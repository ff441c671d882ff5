"""The test client on the Python SDK 2.x, legacy era: `client_py2.py [--http URL | --sse URL] [-- COMMAND ARG...]`."""

# mypy: disable-error-code="import-not-found, no-any-return"

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.client.session import ClientSession
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.exceptions import MCPError
from pydantic import FileUrl

if TYPE_CHECKING or __package__:
    from . import running, scenario
else:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from peers import running, scenario


@contextlib.asynccontextmanager
async def open_streams(target: scenario.Target) -> AsyncIterator[tuple[Any, Any, Any]]:
    """Open the transport; the third value tells the session id, which only the HTTP answers reveal in this SDK."""
    if not target.http:
        command, *arguments = target.command or ("",)
        child = StdioServerParameters(command=command, args=arguments, env=dict(os.environ))
        async with sse_client(target.sse) if target.sse else stdio_client(child) as (reading, writing):
            yield reading, writing, lambda: None
        return
    seen: list[str] = []

    async def note(response: Any) -> None:
        seen.extend(response.headers.get_list("mcp-session-id"))

    async with create_mcp_http_client() as client:
        client.event_hooks = {"response": [note]}
        async with streamable_http_client(target.http, http_client=client) as (reading, writing):
            yield reading, writing, lambda: seen[0] if seen else None


@contextlib.asynccontextmanager
async def connect(target: scenario.Target, inbox: scenario.Inbox, tag: str) -> AsyncIterator[scenario.Connection]:
    """Open a session by the handshake of the legacy era; its handlers answer recognisably."""

    async def note(message: Any) -> None:
        if not isinstance(message, Exception):
            await inbox.put(scenario.wire(message))

    async with open_streams(target) as (reading, writing, session_id):
        session = ClientSession(
            reading,
            writing,
            sampling_callback=sample,
            elicitation_callback=elicit,
            list_roots_callback=list_roots,
            message_handler=note,
            client_info=types.Implementation(name="peer-client-py2", version=tag),
        )
        async with session:
            yield scenario.Connection(session, scenario.wire(await session.initialize()), session_id, inbox)


async def sample(context: Any, params: Any) -> Any:
    """Answer sampling/createMessage."""
    text = scenario.sampled(params.messages[0].content.text)
    return types.CreateMessageResult(role="assistant", model="peers", content=types.TextContent(text=text))


async def elicit(context: Any, params: Any) -> Any:
    """Answer elicitation/create."""
    return types.ElicitResult(action="accept", content={"answer": scenario.elicited(params.message)})


async def list_roots(context: Any) -> Any:
    """Answer roots/list."""
    return types.ListRootsResult(roots=[types.Root(uri=FileUrl(scenario.ROOT_URI), name="peers")])


def next_request_id(session: Any) -> int:
    """Return nothing useful: cancelling the task sends the notification in this SDK."""
    return -1


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # what the legacy era needs is deprecated here
    sdk = scenario.Sdk("py2", version("mcp"), MCPError, connect, str, None, next_request_id)
    sys.exit(running.main(sdk))
