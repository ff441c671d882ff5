"""Own stdio over pipes, sockets and regular files, read by the loop or by a thread."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from relay.endpoints.stdio import own_stdio
from relay.endpoints.stdio.own_stdio import OwnStdio
from relay.errors import EndpointBroken
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import Kind
from relay.limits import Limits
from relay.testing import CHECK_LIMITS, Capabilities, Pair, check_endpoint, joined
from relay.testing.pair import of_size, request, take
from tests.endpoints.socket.byte_far import ByteFar

Ends = tuple[int, int]


def pipe_ends() -> Ends:
    """Return (read, write) of a pipe."""
    return os.pipe()


def socket_ends() -> Ends:
    """Return (read, write) of a socket pair, which is what Node gives its children."""
    reading, writing = socket.socketpair()
    return reading.detach(), writing.detach()


def pairs_over(ends: Callable[[], Ends]) -> Callable[[Limits], contextlib.AbstractAsyncContextManager[Pair]]:
    """Make own stdio, and the client that launched it, over what ``ends`` makes."""

    @contextlib.asynccontextmanager
    async def make_pair(limits: Limits) -> AsyncIterator[Pair]:
        stdin, far_write = ends()
        far_read, stdout = ends()
        near = await OwnStdio.open(limits=limits, stdin=stdin, stdout=stdout)
        os.close(stdin)
        os.close(stdout)
        async with joined(near, await ByteFar.open(far_read, far_write, limits)) as pair:
            yield pair

    return make_pair


@pytest.mark.async_timeout(60)
@pytest.mark.parametrize("ends", [pipe_ends, socket_ends])
@pytest.mark.parametrize("threads", [False, True], ids=["loop", "threads"])
async def test_own_stdio(ends: Callable[[], Ends], threads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every law of an endpoint, also on the paths for what an event loop cannot poll."""
    if threads:
        monkeypatch.setattr(own_stdio, "_is_pollable", lambda fd: False)
    await check_endpoint(pairs_over(ends), Capabilities(most_buffered=2 * 2**20))


async def test_regular_files(tmp_path: Path) -> None:
    """``mcp-relay URL < file > file``: every line is a frame, the end of the file the end."""
    frames = [Frame(b'{"jsonrpc":"2.0","method":"n%d"}' % number) for number in range(5000)]
    (tmp_path / "in").write_bytes(b"".join(frame.raw + b"\r\n" for frame in frames)[:-2])
    with (tmp_path / "in").open("rb") as stdin, (tmp_path / "out").open("wb") as stdout:
        stdio = await OwnStdio.open(limits=CHECK_LIMITS, stdin=stdin.fileno(), stdout=stdout.fileno())
        received = await take(stdio, 10_000)
        await stdio.send(received[:2500])
        await stdio.send(received[2500:])
        await stdio.send_eof()
        await stdio.aclose()
    assert [frame.raw for frame in received] == [frame.raw for frame in frames]
    assert (tmp_path / "out").read_bytes() == b"".join(frame.raw + b"\n" for frame in frames)


async def test_a_large_file_is_read_as_fast_as_it_is_taken(tmp_path: Path) -> None:
    """A file of 20 MiB whose receiver is slow: at most the high mark and one read wait in memory."""
    (tmp_path / "in").write_bytes((request(1, 10_000).raw + b"\n") * 2000)
    with (tmp_path / "in").open("rb") as stdin, (tmp_path / "out").open("wb") as stdout:
        stdio = await OwnStdio.open(limits=CHECK_LIMITS, stdin=stdin.fileno(), stdout=stdout.fileno())
        count = most = 0
        while frames := await stdio.receive():
            count += len(frames)
            most = max(most, sum(len(frame.raw) for frame in frames))
            await asyncio.sleep(0.001)
        await stdio.aclose()
    assert count == 2000
    assert most <= CHECK_LIMITS.buffer_high + 256 * 1024 + 10_100


@pytest.mark.parametrize("threads", [False, True], ids=["loop", "threads"])
async def test_a_request_too_large_is_refused_with_its_id(threads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client gets -32003 for it; a response or a notification beyond the limit has nobody to tell."""
    if threads:
        monkeypatch.setattr(own_stdio, "_is_pollable", lambda fd: False)
    limits = Limits(max_frame_bytes=5000, close_grace=0.5)
    notice = Frame(b'{"method":"x","params":"' + b"x" * 6000 + b'"}')
    async with pairs_over(pipe_ends)(limits) as pair:
        await pair.far.send([of_size(7, 5001), notice, of_size(8, 5000)])
        assert [frame.head.id for frame in await take(pair.near, 1)] == [8]
        (refusal,) = await take(pair.far, 1)
        assert (refusal.head.kind, refusal.head.id) == (Kind.RESPONSE, 7)
        assert b'"code":%d' % replies.TOO_LARGE in refusal.raw and b"; --max-frame-bytes is " in refusal.raw
        assert b'"delivered":"no"' in refusal.raw
        await pair.near.send_eof()
        await pair.far.send([of_size(9, 5001), request(10)])
        assert [frame.head.id for frame in await take(pair.near, 1)] == [10]


@pytest.mark.parametrize("threads", [False, True], ids=["loop", "threads"])
async def test_a_client_that_stops_reading_breaks_it(threads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """EPIPE on stdout is EndpointBroken, for this send or the next, and for those after it."""
    if threads:
        monkeypatch.setattr(own_stdio, "_is_pollable", lambda fd: False)
    stdin, far_write = os.pipe()
    far_read, stdout = os.pipe()
    stdio = await OwnStdio.open(limits=CHECK_LIMITS, stdin=stdin, stdout=stdout)
    os.close(far_read)
    with pytest.raises(EndpointBroken, match="stdio"):
        while True:
            await stdio.send([request(1)])
            await asyncio.sleep(0.001)
    with pytest.raises(EndpointBroken):
        await stdio.send([request(2)])
    await stdio.aclose()
    for fd in (stdin, stdout, far_write):
        os.close(fd)


async def test_finish_is_an_end_that_we_make() -> None:
    """What came is received, then ``()``, though the client has not closed our stdin."""
    async with pairs_over(pipe_ends)(CHECK_LIMITS) as pair:
        near = pair.near
        assert isinstance(near, OwnStdio)
        await pair.far.send([request(1)])
        assert len(await take(near, 1)) == 1
        assert not near.is_finished
        near.finish()
        assert near.is_finished
        assert len(await near.receive()) == 0


async def test_the_process_own_stdout_is_taken_over(tmp_path: Path) -> None:
    """What is printed afterwards goes nowhere: stdout belongs to the protocol."""
    real_stdin, real_stdout = os.dup(0), os.dup(1)
    try:
        with (tmp_path / "in").open("wb") as stdin:
            stdin.write(b'{"jsonrpc":"2.0","method":"n"}')
        with (tmp_path / "in").open("rb") as stdin, (tmp_path / "out").open("wb") as stdout:
            os.dup2(stdin.fileno(), 0)
            os.dup2(stdout.fileno(), 1)
            stdio = await OwnStdio.open(limits=CHECK_LIMITS)
            os.write(1, b"print of a library\n")
            await stdio.send(await take(stdio, 1))
            await stdio.aclose()
            os.write(1, b"and another\n")
    finally:
        os.dup2(real_stdin, 0)
        os.dup2(real_stdout, 1)
        os.close(real_stdin)
        os.close(real_stdout)
    assert (tmp_path / "out").read_bytes() == b'{"jsonrpc":"2.0","method":"n"}\n'


async def test_requests_left_open_get_errors_before_the_end(tmp_path: Path) -> None:
    """Whatever ends the other side: each request that has no answer gets one error, a cancelled one none."""
    lines = [request(1).raw, request(2).raw, b'[{"jsonrpc":"2.0","id":"b","method":"x"}]', request(3).raw]
    lines.append(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}')
    (tmp_path / "in").write_bytes(b"\n".join(lines))
    with (tmp_path / "in").open("rb") as stdin, (tmp_path / "out").open("wb") as stdout:
        stdio = await OwnStdio.open(limits=CHECK_LIMITS, stdin=stdin.fileno(), stdout=stdout.fileno())
        await take(stdio, 5)
        await stdio.send([Frame(b'{"jsonrpc":"2.0","id":2,"result":{}}')])
        await stdio.aclose(EndpointBroken("the server has gone"))
    said = [json.loads(line) for line in (tmp_path / "out").read_bytes().splitlines()]
    assert said[0] == {"jsonrpc": "2.0", "id": 2, "result": {}}
    assert len(said) == 3 and {one["id"] for one in said[1:]} == {1, "b"}
    assert said[1]["error"]["message"] == "the request was lost: the server has gone"
    assert said[1]["error"]["data"] == {"delivered": "unknown"}


async def test_requests_that_no_task_has_received_get_errors_too() -> None:
    """A server that never started takes no request, so the client's request still waits in the inbox at the end."""
    async with pairs_over(pipe_ends)(CHECK_LIMITS) as pair:
        assert isinstance(pair.near, OwnStdio)
        await pair.far.send([request(7)])
        while not pair.near._reader.inbox.waiting:
            await asyncio.sleep(0)
        await pair.near.aclose(EndpointBroken("the server never started"))
        (answer,) = await pair.far.receive()
        assert (answer.head.id, answer.head.kind) == (7, Kind.RESPONSE)
        assert b"the server never started" in answer.raw


def test_on_windows_nothing_is_polled(monkeypatch: pytest.MonkeyPatch) -> None:
    """There pipes cannot be, and threads read and write them."""
    reading, writing = os.pipe()
    assert own_stdio._is_pollable(reading)
    monkeypatch.setattr(own_stdio, "os", SimpleNamespace(name="nt"))
    assert not own_stdio._is_pollable(reading)
    os.close(reading)
    os.close(writing)
