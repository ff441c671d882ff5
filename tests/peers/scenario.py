"""The one scenario that every Python test client runs: what a client may expect of any server, through anything.

An SDK's client file says how to connect and how to cancel (`Sdk`); the session objects of both Python SDKs share the
method names used here, and answers are compared as wire-form dictionaries. `client_ts.mjs` holds the same checks in
JavaScript, with the same names; whoever changes one changes the other.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from . import tools

STEP_TIMEOUT = 10.0
QUIET = 0.5  # how long nothing must come before an announcement counts as complete
ROOT_URI = "file:///peers/root"
AWKWARD = 'tab\t "quoted" \\ back \u00e9\u2028\u4e2d\U0001f9ea\u0000\u007f line\n'
LARGE_BYTES = 250_000  # several reads and writes of every part; 64 MiB pass in other tests, without an SDK


class CheckFailed(Exception):
    """A check saw something else than it expected; the message says what."""


def expect(seen: object, expected: object, what: str) -> None:
    """Require equality; the message shows both sides, shortened."""
    if seen != expected:
        raise CheckFailed(f"{what}: saw {seen!r:.200}, expected {expected!r:.200}")


@dataclass(frozen=True, slots=True)
class Target:
    """Where the server is: exactly one field is set."""

    http: str | None = None
    sse: str | None = None
    ws: str | None = None
    command: tuple[str, ...] = ()

    @property
    def transport(self) -> str:
        """Name the transport this client speaks."""
        return "http" if self.http else "sse" if self.sse else "ws" if self.ws else "stdio"


class Inbox:
    """The notifications that came, as wire-form dictionaries, and a way to wait for them."""

    def __init__(self) -> None:
        """Start empty."""
        self.messages: list[dict[str, Any]] = []
        self._news = asyncio.Condition()

    async def put(self, message: dict[str, Any]) -> None:
        """Note one that came."""
        async with self._news:
            self.messages.append(message)
            self._news.notify_all()

    def params(self, method: str) -> list[dict[str, Any]]:
        """Return the params of every message of this method."""
        return [one.get("params") or {} for one in self.messages if one["method"] == method]

    async def wait(self, method: str, count: int = 1, *, seconds: float = STEP_TIMEOUT / 2) -> None:
        """Wait until that many have come; the check then says what is missing."""
        try:
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(lambda: len(self.params(method)) >= count)
        except TimeoutError:
            return

    async def settle(self) -> None:
        """Wait until nothing came for a while."""
        seen = -1
        while seen != len(self.messages):
            seen = len(self.messages)
            await asyncio.sleep(QUIET)


@dataclass(slots=True)
class Connection:
    """An initialized session of an SDK and what the scenario needs beside it."""

    session: Any
    initialized: dict[str, Any]
    session_id: Callable[[], str | None]
    inbox: Inbox


@dataclass(frozen=True, slots=True)
class Sdk:
    """What differs between the Python SDKs."""

    name: str
    version: str
    error: type[Exception]  # carries `.error.code`
    connect: Callable[[Target, Inbox, str], AbstractAsyncContextManager[Connection]]
    uri: Callable[[str], Any]
    cancel: Callable[[Any, int], Awaitable[None]] | None  # None: cancelling the task tells the server
    next_request_id: Callable[[Any], int]


@dataclass(slots=True)
class Run:
    """One scenario under way."""

    sdk: Sdk
    target: Target
    connection: Connection
    tag: str  # unique to this run; it is also the client's version, so that the server can tell the runs apart
    standalone_is_open: bool = False

    @property
    def session(self) -> Any:
        """Return the SDK's session."""
        return self.connection.session

    async def call(self, name: str, progress: Any = None, **arguments: Any) -> str:
        """Call a tool and return its text; a result with isError is a failed check."""
        result = wire(await self.session.call_tool(name, arguments, progress_callback=progress))
        if result.get("isError"):
            raise CheckFailed(f"{name}: the tool failed: {result['content']!r:.300}")
        return str(result["content"][0]["text"])

    async def open_standalone(self) -> None:
        """Return once announcements reach us: what is sent before the GET stream is open may rightly be lost."""
        inbox = self.connection.inbox
        while not self.standalone_is_open:
            await self.call("change")
            await inbox.wait("notifications/tools/list_changed", seconds=1)
            self.standalone_is_open = bool(inbox.params("notifications/tools/list_changed"))
            await inbox.settle()
        inbox.messages.clear()


def wire(model: Any) -> dict[str, Any]:
    """Return an SDK's model as it would look on the wire."""
    dumped: dict[str, Any] = model.model_dump(by_alias=True, mode="json", exclude_none=True)
    return dumped


def large_text() -> str:
    """Return LARGE_BYTES of UTF-8: awkward characters first, then a pattern in which a lost piece shows."""
    awkward = AWKWARD * 200
    return awkward + tools.pattern(LARGE_BYTES - len(awkward.encode()))


def sampled(prompt: str) -> str:
    """Return what our model says to a prompt."""
    return f"sampled: {prompt}"


def elicited(message: str) -> str:
    """Return what our user answers to a message."""
    return f"elicited: {message}"


async def check_instructions(run: Run) -> None:
    """`instructions` and the server's version arrive unchanged in the answer to initialize."""
    expect(run.connection.initialized.get("instructions"), tools.INSTRUCTIONS, "instructions")
    expect(run.connection.initialized["serverInfo"]["version"], tools.VERSION, "serverInfo.version")


async def check_ping(run: Run) -> None:
    """A ping is answered."""
    await run.session.send_ping()


async def check_whoami(run: Run) -> None:
    """The server saw this client's own name, version, protocol version and capabilities."""
    seen = json.loads(await run.call("whoami"))
    expect(seen["clientInfo"]["name"], f"peer-client-{run.sdk.name}", "clientInfo.name")
    expect(seen["clientInfo"]["version"], run.tag, "clientInfo.version")
    expect(seen["protocolVersion"], run.connection.initialized["protocolVersion"], "protocolVersion")
    expect({"sampling", "elicitation", "roots"} - set(seen["capabilities"]), set(), "missing capabilities")


async def check_tools(run: Run) -> None:
    """tools/list names every tool."""
    listed = wire(await run.session.list_tools())["tools"]
    expect(sorted(one["name"] for one in listed), sorted(tools.TOOLS), "tools")


async def check_prompt(run: Run) -> None:
    """The prompt is listed and filled in."""
    expect([one["name"] for one in wire(await run.session.list_prompts())["prompts"]], [tools.PROMPT], "prompts")
    filled = wire(await run.session.get_prompt(tools.PROMPT, {"name": run.tag}))
    expect(filled["messages"][0]["content"]["text"], tools.prompt_text(run.tag), "prompt text")


async def check_resource(run: Run) -> None:
    """The resource is listed and read."""
    listed = wire(await run.session.list_resources())["resources"]
    expect([one["uri"] for one in listed], [tools.RESOURCE_URI], "resources")
    contents = wire(await run.session.read_resource(run.sdk.uri(tools.RESOURCE_URI)))["contents"]
    expect(contents[0]["text"], tools.RESOURCE_TEXT, "resource text")


async def check_echo(run: Run) -> None:
    """A short text comes back unchanged, also an empty one."""
    for text in (f"hello {run.tag}", ""):
        expect(await run.call("echo", text=text), text, "echo")


async def check_large_echo(run: Run) -> None:
    """A text of LARGE_BYTES with awkward characters comes back identical."""
    text = large_text()
    expect(len(text.encode()), LARGE_BYTES, "bytes sent")
    expect(await run.call("echo", text=text) == text, True, "the large echo is identical")


async def check_big(run: Run) -> None:
    """An answer much larger than its request arrives whole."""
    expect(await run.call("big", bytes=LARGE_BYTES) == tools.pattern(LARGE_BYTES), True, "the big answer is identical")


async def check_concurrent_echoes(run: Run) -> None:
    """Twenty calls at once, answered in reverse, each get their own answer."""
    texts = [f"{run.tag} {number}" for number in range(20)]
    async with asyncio.TaskGroup() as group:
        calls = [
            group.create_task(run.call("echo", text=text, delay=0.01 * (len(texts) - number)))
            for number, text in enumerate(texts)
        ]
    expect([one.result() for one in calls], texts, "concurrent echoes")


async def check_unknown_tool(run: Run) -> None:
    """An unknown tool is an error with the server's own code and message."""
    try:
        await run.session.call_tool("no_such_tool", {})
    except run.sdk.error as exc:
        error: Any = exc
        expect(error.error.code, tools.INVALID_PARAMS, "error code")
        expect("unknown tool: no_such_tool" in error.error.message, True, f"error message {error.error.message!r}")
    else:
        raise CheckFailed("an unknown tool was answered without an error")


async def check_progress(run: Run) -> None:
    """All progress arrives before the answer, in order."""
    seen: list[tuple[float, float | None, str | None]] = []

    async def note(step: float, total: float | None, message: str | None) -> None:
        seen.append((step, total, message))

    text = await run.call("progress", note, steps=10)
    expect(seen, [(step, 10, f"step {step}") for step in range(1, 11)], "progress when the answer came")
    expect(text, "10 steps", "answer")


async def check_log(run: Run) -> None:
    """A log notification sent during a call arrives, once."""
    await run.session.set_logging_level("debug")
    await run.call("log", text=run.tag)
    await run.connection.inbox.wait("notifications/message")
    logged = [one["data"] for one in run.connection.inbox.params("notifications/message")]
    expect(logged.count(run.tag), 1, "log notifications with our tag")


async def check_sample(run: Run) -> None:
    """The server's sampling request reaches us during the call, and our answer reaches it."""
    expect(await run.call("sample", prompt=run.tag), sampled(run.tag), "sample")


async def check_elicit(run: Run) -> None:
    """The server's elicitation reaches us during the call, and our answer reaches it."""
    answer = json.loads(await run.call("elicit", message=run.tag))
    expect(answer, {"action": "accept", "content": {"answer": elicited(run.tag)}}, "elicit")


async def check_roots(run: Run) -> None:
    """The server's roots request reaches us on the stream of the call."""
    expect(json.loads(await run.call("roots")), [ROOT_URI], "roots")


async def check_concurrent_samples(run: Run) -> None:
    """Requests of the server during five calls at once are not mixed up."""
    prompts = [f"{run.tag} {number}" for number in range(5)]
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(run.call("sample", prompt=prompt)) for prompt in prompts]
    expect([one.result() for one in calls], [sampled(prompt) for prompt in prompts], "concurrent samples")


async def check_cancel(run: Run) -> None:
    """Cancelling a call that runs is seen by the server, and the session goes on."""
    running = asyncio.Event()

    async def note(step: float, total: float | None, message: str | None) -> None:
        running.set()

    request_id = run.sdk.next_request_id(run.session)
    async with asyncio.TaskGroup() as group:
        slow = group.create_task(run.call("slow", note, seconds=STEP_TIMEOUT * 2, tag=run.tag))
        await running.wait()
        if run.sdk.cancel is not None:
            await run.sdk.cancel(run.session, request_id)
        slow.cancel()
    # The event is in another process, and the step's own timeout ends this.
    while await run.call("cancelled_count", tag=run.tag) == "0":
        await asyncio.sleep(0.05)
    expect(await run.call("cancelled_count", tag=run.tag), "1", "cancelled calls")


async def check_list_changed(run: Run) -> None:
    """tools/list_changed arrives, once, while no call is open; without a subscription nothing else does."""
    await run.open_standalone()
    await run.call("change")
    await run.connection.inbox.wait("notifications/tools/list_changed")
    await run.connection.inbox.settle()
    expect(len(run.connection.inbox.params("notifications/tools/list_changed")), 1, "list_changed while idle")
    expect(run.connection.inbox.params("notifications/resources/updated"), [], "updates without a subscription")


async def check_resource_updated(run: Run) -> None:
    """resources/updated for a subscribed resource arrives, once, while no call is open."""
    await run.open_standalone()
    await run.session.subscribe_resource(run.sdk.uri(tools.RESOURCE_URI))
    await run.call("change")
    await run.connection.inbox.wait("notifications/resources/updated")
    await run.connection.inbox.settle()
    updated = [one["uri"] for one in run.connection.inbox.params("notifications/resources/updated")]
    expect(updated, [tools.RESOURCE_URI], "updates while idle")
    await run.session.unsubscribe_resource(run.sdk.uri(tools.RESOURCE_URI))


async def check_standalone_roots(run: Run) -> None:
    """The server's roots request reaches us also on the standalone stream."""
    await run.open_standalone()
    expect(json.loads(await run.call("roots", standalone=True)), [ROOT_URI], "roots on the standalone stream")


CHECKS: dict[str, Callable[[Run], Awaitable[None]]] = {
    name.removeprefix("check_"): value for name, value in list(globals().items()) if name.startswith("check_")
}
TERMINATION = "termination"  # the last check: it happens while and after the session closes
