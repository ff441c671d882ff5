"""aiohttp's private state: the table names all that the code uses, and without it the relay still works."""

from __future__ import annotations

import ast
import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

import relay
from relay.endpoints.http import aiohttp_private
from relay.endpoints.http.aiohttp_private import Part
from relay.endpoints.http.client.connector import new_connector
from relay.endpoints.http.client.kept import KeepingConnector
from tests.e2e.oracle import request
from tests.endpoints.http.house import answer, house, initialized

PACKAGE = Path(relay.__file__).parent
PARTS: list[Part] = ["listener", "client", "websocket"]
OF_OTHERS = {"_uri_reference", "_replace"}  # httpx's and a named tuple's


def own_names(tree: ast.AST) -> Iterator[str]:
    """Yield what a module defines itself: functions, classes, variables, slots and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            yield node.value


def private_uses(room: str) -> dict[str, set[str]]:
    """Return the private attributes that a room uses and the package does not define, each with the files."""
    trees = {path: ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py") if path.name != "aiohttp_private.py"}
    ours = {name for tree in trees.values() for name in own_names(tree)}
    for tree in trees.values():  # what an object of ours sets in its own __init__
        for made in ast.walk(tree):
            if isinstance(made, ast.FunctionDef) and made.name == "__init__":
                ours |= {
                    n.attr for n in ast.walk(made) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)
                }
    found: dict[str, set[str]] = {}
    for path, tree in trees.items():
        for node in ast.walk(tree) if path.is_relative_to(PACKAGE / room) else ():
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                if node.attr not in ours | OF_OTHERS:
                    found.setdefault(node.attr, set()).add(path.name)
    return found


def test_the_table_has_all_that_is_used() -> None:
    """Who uses another private name of aiohttp's must put it into the table."""
    known = {name for part in PARTS for _, names in aiohttp_private._NAMES[part] for name in names}
    used = private_uses("endpoints")
    assert len(used) > 15, "the search finds what it looks for"
    assert {name: where for name, where in used.items() if name not in known} == {}


@pytest.mark.parametrize("part", PARTS)
def test_this_aiohttp_has_all(part: Part) -> None:
    """The version that is installed is one that the relay is made for."""
    assert aiohttp_private.missing_from(part) == []


@pytest.fixture
def without(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Part]:
    """Have an aiohttp that lacks one thing which a part relies on."""
    part: Part = request.param
    names = aiohttp_private._NAMES
    more = (*names[part], ("aiohttp.web:Server", ("_no_more",)))
    monkeypatch.setattr(aiohttp_private, "_NAMES", {**names, part: more})
    aiohttp_private.has.cache_clear()
    yield part
    aiohttp_private.has.cache_clear()


@pytest.mark.parametrize("without", PARTS, indirect=True)
async def test_what_is_missing_costs_speed_and_nothing_else(without: Part, caplog: pytest.LogCaptureFixture) -> None:
    """Calls by HTTP go on in both directions, and one warning names what is missing."""
    with caplog.at_level(logging.WARNING, logger="relay"):
        async with house() as opened:
            client = relay.connect(opened.listener.url)
            first = relay.Frame(request(0, "initialize", protocolVersion="2025-11-25", capabilities={}))
            asking = asyncio.get_running_loop().create_task(
                client.send([first])
            )  # which waits until it knows the transport
            session = await opened.session()
            assert [frame.head.method for frame in await session.receive()] == ["initialize"]
            await session.send([initialized()])
            await asking
            assert [frame.head.id for frame in await client.receive()] == [0]
            for number in range(1, 5):
                await client.send([relay.Frame(request(number, "x"))])
                assert [frame.head.id for frame in await session.receive()] == [number]
                await session.send([answer(number)])
                assert [frame.head.id for frame in await client.receive()] == [number]
            async with aiohttp.ClientSession() as people, people.ws_connect(opened.listener.url) as socket:
                await socket.send_str(request(1, "initialize", protocolVersion="2025-11-25").decode())
                page = await anext(opened._sessions)
                assert [frame.head.id for frame in await page.receive()] == [1]
                await page.send([initialized(request_id=1)])
                assert (await socket.receive_json(timeout=20))["id"] == 1
                await page.aclose()
            await client.aclose()
    told = [record.message for record in caplog.records if "lacks Server._no_more" in record.message]
    assert len(told) == 1, caplog.text


@pytest.mark.parametrize("without", ["client"], indirect=True)
async def test_connections_are_aiohttps_own(without: Part) -> None:
    """Without what it relies on, the pool that knows each connection's time is not made."""
    connector = new_connector(None, is_tls=False)
    assert not isinstance(connector, KeepingConnector)
    await connector.close()
