"""The test server on the Python SDK 2.x (low-level API): `server_py2.py [--http PORT | --sse PORT]`."""

# mypy: disable-error-code="import-not-found, no-any-return"

from __future__ import annotations

import asyncio
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.sse import SseServerTransport
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata

if TYPE_CHECKING or __package__:
    from . import serving, tools
else:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from peers import serving, tools

REQUESTS: dict[str, tuple[Any, Any]] = {
    "sampling/createMessage": (types.CreateMessageRequest, types.CreateMessageResult),
    "elicitation/create": (types.ElicitRequest, types.ElicitResult),
    "roots/list": (types.ListRootsRequest, types.ListRootsResult),
}
NOTIFICATIONS: dict[str, Any] = {
    "notifications/progress": types.ProgressNotification,
    "notifications/message": types.LoggingMessageNotification,
    "notifications/tools/list_changed": types.ToolListChangedNotification,
    "notifications/resources/updated": types.ResourceUpdatedNotification,
}


class Caller:
    """One request's way back to its client, in this SDK's words."""

    def __init__(self, context: Any) -> None:
        """Keep what outlives the request; a session object here lives for one request only, its connection stays."""
        self._session = context.session
        self._request_id = context.request_id
        self.progress_token = (context.meta or {}).get("progress_token")
        # No public name leads from a request to what its connection keeps.
        self.subscriptions: set[str] = context.session._connection.state.setdefault("subscriptions", set())

    async def ask(self, method: str, params: dict[str, Any] | None, *, related: bool) -> dict[str, Any]:
        """Send a request to the client."""
        request_type, result_type = REQUESTS[method]
        request = request_type.model_validate({"method": method, "params": params})
        metadata = ServerMessageMetadata(related_request_id=self._request_id) if related else None
        answer = await self._session.send_request(request, result_type, metadata=metadata)
        return answer.model_dump(by_alias=True, mode="json", exclude_none=True)

    async def notify(self, method: str, params: dict[str, Any] | None, *, related: bool) -> None:
        """Send a notification to the client."""
        notification = NOTIFICATIONS[method].model_validate({"method": method, "params": params})
        await self._session.send_notification(notification, self._request_id if related else None)

    def client(self) -> dict[str, Any]:
        """Return the params of `initialize`."""
        return self._session.client_params.model_dump(by_alias=True, mode="json", exclude_none=True)


def make_server(background: asyncio.TaskGroup) -> Any:
    """Register everything that tools.py describes."""

    async def call_tool(context: Any, params: Any) -> Any:
        try:
            text = await tools.call(Caller(context), params.name, params.arguments, background)
        except tools.UnknownTool as exc:
            raise MCPError(code=tools.INVALID_PARAMS, message=str(exc)) from exc
        return types.CallToolResult(content=[types.TextContent(text=text)])

    async def subscribe(context: Any, params: Any) -> Any:
        Caller(context).subscriptions.add(str(params.uri))
        return types.EmptyResult()

    async def unsubscribe(context: Any, params: Any) -> Any:
        Caller(context).subscriptions.discard(str(params.uri))
        return types.EmptyResult()

    with warnings.catch_warnings():  # set_level is deprecated as of 2026-07-28; the legacy era has it
        warnings.simplefilter("ignore")
        return Server(
            "peer-server-py2",
            version=tools.VERSION,
            instructions=tools.INSTRUCTIONS,
            on_call_tool=call_tool,
            on_subscribe_resource=subscribe,
            on_unsubscribe_resource=unsubscribe,
            on_list_tools=list_tools,
            on_list_resources=list_resources,
            on_read_resource=read_resource,
            on_list_prompts=list_prompts,
            on_get_prompt=get_prompt,
            on_set_logging_level=set_level,
        )


async def list_tools(context: Any, params: Any) -> Any:
    """Answer tools/list."""
    found = [
        types.Tool(name=name, description=one.description, input_schema=one.schema) for name, one in tools.TOOLS.items()
    ]
    return types.ListToolsResult(tools=found)


async def list_resources(context: Any, params: Any) -> Any:
    """Answer resources/list."""
    return types.ListResourcesResult(resources=[types.Resource(uri=tools.RESOURCE_URI, name="note")])


async def read_resource(context: Any, params: Any) -> Any:
    """Answer resources/read; there is one resource."""
    contents = types.TextResourceContents(uri=params.uri, mime_type="text/plain", text=tools.RESOURCE_TEXT)
    return types.ReadResourceResult(contents=[contents])


async def list_prompts(context: Any, params: Any) -> Any:
    """Answer prompts/list."""
    argument = types.PromptArgument(name="name", required=True)
    return types.ListPromptsResult(prompts=[types.Prompt(name=tools.PROMPT, arguments=[argument])])


async def get_prompt(context: Any, params: Any) -> Any:
    """Answer prompts/get; there is one prompt."""
    text = tools.prompt_text((params.arguments or {})["name"])
    message = types.PromptMessage(role="user", content=types.TextContent(text=text))
    return types.GetPromptResult(messages=[message])


async def set_level(context: Any, params: Any) -> Any:
    """Accept any level; all of them are sent."""
    return types.EmptyResult()


def make(background: asyncio.TaskGroup) -> tuple[Any, Any, Any, Any]:
    """Give serving.py this SDK's four ways in."""
    server = make_server(background)
    options = server.create_initialization_options(NotificationOptions(tools_changed=True))
    return serving.ways_in(server, options, stdio_server, server.streamable_http_app, SseServerTransport)


if __name__ == "__main__":
    serving.main("py2", make)
