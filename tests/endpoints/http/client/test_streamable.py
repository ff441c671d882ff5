"""Streamable HTTP, dialling, with small limits: sizes, resumption, batches, and what belongs to which request."""

from __future__ import annotations

import asyncio
import json

import pytest

from relay.frames import replies
from relay.limits import Limits
from tests.e2e.conversation import Direct, note, request
from tests.e2e.fault_server import Exchange, FaultServer, Script, Sized, error, result, sse_event
from tests.timers import held_timers

SMALL = Limits(max_frame_bytes=200_000, reconnect_min=0.01, reconnect_max=0.05, cancel_grace=0.2, linger=0.3)
LIMIT = SMALL.max_frame_bytes


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("how", ["json", "sse", "get-sse"])
async def test_answer_at_the_limit_and_beyond(how: str, kept: bool) -> None:
    """An answer of the largest size passes whole; one byte more fails its own request, and no other."""
    script = Sized()
    async with FaultServer.running(script) as server, Direct.to(server.url, limits=SMALL) as client:
        await client.handshake()
        await server.until(lambda: script.listener)
        if kept:
            await client.warm_up(server, lines=3)
        sizes = {"below": LIMIT - 1, "at": LIMIT, "beyond": LIMIT + 1, "far": 20 * LIMIT, "small": 100}
        await client.send(*(request(name, size=size, how=how) for name, size in sizes.items()))
        answers = dict(zip(sizes, await client.all_answers(sizes), strict=True))
        lengths = {len(line) for line in client.lines if b'"result":{"fill"' in line.replace(b" ", b"")}
        assert lengths == {LIMIT - 1, LIMIT, 100}
        for name in ("beyond", "far"):
            assert answers[name]["error"]["code"] == -32003
            assert "--max-frame-bytes" in answers[name]["error"]["message"], "the option is named"
            assert answers[name]["error"]["data"] == {"delivered": "unknown"}
        assert "result" in await client.call("after", size=1000, how=how)
        assert len(server.posted("tools/call")) == 6


async def test_tiny_limit_holds_for_answers_that_come_in_one_piece() -> None:
    """The limit holds for answers so small that they are read with their headers."""
    limits = Limits(max_frame_bytes=1000)
    async with FaultServer.running(Sized()) as server, Direct.to(server.url, limits=limits) as client:
        await client.handshake()
        await client.warm_up(server)
        assert "result" in await client.call(1, size=1000, how="json")
        assert (await client.call(2, size=1001, how="json"))["error"]["code"] == -32003


async def test_oversized_notice_is_dropped_alone() -> None:
    """A notification beyond the limit is dropped; the answer on the same stream is not."""

    class Loud(Script):
        async def call(self, exchange: Exchange) -> None:
            await exchange.open_stream()
            await exchange.event(note("notifications/message", data="x" * LIMIT))
            await exchange.event(result(exchange.message))
            await exchange.end()

    async with FaultServer.running(Loud()) as server, Direct.to(server.url, limits=SMALL) as client:
        await client.handshake()
        assert "result" in await client.call(1)
        assert client.others == []


async def test_oversized_request_of_the_server_is_refused() -> None:
    """A request from the server beyond the limit gets an error with its own id; the call it came with goes on."""

    class Asking(Script):
        async def call(self, exchange: Exchange) -> None:
            await exchange.open_stream()
            await exchange.event(request("big", "sampling/createMessage", fill="x" * LIMIT))
            await exchange.event(result(exchange.message))
            await exchange.end()

    async with FaultServer.running(Asking()) as server, Direct.to(server.url, limits=SMALL) as client:
        await client.handshake()
        assert "result" in await client.call(1)
        await server.until(lambda: "response" in server.methods())
        (refusal,) = [one.message for one in server.requests if one.method == "POST" and one.message.get("id") == "big"]
        assert refusal["error"]["code"] == -32003
        assert client.others == []


class Resumable(Script):
    """Cuts each call's stream after an event id; what the GET with Last-Event-ID gets is for a test to say."""

    async def call(self, exchange: Exchange) -> None:
        self.asked = exchange.message
        await exchange.open_stream()
        await exchange.event(event_id="0")
        exchange.cut()

    async def get(self, exchange: Exchange) -> None:
        if "last-event-id" in exchange.request.headers:
            await self.resume(exchange)
        else:
            await exchange.reply(405)

    async def resume(self, exchange: Exchange) -> None:
        await exchange.reply(404)


@pytest.mark.parametrize("status", [400, 404, 405, 200])
async def test_server_that_cannot_resume(status: int) -> None:
    """A refused resumption: the request may have run, so one uncertain error, and no second POST."""

    class Refusing(Resumable):
        async def resume(self, exchange: Exchange) -> None:
            await exchange.reply(status)

    async with FaultServer.running(Refusing()) as server, Direct.to(server.url, limits=SMALL) as client:
        await client.handshake()
        answer = await client.call(1)
        assert (answer["error"]["code"], answer["error"]["data"]) == (-32001, {"delivered": "unknown"})
        assert len(server.posted("tools/call")) == 1
        assert len([one for one in server.requests if "last-event-id" in one.headers]) == 1


@pytest.mark.parametrize("hurdle", [500, 503, 409, 429, "cut", "cut-later"])
async def test_resumption_is_tried_again(hurdle: int | str) -> None:
    """What may pass is tried again: a busy server, a stream not yet seen to be gone, a broken connection."""

    class Hurdles(Resumable):
        tries = 0

        async def resume(self, exchange: Exchange) -> None:
            self.tries += 1
            if self.tries == 3:
                await exchange.open_stream()
                await exchange.event(result(self.asked))
                await exchange.end()
            elif isinstance(hurdle, int):
                await exchange.reply(hurdle)
            else:
                if hurdle == "cut-later":
                    await exchange.open_stream()
                exchange.cut()

    script = Hurdles()
    async with FaultServer.running(script) as server, Direct.to(server.url, limits=SMALL) as client:
        await client.handshake()
        assert "result" in await client.call(1)
        assert script.tries == 3
        assert len(server.posted("tools/call")) == 1


async def test_resumption_ends_after_three_failures() -> None:
    """A stream that breaks at once each time is given up after three tries: no busy loop, one error."""

    class Breaking(Resumable):
        tries = 0

        async def resume(self, exchange: Exchange) -> None:
            self.tries += 1
            await exchange.open_stream()
            exchange.cut()

    script = Breaking()
    async with FaultServer.running(script) as server, Direct.to(server.url, limits=SMALL) as client:
        await client.handshake()
        assert (await client.call(1))["error"]["code"] == -32001
        assert script.tries == 3


async def test_batch_without_what_nobody_waits_for() -> None:
    """A batch of answers passes as it came; if one is a second or a foreign answer, the others pass alone."""

    class Batching(Script):
        version = "2025-03-26"

        async def post(self, exchange: Exchange) -> None:
            if not exchange.request.body.startswith(b"["):
                await super().post(exchange)
                return
            asked = json.loads(exchange.request.body)
            answers = [result(one) for one in asked if "id" in one]
            if len(answers) == 3:
                answers += [error(1, message="second"), error("foreign")]
            await exchange.json(answers)

    async with FaultServer.running(Batching()) as server, Direct.to(server.url, owed=True) as client:
        await client.handshake()
        received = client.lines
        await client.remote.send([])
        batch = json.dumps([request(at) for at in (1, 2, 3)]).encode()
        reading = len(received)
        await _send_raw(client, batch)
        await client.until(lambda: len(received) == reading + 3)
        assert [json.loads(line)["id"] for line in received[reading:]] == [1, 2, 3]
        assert all("result" in json.loads(line) for line in received[reading:])


async def _send_raw(client: Direct, line: bytes) -> None:
    await client.write([line])


async def test_cancelled_call_that_was_answered_after_all() -> None:
    """The server's own answer within `cancel_grace` is the one outcome of a cancelled request."""

    class Answering(Script):
        async def call(self, exchange: Exchange) -> None:
            await exchange.open_stream()
            await cancelled.wait()
            await exchange.event(result(exchange.message, {"late": True}))
            await exchange.end()

        async def notification(self, exchange: Exchange) -> None:
            await exchange.reply(202)
            if exchange.message["method"] == "notifications/cancelled":
                cancelled.set()

    cancelled = asyncio.Event()
    async with FaultServer.running(Answering()) as server, Direct.to(server.url, limits=SMALL) as client:
        await client.handshake()
        with held_timers(SMALL.cancel_grace) as timers:
            await client.send(request(1))
            await client.send(note("notifications/cancelled", requestId=1))
            assert (await client.answer(1))["result"] == {"late": True}
            assert len(timers) == 1
            timers.go_off()
        assert "result" in await client.call(2)
        assert len(client.messages) == 3


async def test_one_cancelled_call_of_a_batch_takes_no_other_with_it() -> None:
    """It has its end after `cancel_grace`; the answer to the other call comes later, and is that call's outcome."""

    class Batching(Script):
        version = "2025-03-26"

        async def post(self, exchange: Exchange) -> None:
            if not exchange.request.body.startswith(b"["):
                await super().post(exchange)
                return
            await exchange.open_stream()
            await go_on.wait()
            await exchange.event(result({"id": 2}))
            await exchange.end()

    go_on = asyncio.Event()
    async with FaultServer.running(Batching()) as server, Direct.to(server.url, limits=SMALL, owed=True) as client:
        await client.handshake()
        with held_timers(SMALL.cancel_grace) as timers:
            await _send_raw(client, json.dumps([request(at) for at in (1, 2)]).encode())
            await client.send(note("notifications/cancelled", requestId=1))
            timers.go_off()
        assert (await client.answer(1))["error"]["code"] == replies.CANCELLED
        go_on.set()
        assert "result" in await client.answer(2)


@pytest.mark.parametrize("field", ["session", "version"])
async def test_hostile_handshake_values(field: str) -> None:
    """A session id or version that would break out of its header harms nobody: it is not sent, or an error says so."""

    class Hostile(Script):
        version = "1\r\nX-Evil: 1" if field == "version" else "2025-11-25"

        async def initialize(self, exchange: Exchange) -> None:
            session = "a\x7fb\x01" if field == "session" else "fine"
            self.live.add("fine")
            await exchange.json(self.welcome(exchange), headers={"Mcp-Session-Id": session})

    async with FaultServer.running(Hostile()) as server, Direct.to(server.url, limits=SMALL) as client:
        await client.handshake()
        for at in range(3):
            answer = await client.call(at)
            assert ("result" in answer) is (field == "session")
        assert not [one for one in server.requests if "x-evil" in one.headers]


async def test_id_in_use() -> None:
    """A second request under an id that waits gets an error under none."""
    release = asyncio.Event()

    class Held(Script):
        async def call(self, exchange: Exchange) -> None:
            await release.wait()
            await exchange.result()

    async with FaultServer.running(Held()) as server, Direct.to(server.url) as client:
        await client.handshake()
        await client.send(request(1))
        await client.send(request("1"))
        await client.send(request(1))
        await client.until(lambda: None in client.answers)
        assert client.answers[None]["error"]["code"] == -32600
        client.asked.remove(1)
        client.asked.append(None)  # as far as answers go: under its own id the client would take it for the first's
        release.set()
        await client.until(lambda: 1 in client.answers and "1" in client.answers)
        assert "result" in client.answers[1]
        assert len(server.posted("tools/call")) == 2


async def test_event_cut_anywhere() -> None:
    """An SSE answer that arrives in any two pieces is the same answer."""
    body = sse_event(result(request(1), {"text": "\u2028\u4e2d"}), event_id="é")

    class Cutting(Script):
        at = 0

        async def call(self, exchange: Exchange) -> None:
            await exchange.open_stream()
            data = body.replace(b'"id": 1', b'"id": %d' % exchange.message["id"])
            await exchange.chunk(data[: self.at])
            await exchange.chunk(data[self.at :])
            await exchange.end()

    script = Cutting()
    async with FaultServer.running(script) as server, Direct.to(server.url) as client:
        await client.handshake()
        for at in range(1, len(body) - 1):
            script.at = at
            assert (await client.call(at))["result"] == {"text": "\u2028\u4e2d"}
