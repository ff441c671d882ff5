"""What the Python test servers offer, apart from any SDK: the same tools, resource, prompt and instructions.

An SDK's server file adapts its own session to `Caller` and its own types to these plain values, so one scenario
fits every server. `server_ts.mjs` says the same in JavaScript; whoever changes one changes the other.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

INSTRUCTIONS = "peers: call the tools in any order; \u201cnothing here is real\u201d \U0001f9ea"
VERSION = "3.1.4"
RESOURCE_URI = "peer://note"
RESOURCE_TEXT = "a note that never changes"
PROMPT = "greet"
INVALID_PARAMS = -32602
IDLE_BEFORE_CHANGE = 0.2  # long enough that the answer of `change` has arrived before its notifications leave

cancelled_calls: Counter[str] = Counter()  # by the tag of the call, so that sessions in one process do not mix


class Caller(Protocol):
    """The connection a tool was called on."""

    progress_token: str | int | None
    subscriptions: set[str]

    async def ask(self, method: str, params: dict[str, Any] | None, *, related: bool) -> dict[str, Any]:
        """Send a request to the client, on the stream of the call if `related`, otherwise on the standalone one."""

    async def notify(self, method: str, params: dict[str, Any] | None, *, related: bool) -> None:
        """Send a notification to the client, on the stream that `related` chooses."""

    def client(self) -> dict[str, Any]:
        """Return the params of `initialize` as the server saw them."""


Arguments = dict[str, Any]
Run = Callable[[Caller, Arguments, asyncio.TaskGroup], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool: what `tools/list` says of it and what it does."""

    description: str
    schema: dict[str, Any]
    run: Run


class UnknownTool(Exception):
    """No tool has this name; the SDK's own error with code -32602 is made of it."""


TOOLS: dict[str, Tool] = {}


def tool(**properties: str) -> Callable[[Run], Run]:
    """Register a function as the tool of its name; the arguments are its JSON types."""

    def register(run: Run) -> Run:
        schema = {"type": "object", "properties": {name: {"type": kind} for name, kind in properties.items()}}
        TOOLS[run.__name__] = Tool((run.__doc__ or "").strip(), schema, run)
        return run

    return register


async def call(caller: Caller, name: str, arguments: Arguments | None, background: asyncio.TaskGroup) -> str:
    """Run a tool and return the text of its result."""
    if name not in TOOLS:
        raise UnknownTool(f"unknown tool: {name}")
    return await TOOLS[name].run(caller, arguments or {}, background)


def pattern(size: int) -> str:
    """Return `size` ASCII characters whose position can be read off: a lost or doubled piece shows."""
    return "".join(f"{at:08d}" for at in range(0, size, 8))[:size]


def prompt_text(name: str) -> str:
    """Return the text of the one prompt."""
    return f"greet {name} warmly"


@tool(text="string", delay="number")
async def echo(caller: Caller, arguments: Arguments, background: asyncio.TaskGroup) -> str:
    """Return the text unchanged, after a delay in seconds."""
    await asyncio.sleep(arguments.get("delay", 0))
    return str(arguments["text"])


@tool(bytes="integer")
async def big(caller: Caller, arguments: Arguments, background: asyncio.TaskGroup) -> str:
    """Return that many bytes of ASCII text."""
    return pattern(arguments["bytes"])


@tool(steps="integer")
async def progress(caller: Caller, arguments: Arguments, background: asyncio.TaskGroup) -> str:
    """Send that many progress notifications, then answer."""
    for step in range(1, arguments["steps"] + 1):
        await _report(caller, step, arguments["steps"])
    return f"{arguments['steps']} steps"


async def _report(caller: Caller, step: int, total: int) -> None:
    params = {"progressToken": caller.progress_token, "progress": step, "total": total, "message": f"step {step}"}
    if caller.progress_token is not None:
        await caller.notify("notifications/progress", params, related=True)


@tool(text="string")
async def log(caller: Caller, arguments: Arguments, background: asyncio.TaskGroup) -> str:
    """Send a logging notification during the call."""
    params = {"level": "warning", "logger": "peers", "data": arguments["text"]}
    await caller.notify("notifications/message", params, related=True)
    return "logged"


@tool(prompt="string")
async def sample(caller: Caller, arguments: Arguments, background: asyncio.TaskGroup) -> str:
    """Ask the client's model and return what it says."""
    message = {"role": "user", "content": {"type": "text", "text": arguments["prompt"]}}
    answer = await caller.ask("sampling/createMessage", {"messages": [message], "maxTokens": 100}, related=True)
    return str(answer["content"]["text"])


@tool(message="string")
async def elicit(caller: Caller, arguments: Arguments, background: asyncio.TaskGroup) -> str:
    """Ask the client's user for one string and return the whole answer as JSON."""
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    params = {"message": arguments["message"], "requestedSchema": schema}
    answer = await caller.ask("elicitation/create", params, related=True)
    return json.dumps({"action": answer["action"], "content": answer.get("content")})


@tool(standalone="boolean")
async def roots(caller: Caller, arguments: Arguments, background: asyncio.TaskGroup) -> str:
    """Ask for the client's roots, on the call's own stream or on the standalone one; return their URIs as JSON."""
    answer = await caller.ask("roots/list", None, related=not arguments.get("standalone", False))
    return json.dumps([one["uri"] for one in answer["roots"]])


@tool(seconds="number", tag="string")
async def slow(caller: Caller, arguments: Arguments, background: asyncio.TaskGroup) -> str:
    """Report progress once, to show that it runs; then wait, and remember under the tag if it is cancelled."""
    await _report(caller, 1, 1)
    try:
        await asyncio.sleep(arguments["seconds"])
    except asyncio.CancelledError:
        cancelled_calls[arguments["tag"]] += 1
        raise
    return "finished"


@tool(tag="string")
async def cancelled_count(caller: Caller, arguments: Arguments, background: asyncio.TaskGroup) -> str:
    """Return how many calls of `slow` were cancelled: those with the tag, or all."""
    return str(cancelled_calls[arguments["tag"]] if "tag" in arguments else cancelled_calls.total())


@tool()
async def change(caller: Caller, arguments: Arguments, background: asyncio.TaskGroup) -> str:
    """Answer; then, while idle, announce new tools and an update of every subscribed resource."""
    background.create_task(_announce_change(caller), name="announce change")
    return "soon"


async def _announce_change(caller: Caller) -> None:
    await asyncio.sleep(IDLE_BEFORE_CHANGE)
    try:
        await caller.notify("notifications/tools/list_changed", None, related=False)
        for uri in sorted(caller.subscriptions):
            await caller.notify("notifications/resources/updated", {"uri": uri}, related=False)
    except Exception:  # a session that ended meanwhile, in an SDK's own words; else it would end the server
        return


@tool()
async def whoami(caller: Caller, arguments: Arguments, background: asyncio.TaskGroup) -> str:
    """Return as JSON what the server saw in `initialize`."""
    return json.dumps(caller.client())
