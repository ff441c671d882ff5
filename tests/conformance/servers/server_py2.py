"""The everything-server of the conformance runner on the Python SDK 2.x, both eras: `server_py2.py [--http PORT]`."""

# mypy: disable-error-code="import-not-found, no-any-return"

from __future__ import annotations

import asyncio
import json
import sys
import uuid
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.sse import SseServerTransport
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, PromptsListChanged, ToolsListChanged
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata

if TYPE_CHECKING or __package__:
    from tests.conformance.servers import behaviour
    from tests.peers import serving
else:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from conformance.servers import behaviour
    from peers import serving

NAME = "everything-py2"
INVALID_PARAMS = -32602
MISSING_CAPABILITY = -32021
RETRY = 500  # ms between a dropped stream and the next, so that the runner sees one named
PAUSE = 0.02  # seconds between two notifications of one call
CACHEABLE = ("tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read")
ASKED: dict[str, tuple[Any, Any]] = {
    "sampling/createMessage": (types.CreateMessageRequest, types.CreateMessageResult),
    "elicitation/create": (types.ElicitRequest, types.ElicitResult),
}
Deed = Callable[[Any, Any, dict[str, Any]], Awaitable[Any]]

bus = InMemorySubscriptionBus()


class Events(EventStore):  # type: ignore[misc]  # the SDK is not installed where mypy runs
    """The events of Streamable HTTP, for a client that comes back with Last-Event-ID; as much as a test needs."""

    def __init__(self) -> None:
        self._events: list[tuple[str, Any]] = []

    async def store_event(self, stream_id: str, message: Any) -> str:
        """Keep an event; its number is its id."""
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(self, last_event_id: str, send_callback: Any) -> str | None:
        """Send what came later on the same stream; an event without a message only primed it."""
        last = int(last_event_id)
        if not 0 < last <= len(self._events):
            return None
        wanted = self._events[last - 1][0]
        for number, (stream_id, message) in enumerate(self._events[last:], last + 1):
            if stream_id == wanted and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return wanted


def plain(model: Any) -> Any:
    """Turn an SDK's model into the JSON it stands for."""
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


def answer_text(text: str, *, is_error: bool = False) -> Any:
    """Answer a call with one text."""
    return types.CallToolResult(content=[types.TextContent(text=text)], is_error=is_error)


def declared(context: Any) -> dict[str, Any]:
    """Return what the client said it can do."""
    capabilities = context.session.client_capabilities
    return plain(capabilities) if capabilities is not None else {}


def ask_or_none(does: dict[str, Any], context: Any, params: Any) -> Any:
    """Return what the call still needs of its client, or None once it has everything."""
    state = json.loads(params.request_state) if params.request_state else {}
    responses = {key: plain(one) for key, one in (params.input_responses or {}).items()}
    needed = behaviour.still_needed(does, responses, state.get("round", 0), declared(context))
    if needed is None:
        return None
    wanted, number = needed
    sealed = json.dumps({"round": number, "nonce": uuid.uuid4().hex}) if does.get("sealed") else None
    result = {"resultType": "input_required", "inputRequests": wanted, "requestState": sealed}
    return types.InputRequiredResult.model_validate({key: one for key, one in result.items() if one is not None})


async def deed_answer(does: Any, context: Any, params: Any) -> Any:
    """Answer with fixed contents."""
    content = behaviour.fill(does["answer"], params.arguments or {})
    return types.CallToolResult.model_validate({"content": content})


async def deed_fail(does: Any, context: Any, params: Any) -> Any:
    """Fail as a tool fails."""
    return answer_text(does["fail"], is_error=True)


async def deed_rounds(does: Any, context: Any, params: Any) -> Any:
    """Need input of the client first."""
    return ask_or_none(does, context, params) or answer_text(does["says"])


async def deed_log(does: Any, context: Any, params: Any) -> Any:
    """Log, then answer."""
    for data in does["log"]:
        with warnings.catch_warnings():  # logging is deprecated as of 2026-07-28; the legacy era has it
            warnings.simplefilter("ignore")
            await context.session.send_log_message("info", data, related_request_id=context.request_id)
        await asyncio.sleep(PAUSE)
    return answer_text("logged")


async def deed_progress(does: Any, context: Any, params: Any) -> Any:
    """Report progress, then answer."""
    for step in does["progress"]:
        await context.session.report_progress(step, 100, f"at {step}")
        await asyncio.sleep(PAUSE)
    return answer_text("done")


async def deed_ask(does: Any, context: Any, params: Any) -> Any:
    """Send the client a request of our own during the call."""
    request = behaviour.fill(does["ask"], params.arguments or {})
    request_type, result_type = ASKED[request["method"]]
    metadata = ServerMessageMetadata(related_request_id=context.request_id)
    answer = await context.session.send_request(request_type.model_validate(request), result_type, metadata=metadata)
    return answer_text(f"{does['says']}: {json.dumps(plain(answer))}")


async def deed_needs(does: Any, context: Any, params: Any) -> Any:
    """Refuse a client that lacks a capability."""
    missing = set(does["needs"]) - set(declared(context))
    if missing:
        data = {"requiredCapabilities": does["needs"]}
        raise MCPError(code=MISSING_CAPABILITY, message=f"the client lacks {', '.join(sorted(missing))}", data=data)
    return answer_text("the client has it")


async def deed_announce(does: Any, context: Any, params: Any) -> Any:
    """Tell every subscription that a list has changed."""
    await bus.publish(ToolsListChanged() if does["announce"] == "tools" else PromptsListChanged())
    return answer_text("announced")


async def deed_drop(does: Any, context: Any, params: Any) -> Any:
    """Drop the stream of the call, where there is one, then answer."""
    if context.close_sse_stream is not None:
        await context.close_sse_stream()
    await asyncio.sleep(does["drop"])
    return answer_text("dropped and answered")


DEEDS: dict[str, Deed] = {
    "answer": deed_answer,
    "fail": deed_fail,
    "rounds": deed_rounds,
    "log": deed_log,
    "progress": deed_progress,
    "ask": deed_ask,
    "needs": deed_needs,
    "announce": deed_announce,
    "drop": deed_drop,
}


async def call_tool(context: Any, params: Any) -> Any:
    """Do what offer.json says the tool does."""
    if params.name not in behaviour.OFFER["tools"]:
        raise MCPError(code=INVALID_PARAMS, message=f"unknown tool: {params.name}")
    does = behaviour.OFFER["tools"][params.name]["does"]
    return await DEEDS[next(iter(does))](does, context, params)  # the first key says what is done, the others how


async def list_tools(context: Any, params: Any) -> Any:
    """Answer tools/list."""
    tools = [
        {"name": name, "description": one["description"], "inputSchema": one["inputSchema"]}
        for name, one in behaviour.OFFER["tools"].items()
    ]
    return types.ListToolsResult.model_validate({"tools": tools})


async def list_resources(context: Any, params: Any) -> Any:
    """Answer resources/list."""
    found = behaviour.OFFER["resources"].items()
    resources = [{"uri": uri, "name": one["name"], "mimeType": one["mimeType"]} for uri, one in found]
    return types.ListResourcesResult.model_validate({"resources": resources})


async def list_templates(context: Any, params: Any) -> Any:
    """Answer resources/templates/list."""
    found = behaviour.OFFER["templates"].items()
    templates = [{"uriTemplate": uri, "name": one["name"], "mimeType": one["mimeType"]} for uri, one in found]
    return types.ListResourceTemplatesResult.model_validate({"resourceTemplates": templates})


async def read_resource(context: Any, params: Any) -> Any:
    """Answer resources/read."""
    found = behaviour.find_resource(str(params.uri))
    if found is None:
        raise MCPError(code=INVALID_PARAMS, message=f"unknown resource: {params.uri}", data={"uri": str(params.uri)})
    return types.ReadResourceResult.model_validate({"contents": [found]})


async def list_prompts(context: Any, params: Any) -> Any:
    """Answer prompts/list."""
    prompts = [
        {
            "name": name,
            "description": one["description"],
            "arguments": [{"name": argument, "required": True} for argument in one["arguments"]],
        }
        for name, one in behaviour.OFFER["prompts"].items()
    ]
    return types.ListPromptsResult.model_validate({"prompts": prompts})


async def get_prompt(context: Any, params: Any) -> Any:
    """Answer prompts/get."""
    found = behaviour.OFFER["prompts"].get(params.name)
    if found is None:
        raise MCPError(code=INVALID_PARAMS, message=f"unknown prompt: {params.name}")
    needed = ask_or_none(found, context, params) if "rounds" in found else None
    messages = behaviour.fill(found["messages"], params.arguments or {})
    return needed or types.GetPromptResult.model_validate({"messages": messages})


async def complete(context: Any, params: Any) -> Any:
    """Answer completion/complete: nothing fits."""
    return types.CompleteResult(completion=types.Completion(values=[], total=0, has_more=False))


async def accept(context: Any, params: Any) -> Any:
    """Accept a subscription, its end, or a logging level."""
    return types.EmptyResult()


def make_server() -> Any:
    """Make a server with everything in it."""
    with warnings.catch_warnings():  # set_level is deprecated as of 2026-07-28; the legacy era has it
        warnings.simplefilter("ignore")
        server = Server(
            NAME,
            version="1.0.0",
            cache_hints={method: CacheHint(ttl_ms=1000) for method in CACHEABLE},
            on_list_tools=list_tools,
            on_call_tool=call_tool,
            on_list_resources=list_resources,
            on_list_resource_templates=list_templates,
            on_read_resource=read_resource,
            on_subscribe_resource=accept,
            on_unsubscribe_resource=accept,
            on_subscriptions_listen=ListenHandler(bus),
            on_list_prompts=list_prompts,
            on_get_prompt=get_prompt,
            on_completion=complete,
            on_set_logging_level=accept,
        )
    server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=NAME))
    return server


def make(background: asyncio.TaskGroup) -> tuple[Any, Any, Any, Any]:
    """Give serving.py this SDK's four ways in."""
    server = make_server()
    options = server.create_initialization_options(NotificationOptions(tools_changed=True, prompts_changed=True))

    def http_app() -> Any:
        return server.streamable_http_app(event_store=Events(), retry_interval=RETRY)

    return serving.ways_in(server, options, stdio_server, http_app, SseServerTransport)


if __name__ == "__main__":
    serving.main("conformance/server_py2", make)
