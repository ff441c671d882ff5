"""``mcp-relay -- COMMAND`` when a process dies: every request has one outcome, and no process stays behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.e2e.oracle import Client, Response, request, run_relay

pytestmark = pytest.mark.only_loop("asyncio")

IDS: list[int | str] = [*range(16), *map(str, range(16))]


def _is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def _all_gone(pids: Iterable[int], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while any(map(_is_alive, pids)):
            await asyncio.sleep(0.01)


async def _pid(client: Client) -> int:
    return int(json.loads((await client.call(request("pid", "pid")))[0])["result"]["pid"])


async def _family(client: Client) -> tuple[int, int]:
    result = json.loads((await client.call(request("family", "grandchild")))[0])["result"]
    return result["pid"], result["child"]


async def _open_calls(client: Client, method: str = "silent") -> list[Response]:
    """Open 32 calls that stay open; each response is a stream by now."""
    responses = await asyncio.gather(*(client.post(request(request_id, method)) for request_id in IDS))
    assert all(response.is_stream for response in responses)
    return list(responses)


async def _only_frames(responses: list[Response], seconds: float) -> list[bytes]:
    async with asyncio.timeout(seconds):
        frames = await asyncio.gather(*(response.frames() for response in responses))
    assert [len(frame) for frame in frames] == [1] * len(responses), "one answer for each, no second one"
    return [frame[0] for frame in frames]


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_kill_9_of_the_child_in_the_middle_of_an_answer(loop: str) -> None:
    """32 in flight, half an answer written: each gets an error with its own id within a second; then all is new."""
    with run_relay(env={"MCP_RELAY_LOOP": loop}) as relay:
        async with Client(relay.base) as client, Client(relay.base) as bystander:
            await client.begin()
            await bystander.begin()
            get = await client.listen()
            pid = await _pid(client)
            responses = await _open_calls(client)
            partial = await client.post(request("partial", "partial", bytes=100_000))
            os.kill(pid, signal.SIGKILL)
            frames = await _only_frames([*responses, partial], 10)
            for request_id, frame in zip([*IDS, "partial"], frames, strict=True):
                error = json.loads(frame)
                assert error["id"] == request_id and type(error["id"]) is type(request_id)
                assert -32019 <= error["error"]["code"] <= -32000
                assert error["error"]["data"]["delivered"] == "unknown"
                assert "SIGKILL" in error["error"]["message"]
            assert await get.frames() == []
            assert (await client.post(request(1, "echo"))).status == 404
            assert await _pid(bystander) != pid
            client.session = None
            await client.begin()
            assert await _pid(client) != pid
            (seen,) = await client.call(request(1, "seen"))
            assert len(json.loads(seen)["result"]["lines"]) == 1, "nothing was sent again to the new child"
            told = {"state": "running", "command": "python", "children": 2, "started": 3, "sessions": 2}
            last = {"last_error": "was killed by SIGKILL"}
            assert (await client.status())["servers"]["default"] == {**told, **last}


async def test_a_child_that_exits_0_with_calls_open() -> None:
    """It has ended in order, but the calls have not: each gets its error within a second."""
    with run_relay() as relay:
        async with Client(relay.base) as client:
            await client.begin()
            responses = await _open_calls(client)
            began = asyncio.get_running_loop().time()
            last = await client.post(request("last", "exit", code=0))
            frames = [*await _only_frames(responses, 10), *await last.frames()]
            assert asyncio.get_running_loop().time() - began < 10
            assert [json.loads(frame)["id"] for frame in frames] == [*IDS, "last"]
            assert all("error" in json.loads(frame) for frame in frames)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("closing", ["exec >&-", "exec <&-"], ids=["stdout", "stdin"])
async def test_a_child_that_closes_a_pipe_and_lives_holds_nobody_up(closing: str, loop: str) -> None:
    """A call that is open gets its error, its session is gone; the end of the relay does not wait for the child."""
    answer = '{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-06-18"}}'
    script = f"read -r line; echo '{answer}' > /dev/stdout; read -r line; read -r line; {closing}; sleep 600"
    with run_relay(command=["/bin/sh", "-c", script], env={"MCP_RELAY_LOOP": loop}) as relay:
        async with Client(relay.base) as client:
            await client.begin()
            async with asyncio.timeout(10):
                (frame,) = await client.call(request(1, "any"))
            error = json.loads(frame)
            assert (error["id"], error["error"]["code"], error["error"]["data"]["delivered"]) == (1, -32001, "unknown")
            assert (await client.post(request(2, "any"))).status == 404
        relay.process.send_signal(signal.SIGTERM)
        assert await relay.exit_code(15) == 0, "less than the drain, which nothing is to wait for"


async def test_a_command_that_dies_at_once_is_an_error_for_its_initialize() -> None:
    """With the request's id and the exit status, whatever is seen first of its end; and no session stays."""
    with run_relay(command=["/bin/sh", "-c", "exit 7"]) as relay:
        async with Client(relay.base) as client:
            for number in range(100):  # once in 80 times uvloop closed its stdin before the relay had it
                response = await client.post(request(number, "initialize"))
                (frame,) = await client.finished(response)
                assert json.loads(frame)["id"] == number and "status 7" in json.loads(frame)["error"]["message"]
            assert (await client.status())["sessions"] == 0


async def test_sigterm_answers_what_finishes_in_time_and_errors_the_rest() -> None:
    """Work of 0.5 s is answered, endless work gets an error with its id after --drain-timeout, then exit 0."""
    with run_relay("--drain-timeout", "1.5") as relay:
        async with Client(relay.base) as client:
            await client.begin()
            get = await client.listen()
            family = await _family(client)
            endless = await client.post(request("endless", "silent"))
            slow = [await client.post(request(number, "delay", seconds=0.5)) for number in range(3)]
            spare = await client.wire()
            await spare.send("GET", "/health")
            assert (await (await spare.response()).json())["status"] == "healthy"
            relay.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                while True:
                    try:
                        (await Client(relay.base).wire()).close()
                    except ConnectionRefusedError:
                        break
                    await asyncio.sleep(0.01)
            await spare.send("GET", "/health")
            assert (await spare.response()).status == 503
            answers = await _only_frames(slow, 10)
            assert [json.loads(answer)["result"]["params"] for answer in answers] == [{"seconds": 0.5}] * 3
            (error,) = await _only_frames([endless], 10)
            assert json.loads(error)["id"] == "endless" and "shutting down" in json.loads(error)["error"]["message"]
            assert await get.frames() == []
            assert await relay.exit_code(20) == 0
            await _all_gone(family, 10)


async def test_sigterm_with_nothing_in_flight_ends_at_once() -> None:
    """Idle sessions, streams and kept connections hold nothing up: exit 0 within two seconds."""
    with run_relay() as relay:
        async with Client(relay.base) as client:
            await client.begin()
            await client.listen()
            pid = await _pid(client)
            began = asyncio.get_running_loop().time()
            relay.process.send_signal(signal.SIGTERM)
            assert await relay.exit_code(20) == 0
            assert asyncio.get_running_loop().time() - began < 4
            await _all_gone([pid], 10)


async def test_sighup_is_taken_like_sigterm_and_may_come_twice() -> None:
    """A terminal that closes: what is in flight is answered, then exit 0, nothing left; a second one hurries not."""
    with run_relay() as relay:
        async with Client(relay.base) as client:
            await client.begin()
            family = await _family(client)
            slow = await client.post(request(1, "delay", seconds=0.5))
            for _ in range(2):
                relay.process.send_signal(signal.SIGHUP)
                await asyncio.sleep(0.1)
            (answer,) = await _only_frames([slow], 10)
            assert "result" in json.loads(answer)
            assert await relay.exit_code(20) == 0
            await _all_gone(family, 10)


async def test_nohup_is_respected() -> None:
    """Where SIGHUP was ignored from the start, it stays so."""
    with run_relay(via=["nohup"]) as relay:
        relay.process.send_signal(signal.SIGHUP)
        async with Client(relay.base) as client:
            await client.begin()
            assert relay.process.poll() is None


async def test_a_second_signal_ends_it_at_once() -> None:
    """While it drains: exit within a second, and neither child nor grandchild stays."""
    with run_relay() as relay:
        async with Client(relay.base) as client:
            await client.begin()
            family = await _family(client)
            await client.post(request(1, "silent"))
            relay.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
            assert relay.process.poll() is None, "it drains"
            relay.process.send_signal(signal.SIGTERM)
            assert await relay.exit_code(20) == 130
            await _all_gone(family, 10)


async def test_kill_9_of_the_relay_leaves_no_child_or_grandchild() -> None:
    """Within two seconds, for several sessions."""
    with run_relay() as relay:
        clients = [Client(relay.base) for _ in range(3)]
        pids: list[int] = []
        for client in clients:
            pids += await _family(await client.begin())
        assert all(map(_is_alive, pids)) and len(set(pids)) == 6
        relay.process.kill()
        await _all_gone(pids, 10)
        for client in clients:
            client.close()


async def test_a_session_s_end_ends_its_child_and_grandchild() -> None:
    """DELETE: both are gone, a neighbour's are not."""
    with run_relay() as relay:
        async with Client(relay.base) as client, Client(relay.base) as neighbour:
            family = await _family(await client.begin())
            others = await _family(await neighbour.begin())
            assert await client.end() == 200
            await _all_gone(family, 10)
            assert all(map(_is_alive, others))


async def test_a_cancelled_call_gets_an_end_from_the_server_or_from_us() -> None:
    """The cancellation reaches the server; a server that stays silent does not leave the client waiting."""
    with run_relay() as relay:
        async with Client(relay.base) as client:
            await client.begin()
            response = await client.post(request(1, "silent"))
            cancel = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"enough"}}'
            assert (await client.post(cancel)).status == 202
            (seen,) = await client.call(request(2, "seen"))
            assert json.loads(seen)["result"]["lines"][-1].encode() == cancel
            (frame,) = await _only_frames([response], 7)
            assert json.loads(frame)["id"] == 1 and json.loads(frame)["error"]["code"] == -32005


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _children(pid: int) -> list[str]:
    """List children of the relay, zombies too."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text()
        except OSError:
            continue
        if text.rpartition(")")[2].split()[1] == str(pid):
            found.append(text[:60])
    return found


_CHEAP_SERVER = """
read -r line
echo '{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{}}}'
while read -r line; do :; done
"""


_CYCLES = int(os.environ.get("RELAY_TEST_CYCLES", "1000"))


@pytest.mark.async_timeout(240)
async def test_a_thousand_session_cycles_leave_nothing() -> None:
    """Sessions that end by DELETE, by a broken connection or by the child's death: no process, zombie, descriptor."""
    with run_relay("--log-level", "ERROR", command=["/bin/sh", "-c", _CHEAP_SERVER]) as relay:

        async def cycle(number: int) -> None:
            async with Client(relay.base) as client:
                await client.begin()
                if number % 3 == 0:
                    await client.listen()
                assert await client.end() == 200

        for number in range(20):
            await cycle(number)
        await _settled(relay.base)
        descriptors, children, memory = _descriptors(relay.pid), len(_children(relay.pid)), relay.memory()
        for start in range(0, _CYCLES, 10):
            async with asyncio.TaskGroup() as group:
                for number in range(start, start + 10):
                    group.create_task(cycle(number))
        await _settled(relay.base)
        assert len(_children(relay.pid)) == children, _children(relay.pid)
        assert _descriptors(relay.pid) <= descriptors + 1  # the connection that asks for /status
        assert relay.memory() - memory < 8 * 2**20


async def _settled(base: str) -> None:
    """Wait until every session and child is gone."""
    async with Client(base) as client, asyncio.timeout(15):
        while (status := await client.status())["sessions"] or status["servers"]["default"]["children"]:
            await asyncio.sleep(0.05)
