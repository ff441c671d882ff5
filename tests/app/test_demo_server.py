"""The demo server, spoken to in process: what `make demo` and the tests rely on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay.demo import server as demo_server
from relay.demo.server import Session

Json = dict[str, Any]


class Client:
    """Speaks to a session and collects what it says."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        self._said: asyncio.Queue[Json] = asyncio.Queue()
        self.session = Session(lambda line: self._said.put_nowait(json.loads(line)))

    def send(self, message: Any) -> None:
        """Write one line."""
        self._lines.put_nowait(json.dumps(message).encode() + b"\n")

    def send_bytes(self, line: bytes) -> None:
        """Write one line as it is; an empty one is the end."""
        self._lines.put_nowait(line)

    async def hear(self) -> Json:
        """Return the next message."""
        return await self._said.get()

    async def ask(self, method: str, params: Any = None, request_id: int = 1) -> Json:
        """Send a request and return the next message, which is its answer."""
        self.send(
            {"jsonrpc": "2.0", "id": request_id, "method": method, **({} if params is None else {"params": params})}
        )
        answer = await self.hear()
        assert answer["id"] == request_id
        return answer

    async def call(self, name: str, **arguments: Any) -> str:
        """Call a tool and return its text."""
        answer = await self.ask("tools/call", {"name": name, "arguments": arguments})
        return str(answer["result"]["content"][0]["text"])


@contextlib.asynccontextmanager
async def talking() -> AsyncIterator[Client]:
    """Serve one client for the length of the block."""
    client = Client()
    async with asyncio.TaskGroup() as group:
        group.create_task(client.session.serve(client._lines.get))
        yield client
        client.send_bytes(b"")


async def test_the_handshake() -> None:
    """It agrees on every revision it knows and offers its newest otherwise."""
    async with talking() as client:
        for version in ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"):
            answer = await client.ask("initialize", {"protocolVersion": version, "capabilities": {}})
            assert answer["result"]["protocolVersion"] == version
        answer = await client.ask("initialize", {"protocolVersion": "1999-01-01"})
        assert answer["result"]["protocolVersion"] == "2025-11-25"
        assert (await client.ask("ping"))["result"] == {}


async def test_tools() -> None:
    """Each does what its description says."""
    async with talking() as client:
        tools = {tool["name"] for tool in (await client.ask("tools/list"))["result"]["tools"]}
        assert tools == {"echo", "add", "clock", "count", "sleep", "ask"}
        assert await client.call("echo", text="ä\u2028😀") == "ä\u2028😀"
        assert await client.call("add", a=1, b=2.5) == "3.5"
        assert (await client.call("clock")).endswith("+00:00")
        assert await client.call("sleep", seconds=0.001) == "slept 0.001 s"
        assert await client.call("count", to=2, pause=0) == "counted to 2"


async def test_progress_comes_before_the_answer() -> None:
    """With a token, one notification for each step."""
    async with talking() as client:
        client.send(
            {
                "jsonrpc": "2.0",
                "id": "c",
                "method": "tools/call",
                "params": {"name": "count", "arguments": {"to": 2, "pause": 0}, "_meta": {"progressToken": "t"}},
            }
        )
        said = [await client.hear() for _ in range(3)]
        assert [message.get("params", {}).get("progress") for message in said] == [1, 2, None]
        assert said[2]["id"] == "c"


async def test_a_cancelled_call_is_not_answered() -> None:
    """The next thing it says is the next answer; a cancellation of nothing is nothing."""
    async with talking() as client:
        client.send(
            {
                "jsonrpc": "2.0",
                "id": 5,
                "method": "tools/call",
                "params": {"name": "sleep", "arguments": {"seconds": 60}},
            }
        )
        for request_id in (5, 6):
            client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request_id}})
        client.send({"jsonrpc": "2.0", "method": "notifications/cancelled"})
        client.send({"jsonrpc": "2.0", "method": "notifications/initialized", "params": {}})
        assert (await client.ask("ping", request_id=7))["result"] == {}


async def test_it_asks_the_client() -> None:
    """A question back, answered, refused, or not allowed."""
    async with talking() as client:
        assert await client.call("ask", question="?") == "the client did not declare the sampling capability"
        await client.ask("initialize", {"capabilities": {"sampling": {}}})
        for reply, text in (
            ({"result": {"content": {"type": "text", "text": "yes"}}}, "yes"),
            ({"result": {"content": ["odd"]}}, "['odd']"),
            (
                {"error": {"code": -1, "message": "no"}},
                "the client answered with an error: {'code': -1, 'message': 'no'}",
            ),
        ):
            client.send(
                {
                    "jsonrpc": "2.0",
                    "id": 1,
                    "method": "tools/call",
                    "params": {"name": "ask", "arguments": {"question": "?"}},
                }
            )
            question = await client.hear()
            assert question["method"] == "sampling/createMessage"
            for _ in range(2):
                client.send({"jsonrpc": "2.0", "id": question["id"], **reply})
            assert (await client.hear())["result"]["content"][0]["text"] == text


async def test_resources_and_prompts() -> None:
    """One of each."""
    async with talking() as client:
        (resource,) = (await client.ask("resources/list"))["result"]["resources"]
        (contents,) = (await client.ask("resources/read", {"uri": resource["uri"]}))["result"]["contents"]
        assert contents["text"].startswith("Hello from the demo server")
        (prompt,) = (await client.ask("prompts/list"))["result"]["prompts"]
        answer = await client.ask("prompts/get", {"name": prompt["name"], "arguments": {"about": "pipes"}})
        assert answer["result"]["messages"][0]["content"]["text"] == "Write a haiku about pipes."


async def test_logging() -> None:
    """From the level the client wants."""
    async with talking() as client:
        await client.ask("logging/setLevel", {"level": "info"})
        client.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "clock"}})
        assert (await client.hear())["params"]["data"] == "clock called"
        await client.hear()


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("no/such", None, -32601),
        ("ping", [], -32602),
        ("tools/call", {"name": "no"}, -32602),
        ("tools/call", {"name": 5}, -32602),
        ("tools/call", {"name": "echo"}, -32602),
        ("tools/call", {"name": "echo", "arguments": 5}, -32602),
        ("tools/call", {"name": "echo", "arguments": {"text": 5}}, -32602),
        ("tools/call", {"name": "add", "arguments": {"a": True, "b": 1}}, -32602),
        ("resources/read", {"uri": "no:such"}, -32002),
        ("prompts/get", {"name": "no"}, -32602),
        ("prompts/get", {"name": "haiku"}, -32602),
        ("logging/setLevel", {"level": "loud"}, -32602),
    ],
)
async def test_what_it_refuses(method: str, params: Any, code: int) -> None:
    """With JSON-RPC's own codes."""
    async with talking() as client:
        assert (await client.ask(method, params))["error"]["code"] == code


async def test_lines_that_are_no_messages(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors with a null id; batches member by member; a bug in a method ends only that call."""
    async with talking() as client:
        client.send_bytes(b"{\n")
        client.send_bytes(b"\n")
        assert (await client.hear())["error"]["code"] == -32700
        client.send([])
        assert (await client.hear())["error"]["code"] == -32600
        client.send([{"jsonrpc": "2.0", "id": 1, "method": "ping"}, 5, {"jsonrpc": "2.0", "id": 9, "result": {}}])
        assert {json.dumps(await client.hear()) for _ in range(2)} == {
            '{"jsonrpc": "2.0", "id": 1, "result": {}}',
            '{"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": "not a JSON-RPC 2.0 message"}}',
        }

        async def fail(session: Session, params: Json) -> Json:
            raise ZeroDivisionError

        monkeypatch.setitem(demo_server.METHODS, "ping", fail)
        assert (await client.ask("ping"))["error"]["code"] == -32603
    assert "ZeroDivisionError" in capsys.readouterr().err


async def test_at_the_end_what_runs_may_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the length of the grace; then it is cancelled."""
    monkeypatch.setattr(demo_server, "EOF_GRACE", 0.1)
    async with talking() as client:
        for request_id, seconds in ((1, 0.01), (2, 60)):
            client.send(
                {
                    "jsonrpc": "2.0",
                    "id": request_id,
                    "method": "tools/call",
                    "params": {"name": "sleep", "arguments": {"seconds": seconds}},
                }
            )
        client.send_bytes(b"")
    assert (await client.hear())["id"] == 1
    assert client._said.empty()


SERVER = [sys.executable, "-m", "relay.demo.server"]
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'


def test_the_process_ends_with_its_stdin() -> None:
    """One frame a line on stdout, nothing else, exit code 0."""
    ended = subprocess.run(SERVER, input=PING, capture_output=True, timeout=20, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert json.loads(ended.stdout) == {"jsonrpc": "2.0", "id": 1, "result": {}}
    assert ended.stdout.count(b"\n") == 1


def test_the_process_ends_when_nobody_is_left_to_read() -> None:
    """Without a traceback."""
    with subprocess.Popen(SERVER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdout.close()
        process.stdin.write(PING)
        process.stdin.flush()
        assert process.stderr.read() == b""
        process.stdin.close()
        assert process.wait(20) == 0


def test_the_process_ends_by_ctrl_c() -> None:
    """With 130, although a thread waits for stdin."""
    with subprocess.Popen(SERVER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdin.write(PING)
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read() == b""
