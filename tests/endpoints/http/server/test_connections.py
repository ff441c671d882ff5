"""ConnectionServer: what every answer has in common, and what is said when the relay itself fails."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator

import pytest

from relay.endpoints.http.listening import ListeningOptions
from relay.endpoints.http.server.listener import HttpListener
from relay.endpoints.http.server.stream import EventStream
from relay.limits import Limits
from tests.e2e.oracle import Client, Response, notification, request
from tests.endpoints.http.house import answer, house, posted, refused


@contextlib.asynccontextmanager
async def failing() -> AsyncIterator[Client]:
    """Listen with a status of which the relay cannot speak; yield a client."""

    def fail() -> dict[str, object]:
        raise RuntimeError("a bug with canary in it")

    listener = HttpListener(options=ListeningOptions(limits=Limits(close_grace=0.2)), status=fail)
    await listener.start()
    try:
        async with Client(listener.base_url) as client:
            yield client
    finally:
        await listener.aclose()


async def test_no_answer_says_what_the_relay_is_written_in() -> None:
    """Neither the quick answers nor the others: a version tells strangers which holes to try."""
    async with house(Limits(answer_wait=0.05)) as there:
        client, session = await there.begin()
        posting = await posted(client, session, request(1, "x"))
        await session.send([answer(1)])
        malformed = await client.wire()
        malformed.writer.write(b"not http at all\r\n\r\n")
        answers: list[Response] = [
            await posting,
            await client.post(notification("a")),
            await client.post(request(2, "becomes a stream")),
            await client.listen(),
            await client.request("GET", "/health"),
            await client.request("GET", "/nowhere"),
            await client.request("GET", "/health", {"origin": "http://evil.example"}),
            await malformed.response(),
        ]
        assert [one.status for one in answers] == [200, 202, 200, 200, 200, 404, 403, 400]
        assert not [one.headers["server"] for one in answers if "server" in one.headers]


async def test_a_failure_of_ours_is_an_error_and_a_traceback_for_the_operator(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """500 with a JSON-RPC error that tells strangers nothing, the connection closed, and the listener lives on."""
    async with failing() as client:
        wire = await client.wire()
        await wire.send("GET", "/status")
        error = await refused(await wire.response(), 500)
        assert error["error"]["message"] == "the relay failed at this request"
        assert await wire.reader.read() == b""
        assert (await client.request("GET", "/health")).status == 200
    (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert record.getMessage() == "http: GET /status: unexpected RuntimeError"
    assert record.exc_info is not None and "canary" in str(record.exc_info[1])


async def test_a_failure_amid_an_answer_cuts_it_off(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A second answer behind half of the first would be read as part of it: the connection is closed."""

    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(EventStream, "feed", fail)
    async with house(Limits(close_grace=0.2)) as there:
        client, _ = await there.begin()
        wire = await client.wire()
        headers = {"accept": "text/event-stream", "mcp-session-id": str(client.session)}
        await wire.send("GET", "/mcp", list(headers.items()))
        stream = await wire.response()
        assert (stream.status, stream.is_stream) == (200, True)
        rest = await wire.reader.read()
        assert b"HTTP/1.1" not in rest and not rest.endswith(b"0\r\n\r\n"), "not a proper end either"
        assert (await client.request("GET", "/health")).status == 200
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR] == [
        "http: GET /mcp: unexpected RuntimeError"
    ]
