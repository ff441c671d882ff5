"""The test server on the Python SDK 1.x (low-level API): `server_py1.py [--http PORT | --sse PORT]`."""

# mypy: disable-error-code="import-not-found, no-any-return"

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from mcp import types
from mcp.server.fastmcp.server import StreamableHTTPASGIApp
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.sse import SseServerTransport
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import McpError
from mcp.shared.message import ServerMessageMetadata
from pydantic import AnyUrl
from starlette.applications import Starlette
from starlette.routing import Route

if TYPE_CHECKING or __package__:
    from . import serving, tools
else:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from peers import serving, tools

RESULTS: dict[str, Any] = {
    "sampling/createMessage": types.CreateMessageResult,
    "elicitation/create": types.ElicitResult,
    "roots/list": types.ListRootsResult,
}
subscriptions_of: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


class Caller:
    """One request's way back to its client, in this SDK's words."""

    def __init__(self, context: Any) -> None:
        """Keep what outlives the request: the session, and the id that names the request's stream."""
        self._session = context.session
        self._request_id = context.request_id
        self.progress_token = context.meta.progressToken if context.meta is not None else None
        self.subscriptions = subscriptions_of.setdefault(context.session, set())

    async def ask(self, method: str, params: dict[str, Any] | None, *, related: bool) -> dict[str, Any]:
        """Send a request to the client."""
        request = types.ServerRequest.model_validate({"method": method, "params": params})
        metadata = ServerMessageMetadata(related_request_id=self._request_id) if related else None
        answer = await self._session.send_request(request, RESULTS[method], metadata=metadata)
        return answer.model_dump(by_alias=True, mode="json", exclude_none=True)

    async def notify(self, method: str, params: dict[str, Any] | None, *, related: bool) -> None:
        """Send a notification to the client."""
        notification = types.ServerNotification.model_validate({"method": method, "params": params})
        await self._session.send_notification(notification, self._request_id if related else None)

    def client(self) -> dict[str, Any]:
        """Return the params of `initialize`."""
        return self._session.client_params.model_dump(by_alias=True, mode="json", exclude_none=True)


def make_server(background: asyncio.TaskGroup) -> Any:
    """Register everything that tools.py describes."""
    server: Any = Server("peer-server-py1", version=tools.VERSION, instructions=tools.INSTRUCTIONS)

    async def call_tool(request: Any) -> Any:
        caller = Caller(server.request_context)
        try:
            text = await tools.call(caller, request.params.name, request.params.arguments, background)
        except tools.UnknownTool as exc:
            raise McpError(types.ErrorData(code=tools.INVALID_PARAMS, message=str(exc))) from exc
        return types.ServerResult(types.CallToolResult(content=[types.TextContent(type="text", text=text)]))

    async def subscribe(request: Any) -> Any:
        Caller(server.request_context).subscriptions.add(str(request.params.uri))
        return types.ServerResult(types.EmptyResult())

    async def unsubscribe(request: Any) -> Any:
        Caller(server.request_context).subscriptions.discard(str(request.params.uri))
        return types.ServerResult(types.EmptyResult())

    # Raw handlers: the decorator for tools/call turns every error into a result with isError.
    server.request_handlers |= {
        types.CallToolRequest: call_tool,
        types.SubscribeRequest: subscribe,
        types.UnsubscribeRequest: unsubscribe,
        types.ListToolsRequest: list_tools,
        types.ListResourcesRequest: list_resources,
        types.ReadResourceRequest: read_resource,
        types.ListPromptsRequest: list_prompts,
        types.GetPromptRequest: get_prompt,
        types.SetLevelRequest: set_level,
    }
    return server


async def list_tools(request: Any) -> Any:
    """Answer tools/list."""
    found = [
        types.Tool(name=name, description=one.description, inputSchema=one.schema) for name, one in tools.TOOLS.items()
    ]
    return types.ServerResult(types.ListToolsResult(tools=found))


async def list_resources(request: Any) -> Any:
    """Answer resources/list."""
    return types.ServerResult(
        types.ListResourcesResult(resources=[types.Resource(uri=AnyUrl(tools.RESOURCE_URI), name="note")])
    )


async def read_resource(request: Any) -> Any:
    """Answer resources/read; there is one resource."""
    contents = types.TextResourceContents(uri=request.params.uri, mimeType="text/plain", text=tools.RESOURCE_TEXT)
    return types.ServerResult(types.ReadResourceResult(contents=[contents]))


async def list_prompts(request: Any) -> Any:
    """Answer prompts/list."""
    argument = types.PromptArgument(name="name", required=True)
    return types.ServerResult(types.ListPromptsResult(prompts=[types.Prompt(name=tools.PROMPT, arguments=[argument])]))


async def get_prompt(request: Any) -> Any:
    """Answer prompts/get; there is one prompt."""
    text = tools.prompt_text((request.params.arguments or {})["name"])
    message = types.PromptMessage(role="user", content=types.TextContent(type="text", text=text))
    return types.ServerResult(types.GetPromptResult(messages=[message]))


async def set_level(request: Any) -> Any:
    """Accept any level; all of them are sent."""
    return types.ServerResult(types.EmptyResult())


def make(background: asyncio.TaskGroup) -> tuple[Any, Any, Any, Any]:
    """Give serving.py this SDK's four ways in."""
    server = make_server(background)
    options = server.create_initialization_options(NotificationOptions(tools_changed=True))
    options.capabilities.resources.subscribe = True  # this SDK always says False, though the handler is there
    # The session manager asks the server for its options and knows no other way to announce listChanged.
    server.create_initialization_options = lambda *_, **__: options

    async def serve_streams(reading: Any, writing: Any) -> None:
        await server.run(reading, writing, options)

    def http_app() -> Starlette:
        manager = StreamableHTTPSessionManager(app=server)
        endpoint = Route("/mcp", endpoint=StreamableHTTPASGIApp(manager))
        return Starlette(routes=[endpoint], lifespan=lambda _: manager.run())

    return serve_streams, stdio_server, http_app, SseServerTransport


if __name__ == "__main__":
    serving.main("py1", make)
