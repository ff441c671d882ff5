"""`mcp-relay URL`: the session as the server sees it, from the first frame to the DELETE."""

from __future__ import annotations

import asyncio
import contextlib
import signal

import pytest

from relay.limits import Limits
from tests.e2e.conversation import INITIALIZE, INITIALIZED, Direct, Program, note, request
from tests.e2e.fault_server import Exchange, FaultServer, Request, Script, result


class Listening(Script):
    """A server with a GET stream that stays open; `listeners` are those that are."""

    def __init__(self) -> None:
        super().__init__()
        self.listeners: list[Exchange] = []

    async def get(self, exchange: Exchange) -> None:
        await exchange.open_stream()
        self.listeners.append(exchange)
        await exchange.hold()


def session_headers(one: Request) -> tuple[str | None, str | None]:
    """Return the two headers that name session and version."""
    return one.session, one.headers.get("mcp-protocol-version")


async def test_session_and_version_on_everything_after_initialize(loop_name: str) -> None:
    """Every request after initialize carries the session id and the version agreed on: POST, GET and DELETE."""

    class Older(Listening):
        version = "2025-06-18"

    async with FaultServer.running(Older()) as server:
        async with Program.running(server.url, loop=loop_name) as program:
            await program.handshake()
            await server.until(lambda: "GET" in server.methods())
            assert "result" in await program.call(1)
            await program.send(note("notifications/roots/list_changed"))
            await server.until(lambda: "notifications/roots/list_changed" in server.methods())
        first, *others = server.requests
        assert session_headers(first) == (None, None)
        assert sorted(server.methods()) == sorted(
            (
                "initialize",
                "notifications/initialized",
                "GET",
                "tools/call",
                "notifications/roots/list_changed",
                "DELETE",
            )
        )
        assert [session_headers(one) for one in others] == [("session-1", "2025-06-18")] * 5
        assert server.methods()[-1] == "DELETE"
        posts = [one.headers for one in server.requests if one.method == "POST"]
        assert {one["accept"] for one in posts} == {"application/json, text/event-stream"}
        assert {one["content-type"] for one in posts} == {"application/json"}


async def test_server_without_sessions(loop_name: str) -> None:
    """A server that names no session gets no session header, no DELETE, and its calls are answered."""

    class Stateless(Script):
        async def initialize(self, exchange: Exchange) -> None:
            await exchange.json(self.welcome(exchange))

    async with FaultServer.running(Stateless()) as server:
        async with Program.running(server.url, loop=loop_name) as program:
            await program.handshake()
            assert "result" in await program.call(1)
            await server.until(lambda: "GET" in server.methods())
        assert {one.session for one in server.requests} == {None}
        assert "DELETE" not in server.methods()


async def test_get_stream_after_initialized(loop_name: str) -> None:
    """The GET stream is opened once the server has accepted `initialized`, and what comes on it arrives in order."""
    accepted = asyncio.Event()

    class Slow(Listening):
        async def notification(self, exchange: Exchange) -> None:
            if exchange.message.get("method") == "notifications/initialized":
                await accepted.wait()
            await exchange.reply(202)

    script = Slow()
    async with FaultServer.running(script) as server, Program.running(server.url, loop=loop_name) as program:
        await program.handshake()
        await server.until(lambda: "notifications/initialized" in server.methods())
        assert "GET" not in server.methods()
        accepted.set()
        await server.until(lambda: script.listeners)
        stream = script.listeners[0]
        for at in range(50):
            await stream.event(note("notifications/message", at=at))
        await stream.event(request("from-server", "sampling/createMessage"))
        await program.until(lambda: len(program.others) == 51)
        assert [one["params"].get("at") for one in program.others] == [*range(50), None]
        await program.write([b'{"jsonrpc":"2.0","id":"from-server","result":{"role":"user"}}'])
        await server.until(lambda: "response" in server.methods())
        assert server.requests[-1].message["result"] == {"role": "user"}


async def test_405_means_no_get_stream(loop_name: str) -> None:
    """After 405 to the GET there is none, and nobody asks again."""
    async with FaultServer.running(Script()) as server, Program.running(server.url, loop=loop_name) as program:
        await program.handshake()
        await server.until(lambda: "GET" in server.methods())
        for at in range(3):
            assert "result" in await program.call(at)
        await asyncio.sleep(0.6)  # three times the first wait before a reconnection: that nothing comes has no event
        assert server.methods().count("GET") == 1


async def test_get_stream_is_resumed(loop_name: str) -> None:
    """A GET stream that ends is opened again after its `retry`, with the last event id it named."""
    asked: list[tuple[float, str | None]] = []

    class Ending(Script):
        async def get(self, exchange: Exchange) -> None:
            last = exchange.request.headers.get("last-event-id")
            asked.append((asyncio.get_running_loop().time(), last))
            await exchange.open_stream()
            at = int(last or 0) + 1
            await exchange.event(note("notifications/message", at=at), event_id=str(at), retry=250)
            if at == 1:
                await exchange.end()
            elif at == 2:
                exchange.cut()
            else:
                await exchange.hold()

    async with FaultServer.running(Ending()) as server, Program.running(server.url, loop=loop_name) as program:
        await program.handshake()
        await program.until(lambda: len(program.others) == 3)
        assert [one["params"]["at"] for one in program.others] == [1, 2, 3]
    assert [last for _, last in asked] == [None, "1", "2"]
    assert all(0.24 <= later - earlier < 5 for (earlier, _), (later, _) in zip(asked, asked[1:], strict=False)), asked


@pytest.mark.parametrize("hurdle", [500, 503, 429, 409, 401, "cut", "html"])
async def test_get_stream_is_never_given_up(hurdle: int | str) -> None:
    """While the session lives the GET stream is asked for again, whatever came in between."""

    class Hurdles(Listening):
        async def get(self, exchange: Exchange) -> None:
            count = server.methods().count("GET")
            if count == 1:
                await exchange.open_stream()
                await exchange.event(note("notifications/message"))
                await exchange.end()
            elif count < 5:
                if hurdle == "cut":
                    exchange.cut()
                elif hurdle == "html":
                    await exchange.reply(200, b"<html>", kind="text/html")
                else:
                    await exchange.reply(int(hurdle))
            else:
                await super().get(exchange)

    script = Hurdles()
    limits = Limits(reconnect_min=0.01, reconnect_max=0.05)
    async with FaultServer.running(script) as server, Direct.to(server.url, limits=limits) as client:
        await client.handshake()
        await server.until(lambda: script.listeners)
        assert "result" in await client.call(1)
        assert server.methods().count("GET") == 5


async def test_get_stream_survives_a_server_that_is_away(loop_name: str) -> None:
    """The GET stream comes back, in the same session, to a server that was not there for a while."""
    script = Listening()
    async with FaultServer.running(script) as server, Program.running(server.url, loop=loop_name) as program:
        await program.handshake()
        await server.until(lambda: script.listeners)
        await server.stop()
        await asyncio.sleep(0.5)  # some attempts are refused meanwhile
        await server.start()
        await server.until(lambda: len(script.listeners) == 2)
        assert server.requests[-1].session == "session-1"
        assert "result" in await program.call(1)


async def test_stream_that_ends_at_once_is_no_busy_loop(loop_name: str) -> None:
    """A server that ends every GET stream at once, and says `retry: 0`, is asked at most 20 times a second."""

    class Flapping(Script):
        async def get(self, exchange: Exchange) -> None:
            await exchange.open_stream()
            await exchange.event(event_id="1", retry=0)
            await exchange.end()

    async with FaultServer.running(Flapping()) as server, Program.running(server.url, loop=loop_name) as program:
        await program.handshake()
        await server.until(lambda: server.methods().count("GET") == 3)
        await asyncio.sleep(1)
        assert server.methods().count("GET") <= 3 + 21


class Forgetful(Listening):
    """A server that forgets its first session when told to, and counts what it refused."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[object] = []
        self.gate = asyncio.Event()
        self.all_here = 1

    async def unknown_session(self, exchange: Exchange) -> None:
        if exchange.request.method == "POST":
            self.refused.append(exchange.message.get("id"))
            if len(self.refused) >= self.all_here:
                self.gate.set()
            await self.gate.wait()  # so that all are refused before the first new session exists
        await super().unknown_session(exchange)


@pytest.mark.parametrize("kept", [False, True])
async def test_forgotten_session_is_begun_anew_once(kept: bool, loop_name: str) -> None:
    """404 to 20 calls at once: one new handshake, each call sent once more and answered once, one GET stream."""
    script = Forgetful()
    script.all_here = 20
    async with FaultServer.running(script) as server, Program.running(server.url, loop=loop_name) as program:
        await program.handshake()
        await server.until(lambda: script.listeners)
        if kept:
            await program.warm_up(server, lines=5)
        script.live.clear()
        await program.send(*(request(at, tag=at) for at in range(20)))
        answers = await program.all_answers(range(20))
        assert [one["result"]["echo"]["tag"] for one in answers] == list(range(20))
        assert len(server.posted("initialize")) == 2
        assert server.posted("initialize")[1].body == server.posted("initialize")[0].body
        assert server.posted("initialize")[1].session is None
        assert len(server.posted("notifications/initialized")) == 2
        calls = [(one.session, one.message["id"]) for one in server.posted("tools/call")]
        assert sorted(calls) == sorted((session, at) for session in ("session-1", "session-2") for at in range(20))
        await server.until(lambda: len(script.listeners) == 2)
        assert script.listeners[1].request.session == "session-2"
        await script.listeners[1].event(note("notifications/after"))
        await program.until(lambda: program.others)


async def test_session_forgotten_again(loop_name: str) -> None:
    """A server that answers 404 in the new session too: one error, and no third attempt."""

    class Amnesiac(Script):
        async def call(self, exchange: Exchange) -> None:
            await self.unknown_session(exchange)

    async with FaultServer.running(Amnesiac()) as server, Program.running(server.url, loop=loop_name) as program:
        await program.handshake()
        answer = await program.call(1)
        assert answer["error"]["data"] == {"delivered": "no", "status": 404}
        assert len(server.posted("tools/call")) == 2
        assert len(server.posted("initialize")) == 2


async def test_new_session_refused_and_later_granted(loop_name: str) -> None:
    """If no new session can be had, all that waited get one error each from one attempt; later calls try again."""

    class Closed(Forgetful):
        is_open = True

        async def initialize(self, exchange: Exchange) -> None:
            if self.is_open:
                await super().initialize(exchange)
            else:
                await exchange.reply(503)

    script = Closed()
    script.all_here = 10
    async with FaultServer.running(script) as server, Program.running(server.url, loop=loop_name) as program:
        await program.handshake()
        await server.until(lambda: script.listeners)
        script.live.clear()
        script.is_open = False
        await program.send(*(request(at) for at in range(10)))
        answers = await program.all_answers(range(10))
        assert [one["error"]["data"]["delivered"] for one in answers] == ["no"] * 10
        assert len(server.posted("initialize")) == 2
        script.is_open = True
        assert "result" in await program.call("later")
        assert len(server.posted("initialize")) == 3


async def test_session_lost_while_idle(loop_name: str) -> None:
    """A GET stream that is refused with 404 when it comes back begins a new session by itself, and listens there."""
    script = Listening()
    async with FaultServer.running(script) as server, Program.running(server.url, loop=loop_name) as program:
        await program.handshake()
        await server.until(lambda: script.listeners)
        script.live.clear()
        script.listeners[0].cut()
        await server.until(lambda: len(script.listeners) == 2)
        assert script.listeners[1].request.session == "session-2"
        assert len(server.posted("initialize")) == 2
        await script.listeners[1].event(note("notifications/after"))
        await program.until(lambda: program.others)
        assert list(program.answers) == ["init"], "the second handshake is not the client's"


async def test_client_initializes_again(loop_name: str) -> None:
    """A client's own second initialize opens a second session, and the GET stream listens in that one."""
    script = Listening()
    async with FaultServer.running(script) as server, Program.running(server.url, loop=loop_name) as program:
        await program.handshake()
        await server.until(lambda: script.listeners)
        await program.send({**INITIALIZE, "id": "init-2"})
        await program.answer("init-2")
        await program.send(INITIALIZED)
        await server.until(lambda: len(script.listeners) == 2)
        assert script.listeners[1].request.session == "session-2"
        assert server.posted("initialize")[1].session is None


# -- ends -------------------------------------------------------------------------------------------------------------


async def test_all_frames_piped_at_once(loop_name: str) -> None:
    """initialize, initialized, 100 calls and EOF in one write: all answered once, in a valid order, then DELETE."""

    class Mixed(Listening):
        async def call(self, exchange: Exchange) -> None:
            at = exchange.message["id"]
            if at % 2:
                await exchange.open_stream()
                await exchange.event(note("notifications/progress", progressToken=at))
                await exchange.event(result(exchange.message))
                await exchange.end()
            else:
                await exchange.result()

    async with FaultServer.running(Mixed()) as server:
        async with Program.running(server.url, loop=loop_name) as program:
            await program.send(INITIALIZE, INITIALIZED, *(request(at) for at in range(100)))
            program.eof()
            assert await program.ended() == 0
        assert set(program.answers) == {"init", *range(100)}
        assert all("result" in one for one in program.answers.values())
        assert program.messages[0]["id"] == "init"
        for at in range(1, 100, 2):  # progress before its answer
            kinds = [
                one.get("id")
                for one in program.messages
                if at in (one.get("id"), one.get("params", {}).get("progressToken"))
            ]
            assert kinds == [None, at]
        methods = server.methods()
        assert methods[:2] == ["initialize", "notifications/initialized"]
        assert methods.count("tools/call") == 100
        assert methods[-1] == "DELETE"
        assert {one.session for one in server.requests[1:]} == {"session-1"}


class Held(Listening):
    """A server whose calls are answered when `release` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.release = asyncio.Event()

    async def call(self, exchange: Exchange) -> None:
        await self.release.wait()
        await exchange.result()


async def test_stdin_eof_delivers_what_is_in_flight(loop_name: str) -> None:
    """After EOF on stdin the answers in flight are written, then the session is DELETEd, then the program ends."""
    script = Held()
    async with FaultServer.running(script) as server:
        async with Program.running(server.url, loop=loop_name) as program:
            await program.handshake()
            await program.send(*(request(at) for at in range(5)))
            await server.until(lambda: len(server.posted("tools/call")) == 5)
            program.eof()
            await asyncio.sleep(0.2)
            assert "DELETE" not in server.methods()
            script.release.set()
            assert await program.ended() == 0
            assert all("result" in program.answers[at] for at in range(5))
        assert server.methods().count("DELETE") == 1
        assert server.requests[-1].session == "session-1"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_delivers_what_is_in_flight(number: int, loop_name: str) -> None:
    """After SIGTERM, or when the terminal closes: answers in flight are written, the session is DELETEd, exit 0."""
    script = Held()
    async with FaultServer.running(script) as server, Program.running(server.url, loop=loop_name) as program:
        await program.handshake()
        await program.send(*(request(at) for at in range(5)))
        await server.until(lambda: len(server.posted("tools/call")) == 5)
        program.process.send_signal(number)
        await asyncio.sleep(0.2)
        assert program.process.returncode is None
        script.release.set()
        assert await program.ended() == 0
        assert all("result" in program.answers[at] for at in range(5))
        assert server.methods()[-1] == "DELETE"


async def test_sigterm_errors_what_takes_longer(loop_name: str) -> None:
    """What has no answer when the drain time is over gets an error; the session is DELETEd all the same."""
    async with FaultServer.running(Held()) as server:
        async with Program.running(server.url, "--drain-timeout", "0.5", loop=loop_name) as program:
            await program.handshake()
            await program.send(*(request(at) for at in range(5)))
            await server.until(lambda: len(server.posted("tools/call")) == 5)
            program.terminate()
            answers = await program.all_answers(range(5), seconds=2)
            assert [one["error"]["code"] for one in answers] == [-32001] * 5
            assert await program.ended() == 0
        assert server.methods()[-1] == "DELETE"


async def test_second_signal_ends_at_once(loop_name: str) -> None:
    """A second SIGTERM ends the program without waiting for anything."""
    async with FaultServer.running(Held()) as server:
        with contextlib.suppress(ExceptionGroup):
            async with Program.running(server.url, loop=loop_name, owed=True) as program:
                await program.handshake()
                await program.send(request(1))
                await server.until(lambda: server.posted("tools/call"))
                program.terminate()
                await asyncio.sleep(0.2)
                program.terminate()
                assert await asyncio.wait_for(program.process.wait(), 1) == 130
        assert program.process.returncode == 130


async def test_eof_while_the_server_is_silent(loop_name: str) -> None:
    """A client that leaves before the server has answered anything takes the relay with it."""

    class Silent(Script):
        async def initialize(self, exchange: Exchange) -> None:
            await exchange.hold()

    options = ("--drain-timeout", "2")
    async with (
        FaultServer.running(Silent()) as server,
        Program.running(server.url, *options, loop=loop_name) as program,
    ):
        await program.send(INITIALIZE, request("behind it", "ping"))
        await server.until(lambda: server.requests)
        program.eof()
        assert await program.ended() == 0
        assert program.answers["init"]["error"]["data"]["delivered"] == "unknown"
        assert program.answers["behind it"]["error"]["data"]["delivered"] == "no"


async def test_deaf_server_does_not_hold_the_end_up(loop_name: str) -> None:
    """A server that never answers the DELETE does not keep the program."""

    class Deaf(Script):
        async def delete(self, exchange: Exchange) -> None:
            await exchange.hold()

    async with FaultServer.running(Deaf()) as server, Program.running(server.url, loop=loop_name) as program:
        await program.handshake()
        program.eof()
        assert await asyncio.wait_for(program.process.wait(), 5) == 0
