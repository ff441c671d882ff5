"""What a connection remembers of a client that was let in: until its end, and while the rules are the same."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from relay.auth.origin import OriginPolicy
from relay.endpoints.http import gate, steps
from relay.endpoints.http.decisions import Admission, Purpose
from relay.endpoints.http.gate import ORDERS, Gate, Order
from relay.endpoints.http.server.fast_connection import FastConnection
from relay.endpoints.http.walk import Walk
from tests.e2e.oracle import notification
from tests.endpoints.http.house import house
from tests.endpoints.http.server.test_fast_connection import Line, ask

pytestmark = pytest.mark.shortcuts

FRAME = notification("notifications/roots/list_changed")
POSTS = pytest.mark.parametrize("parts", [1, 2])


class Nowhere(OriginPolicy):
    """Rules by which nobody is let in."""

    def admits_host(self, host: str | None) -> bool:
        return False


@contextlib.asynccontextmanager
async def let_in() -> AsyncIterator[Line]:
    """Yield a connection whose head was let in, before a listener that would not let it in any more."""
    async with house() as opened:
        line = await Line(opened).begin()
        opened.listener._context.gate.policy = Nowhere("127.0.0.1")
        yield line
        line.wire.close()


def walk_of(line: Line) -> Walk:
    """Return what the connection of a line remembers."""
    http = line.house.listener._http
    assert http is not None
    known = [one.remembered for one in http.connections if isinstance(one, FastConnection) and one.remembered]
    (remembered,) = known
    return remembered.walk


async def post(line: Line, parts: int) -> int:
    """POST a notification, or first its head and then its body, which is a task's; return the status."""
    if parts == 1:
        response = await ask(line.wire, line.headers, FRAME)
    else:
        first = [("Host", line.house.base.removeprefix("http://")), ("Content-Length", str(len(FRAME)))]
        lines = "\r\n".join(map(": ".join, [*first, *line.headers]))
        line.wire.writer.write(f"POST /mcp HTTP/1.1\r\n{lines}\r\n\r\n".encode())
        await asyncio.sleep(0.05)
        line.wire.writer.write(FRAME)
        response = await line.wire.response()
    await response.body()
    return response.status


@POSTS
async def test_rules_that_have_changed_are_asked_again(parts: int) -> None:
    """By the next request on a connection that was let in, whichever way it is carried; not before they change."""
    async with let_in() as line:
        assert await post(line, parts) == 202
        line.house.listener._context.renew()
        assert await post(line, parts) == 421


@POSTS
async def test_an_admission_that_has_ended_is_none(parts: int) -> None:
    """Its end is by the loop's clock."""
    async with let_in() as line:
        now, generation = asyncio.get_running_loop().time(), line.house.listener._context.gate.generation
        walk_of(line).admission = Admission("somebody", now + 60, generation)
        assert await post(line, parts) == 202
        walk_of(line).admission = Admission("somebody", now, generation)
        assert await post(line, parts) == 421


async def test_what_is_let_in_again_is_remembered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole gate is asked once for each head and each generation, not for each request."""
    asked: list[str] = []

    def source(of: Gate, walk: Walk) -> None:
        asked.append(walk.request.path)
        assert steps.source(of, walk) is None

    order = ORDERS[Purpose.POST_IN_SESSION]
    watched = Order((source, *order.of_head[1:]), order.of_size, order.of_body)
    monkeypatch.setattr(gate, "ORDERS", {**ORDERS, Purpose.POST_IN_SESSION: watched})
    async with house() as opened:
        line = await Line(opened).begin()
        before = len(asked)
        for parts in (1, 2, 1):
            assert await post(line, parts) == 202
        assert len(asked) == before
        opened.listener._context.renew()
        for parts in (1, 2, 1):
            assert await post(line, parts) == 202
        assert len(asked) == before + 1
        line.headers.append(("X-New", "1"))
        assert await post(line, 1) == 202
        assert len(asked) == before + 2
        line.wire.close()
