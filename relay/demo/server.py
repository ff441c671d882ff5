"""A small MCP server on stdin and stdout, written without an SDK, which `make demo` runs behind the relay.

It speaks the revisions 2024-11-05 to 2025-11-25, and has one of everything that a bridge must forward: quick tools,
progress, a request to the client, a call that can be cancelled, a resource, a prompt and logging. Each line is one
frame. Each request runs in a task of its own, so a slow one delays no other.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]

REVISIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")  # the first is offered to clients of no other
LOG_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
GREETING_URI = "demo://greeting"
GREETING = "Hello from the demo server behind mcp-relay."
EOF_GRACE = 1.0  # requests still running when stdin ends may finish; well below the 2 s a client waits before SIGTERM

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
RESOURCE_NOT_FOUND = -32002


class AnswerError(Exception):
    """The error that a request gets if the server cannot serve it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


# -- JSON-RPC: lines in, lines out ------------------------------------------------------------------------------------


class Session:
    """The one client of this process: its running requests, our requests to it, and its capabilities."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._running: dict[str | int, asyncio.Task[None]] = {}
        self._questions: dict[str, asyncio.Future[Json]] = {}
        self._question_numbers = itertools.count(1)
        self.client_capabilities: Json = {}
        self.log_level = "warning"

    async def serve(self, read_line: Callable[[], Awaitable[bytes]]) -> None:
        """Answer until stdin ends, then until the running requests finish or the grace is over."""
        async with asyncio.TaskGroup() as tasks:
            while line := await read_line():
                if line.strip():
                    self._line_received(line, tasks)
            if self._running:
                await asyncio.wait(self._running.values(), timeout=EOF_GRACE)
            for request in self._running.values():
                request.cancel()

    def notify(self, method: str, params: Json) -> None:
        """Send the client a notification."""
        self._send({"method": method, "params": params})

    def log(self, level: str, data: str) -> None:
        """Send a log message, if the client asked for this level."""
        if LOG_LEVELS.index(level) >= LOG_LEVELS.index(self.log_level):
            self.notify("notifications/message", {"level": level, "logger": "demo", "data": data})

    async def ask(self, method: str, params: Json) -> Json:
        """Send the client a request; return its whole answer, result or error."""
        question = f"demo-{next(self._question_numbers)}"
        answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._questions[question] = answer
        try:
            self._send({"id": question, "method": method, "params": params})
            return await answer
        finally:
            del self._questions[question]

    def _line_received(self, line: bytes, tasks: asyncio.TaskGroup) -> None:
        try:
            received = json.loads(line)
        except ValueError as exc:
            self._send_error(None, PARSE_ERROR, f"not JSON: {exc}")
            return
        batch = received if isinstance(received, list) and received else [received]  # batches: 2025-03-26 only
        for message in batch:
            self._message_received(message, tasks)

    def _message_received(self, message: Any, tasks: asyncio.TaskGroup) -> None:
        match message:
            case {"jsonrpc": "2.0", "method": str(method), "id": str() | int() as request_id}:
                task = tasks.create_task(self._answer(request_id, method, message), name=f"{method} {request_id}")
                self._running[request_id] = task
                task.add_done_callback(lambda _: self._running.pop(request_id, None))
            case {"jsonrpc": "2.0", "method": str(method)} if "id" not in message:
                self._notification_received(method, message)
            case {"jsonrpc": "2.0", "id": str(question)} if question in self._questions and "method" not in message:
                if not self._questions[question].done():
                    self._questions[question].set_result(message)
            case {"jsonrpc": "2.0", "result": _} | {"jsonrpc": "2.0", "error": _}:
                pass  # an answer to no open request of ours
            case _:
                self._send_error(None, INVALID_REQUEST, "not a JSON-RPC 2.0 message")

    def _notification_received(self, method: str, message: Json) -> None:
        match message.get("params"):
            case {"requestId": str() | int() as request_id} if method == "notifications/cancelled":
                if request_id in self._running:
                    self._running[request_id].cancel()

    async def _answer(self, request_id: str | int, method: str, message: Json) -> None:
        """Answer one request; if the client cancels it there is no answer, as the specification asks."""
        try:
            if method not in METHODS:
                raise AnswerError(METHOD_NOT_FOUND, f"method not found: {method}")
            result = await METHODS[method](self, _params_of(message))
        except AnswerError as exc:
            self._send_error(request_id, exc.code, str(exc))
        except Exception:  # a bug in one method would end the session for all of them
            traceback.print_exc()
            self._send_error(request_id, INTERNAL_ERROR, "internal error; see the server's stderr")
        else:
            self._send({"id": request_id, "result": result})

    def _send_error(self, request_id: str | int | None, code: int, message: str) -> None:
        self._send({"id": request_id, "error": {"code": code, "message": message}})

    def _send(self, message: Json) -> None:
        text = json.dumps({"jsonrpc": "2.0"} | message, ensure_ascii=False, separators=(",", ":"))
        self._write(text.encode("utf-8", "surrogatepass") + b"\n")


def _params_of(message: Json) -> Json:
    match message.get("params", {}):
        case dict() as params:
            return params
        case _:
            raise AnswerError(INVALID_PARAMS, "params must be an object")


# -- methods ----------------------------------------------------------------------------------------------------------


async def initialize(session: Session, params: Json) -> Json:
    """Agree on a revision: the client's, if we know it, else our newest."""
    session.client_capabilities = params.get("capabilities", {})
    wanted = params.get("protocolVersion")
    return {
        "protocolVersion": wanted if wanted in REVISIONS else REVISIONS[0],
        "capabilities": {"tools": {}, "resources": {}, "prompts": {}, "logging": {}},
        "serverInfo": {"name": "mcp-relay-demo", "version": "1.0.0"},
        "instructions": "A demonstration. Try echo; count shows progress; ask puts a question to your own model.",
    }


async def ping(session: Session, params: Json) -> Json:
    """Answer a ping."""
    return {}


async def list_tools(session: Session, params: Json) -> Json:
    """Describe the tools."""
    return {"tools": [{"name": name, **description} for name, (description, _) in TOOLS.items()]}


async def call_tool(session: Session, params: Json) -> Json:
    """Run one tool; a failure inside it becomes a result with isError, for the model to read."""
    name = params.get("name")
    if not isinstance(name, str) or name not in TOOLS:
        raise AnswerError(INVALID_PARAMS, f"unknown tool: {name!r}; known: {', '.join(TOOLS)}")
    description, tool = TOOLS[name]
    arguments = params.get("arguments") or {}
    _check_arguments(arguments, description["inputSchema"])
    session.log("info", f"{name} called")
    try:
        text, failed = await tool(session, arguments, params), False
    except ToolError as exc:
        text, failed = str(exc), True
    return {"content": [{"type": "text", "text": text}], "isError": failed}


async def list_resources(session: Session, params: Json) -> Json:
    """Name the one resource."""
    return {"resources": [{"uri": GREETING_URI, "name": "greeting", "mimeType": "text/plain"}]}


async def read_resource(session: Session, params: Json) -> Json:
    """Return the one resource."""
    if params.get("uri") != GREETING_URI:
        raise AnswerError(RESOURCE_NOT_FOUND, f"resource not found: {params.get('uri')!r}; there is {GREETING_URI}")
    return {"contents": [{"uri": GREETING_URI, "mimeType": "text/plain", "text": GREETING}]}


async def list_prompts(session: Session, params: Json) -> Json:
    """Name the one prompt."""
    about = {"name": "about", "description": "what the text should be about", "required": True}
    return {"prompts": [{"name": "haiku", "description": "Ask for a haiku", "arguments": [about]}]}


async def get_prompt(session: Session, params: Json) -> Json:
    """Fill in the one prompt."""
    if params.get("name") != "haiku":
        raise AnswerError(INVALID_PARAMS, f"unknown prompt: {params.get('name')!r}; there is haiku")
    about = (params.get("arguments") or {}).get("about")
    if not isinstance(about, str):
        raise AnswerError(INVALID_PARAMS, "haiku needs the argument about, a string")
    return {"messages": [_user_says(f"Write a haiku about {about}.")]}


async def set_log_level(session: Session, params: Json) -> Json:
    """Keep the lowest level of log messages that the client wants."""
    if params.get("level") not in LOG_LEVELS:
        raise AnswerError(INVALID_PARAMS, f"unknown level: {params.get('level')!r}; known: {', '.join(LOG_LEVELS)}")
    session.log_level = params["level"]
    return {}


METHODS: dict[str, Callable[[Session, Json], Awaitable[Json]]] = {
    "initialize": initialize,
    "ping": ping,
    "tools/list": list_tools,
    "tools/call": call_tool,
    "resources/list": list_resources,
    "resources/read": read_resource,
    "prompts/list": list_prompts,
    "prompts/get": get_prompt,
    "logging/setLevel": set_log_level,
}


# -- tools: (session, arguments, params of the call) -> text ----------------------------------------------------------


class ToolError(Exception):
    """A tool's own failure: the call succeeded, its work did not."""


async def echo(session: Session, arguments: Json, params: Json) -> str:
    """Give the text back."""
    return str(arguments["text"])


async def add(session: Session, arguments: Json, params: Json) -> str:
    """Add two numbers."""
    return str(arguments["a"] + arguments["b"])


async def clock(session: Session, arguments: Json, params: Json) -> str:
    """Tell the time."""
    return datetime.now(UTC).isoformat(timespec="seconds")


async def count(session: Session, arguments: Json, params: Json) -> str:
    """Count, with a progress notification for each step if the caller gave a token."""
    token, total = (params.get("_meta") or {}).get("progressToken"), arguments["to"]
    for step in range(1, total + 1):
        await asyncio.sleep(arguments.get("pause", 0.1))
        if token is not None:
            session.notify("notifications/progress", {"progressToken": token, "progress": step, "total": total})
    return f"counted to {total}"


async def sleep(session: Session, arguments: Json, params: Json) -> str:
    """Do nothing for a while, or until cancelled."""
    await asyncio.sleep(arguments["seconds"])
    return f"slept {arguments['seconds']} s"


async def ask(session: Session, arguments: Json, params: Json) -> str:
    """Have the client's own model answer a question."""
    if "sampling" not in session.client_capabilities:
        raise ToolError("the client did not declare the sampling capability")
    question = {"messages": [_user_says(arguments["question"])], "maxTokens": 200}
    answer = await session.ask("sampling/createMessage", question)
    if "error" in answer:
        raise ToolError(f"the client answered with an error: {answer['error']}")
    content = answer["result"].get("content")
    return str(content.get("text", content) if isinstance(content, dict) else content)


def _user_says(text: str) -> Json:
    return {"role": "user", "content": {"type": "text", "text": text}}


def _tool(description: str, required: dict[str, str], optional: dict[str, str] | None = None) -> Json:
    properties = {name: {"type": kind} for name, kind in (required | (optional or {})).items()}
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {"description": description, "inputSchema": schema}


def _check_arguments(arguments: Any, schema: Json) -> None:
    if not isinstance(arguments, dict):
        raise AnswerError(INVALID_PARAMS, "arguments must be an object")
    for name in schema["required"]:
        if name not in arguments:
            raise AnswerError(INVALID_PARAMS, f"argument {name} is missing")
    kinds: dict[str, tuple[type, ...]] = {"string": (str,), "number": (int, float), "integer": (int,)}
    for name, value in arguments.items():
        kind = schema["properties"].get(name, {}).get("type")
        if kind and (isinstance(value, bool) or not isinstance(value, kinds[kind])):
            raise AnswerError(INVALID_PARAMS, f"argument {name} must be of type {kind}, not {value!r}")


TOOLS: dict[str, tuple[Json, Callable[[Session, Json, Json], Awaitable[str]]]] = {
    "echo": (_tool("Gives the text back", {"text": "string"}), echo),
    "add": (_tool("Adds two numbers", {"a": "number", "b": "number"}), add),
    "clock": (_tool("Tells the time, UTC", {}), clock),
    "count": (_tool("Counts, reporting progress on the way", {"to": "integer"}, {"pause": "number"}), count),
    "sleep": (_tool("Does nothing for so many seconds; can be cancelled", {"seconds": "number"}), sleep),
    "ask": (_tool("Asks the client's own model a question", {"question": "string"}), ask),
}


# -- the process ------------------------------------------------------------------------------------------------------


def _write_stdout(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


async def serve_stdio() -> None:
    """Serve the client on stdin and stdout; a thread reads, so that it works wherever Python does."""
    loop = asyncio.get_running_loop()
    try:
        await Session(_write_stdout).serve(lambda: loop.run_in_executor(None, sys.stdin.buffer.readline))
    except* BrokenPipeError:
        os._exit(0)  # no reader is left, and the interpreter's own flush of stdout would fail again
    except* asyncio.CancelledError:  # Ctrl-C
        os._exit(130)  # the reading thread cannot be interrupted, and the loop's end would wait for it


def main() -> None:
    """Run until the client closes our stdin or goes away."""
    asyncio.run(serve_stdio())


if __name__ == "__main__":
    main()
