"""The test client on the Python SDK 1.x: `client_py1.py [--http URL | --sse URL | --ws URL] [-- COMMAND ARG...]`."""

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

from mcp import types
from mcp.client.session import ClientSession
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import McpError
from pydantic import AnyUrl, FileUrl

if TYPE_CHECKING or __package__:
    from . import running, scenario
else:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from peers import running, scenario


@contextlib.asynccontextmanager
async def open_streams(target: scenario.Target) -> AsyncIterator[tuple[Any, Any, Any]]:
    """Open the transport; the third value tells the session id, where there is one."""
    if target.http:
        async with streamable_http_client(target.http) as (reading, writing, session_id):
            yield reading, writing, session_id
        return
    if target.ws:
        from mcp.client.websocket import websocket_client  # needs the SDK's extra `ws`

        with warnings.catch_warnings():  # deprecated: SDK 2.x has none
            warnings.simplefilter("ignore")
            streams = websocket_client(target.ws)
        async with streams as (reading, writing):
            yield reading, writing, lambda: None
        return
    command, *arguments = target.command or ("",)
    child = StdioServerParameters(command=command, args=arguments, env=dict(os.environ))
    async with sse_client(target.sse) if target.sse else stdio_client(child) as (reading, writing):
        yield reading, writing, lambda: None


@contextlib.asynccontextmanager
async def connect(target: scenario.Target, inbox: scenario.Inbox, tag: str) -> AsyncIterator[scenario.Connection]:
    """Open an initialized session whose handlers answer recognisably."""

    async def note(message: Any) -> None:
        if isinstance(message, types.ServerNotification):
            await inbox.put(scenario.wire(message))

    async with open_streams(target) as (reading, writing, session_id):
        session = ClientSession(
            reading,
            writing,
            sampling_callback=sample,
            elicitation_callback=elicit,
            list_roots_callback=list_roots,
            message_handler=note,
            client_info=types.Implementation(name="peer-client-py1", version=tag),
        )
        async with session:
            yield scenario.Connection(session, scenario.wire(await session.initialize()), session_id, inbox)


async def sample(context: Any, params: Any) -> Any:
    """Answer sampling/createMessage."""
    text = scenario.sampled(params.messages[0].content.text)
    return types.CreateMessageResult(role="assistant", model="peers", content=types.TextContent(type="text", text=text))


async def elicit(context: Any, params: Any) -> Any:
    """Answer elicitation/create."""
    return types.ElicitResult(action="accept", content={"answer": scenario.elicited(params.message)})


async def list_roots(context: Any) -> Any:
    """Answer roots/list."""
    return types.ListRootsResult(roots=[types.Root(uri=FileUrl(scenario.ROOT_URI), name="peers")])


async def cancel(session: Any, request_id: int) -> None:
    """Tell the server: this SDK forgets a cancelled call without a word."""
    params = types.CancelledNotificationParams(requestId=request_id, reason="the check says so")
    await session.send_notification(types.ClientNotification(types.CancelledNotification(params=params)))


def next_request_id(session: Any) -> int:
    """Return the id the next request will have; only a private attribute knows."""
    return session._request_id


if __name__ == "__main__":
    sdk = scenario.Sdk("py1", version("mcp"), McpError, connect, AnyUrl, cancel, next_request_id)
    sys.exit(running.main(sdk))
