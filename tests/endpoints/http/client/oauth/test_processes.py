"""Several processes with one store: one refresh, one window, whichever of them dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from relay.endpoints.http.client.oauth.store import Store
from tests import warm_start
from tests.e2e.conversation import INITIALIZE as HELLO
from tests.endpoints.http.client.oauth.authority import Authority, authority
from tests.endpoints.http.client.oauth.house import Browser, house

pytestmark = [
    pytest.mark.only_loop("uvloop"),
    pytest.mark.skipif(sys.platform == "win32", reason="kill -9, and a browser by BROWSER"),
]
BROWSER = Path(__file__).with_name("browser.py")
INITIALIZE = {**HELLO, "id": 0}
CALLER = "tests.endpoints.http.client.oauth.caller"


@contextlib.asynccontextmanager
async def processes(number: int, *words: str, browser: str = "", **variables: str) -> AsyncIterator[Any]:
    """Start Python programs, with a browser that BROWSER names."""
    shown = f"{shlex.quote(sys.executable)} -S {shlex.quote(str(BROWSER))} %s {browser}".strip()
    pipe = asyncio.subprocess.PIPE
    environment = {**os.environ, "BROWSER": shown, **variables}
    started = [
        await warm_start.Process.start(
            sys.executable, "-m", *words, stdin=pipe, stdout=pipe, stderr=pipe, env=environment
        )
        for _ in range(number)
    ]
    try:
        yield started
    finally:
        for one in started:
            with contextlib.suppress(ProcessLookupError):
                one.kill()
            await one.wait()
            one.close()


def callers(place: Authority, folder: Path, number: int, calls: int, *, browser: str = "") -> Any:
    """Start processes that wait for the word, and then make calls."""
    return processes(number, CALLER, place.url, str(folder), str(calls), browser=browser)


async def begin(process: Any) -> None:
    """Say the word."""
    process.stdin.write(b"\n")
    await process.stdin.drain()


async def counts(process: Any) -> dict[str, Any]:
    """Read what a process counted."""
    line = await process.stdout.readline()
    return dict(json.loads(line)) if line else {"died": (await process.stderr.read()).decode()}


async def fifty_calls(relay: Any) -> list[int]:
    """Make 50 calls at once through a relay on stdio; return the ids of the good answers, in order."""
    lines = [json.dumps(INITIALIZE)]
    lines += [json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/list"}) for number in range(1, 50)]
    relay.stdin.write("\n".join([*lines, ""]).encode())
    answers = [json.loads(await relay.stdout.readline()) for _ in lines]
    return sorted(answer["id"] for answer in answers if "result" in answer)


@pytest.mark.async_timeout(100)
async def test_eight_relays_of_fifty_calls_refresh_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """O-33: at expiry, against rotation and reuse detection: 1 refresh, no invalid_grant, 400 answers, no window."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        await here.call(here.start())
        async with processes(8, "relay", place.url, MCP_RELAY_AUTH_DIR=str(here.folder)) as relays:
            place.expire()
            found = await asyncio.gather(*map(fifty_calls, relays))
        assert found == [list(range(50))] * 8
        assert len(place.grants_of("refresh_token")) == 1 and not place.refused
        assert len(place.authorizations) == 1


async def test_a_refresh_that_is_killed_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """O-33, O-43: kill -9 while the token endpoint has not answered; the lock ends with the process."""
    async with authority() as place, house(place, tmp_path, monkeypatch) as here:
        await here.call(here.start())
        place.expire()
        has_come, may_go = asyncio.Event(), asyncio.Event()

        async def hold(request: web.Request) -> web.Response:
            has_come.set()
            await may_go.wait()
            return web.Response(status=503)

        place.replies["POST /token"] = hold
        async with callers(place, here.folder, 3, 5) as (victim, *others):
            await begin(victim)
            await has_come.wait()
            await asyncio.gather(*map(begin, others))
            victim.kill()
            await victim.wait()
            place.replies.clear()
            may_go.set()
            assert await asyncio.gather(*map(counts, others)) == [{"good": 5, "faults": []}] * 2
        assert len(place.grants_of("refresh_token")) == 1 and not place.refused
        assert len(place.authorizations) == 1


@pytest.mark.async_timeout(100)
async def test_processes_that_start_at_once_open_one_window(tmp_path: Path) -> None:
    """O-27, O-33: with a real browser process, which BROWSER names; the callback is not too early for it."""
    async with authority() as place, callers(place, tmp_path / "store", 4, 3) as started:
        await asyncio.gather(*map(begin, started))
        assert await asyncio.gather(*map(counts, started)) == [{"good": 3, "faults": []}] * 4
        assert len(place.authorizations) == len(place.registrations) == len(place.forms) == 1


@pytest.mark.async_timeout(100)
async def test_a_window_survives_the_process_that_opened_it(tmp_path: Path) -> None:
    """O-23, O-26: kill -9 during the login; the next process listens on the same port for the same state."""
    async with authority() as place, callers(place, tmp_path / "store", 2, 1, browser="away") as (victim, heir):
        await begin(victim)
        told = (await victim.stderr.readline()).decode()
        victim.kill()
        await victim.wait()
        await begin(heir)
        assert (await heir.stderr.readline()).decode().rpartition(" ")[2] == told.rpartition(" ")[2]
        browser = Browser()
        await browser.visit(told.rpartition(" ")[2].strip())
        assert await counts(heir) == {"good": 1, "faults": []}
        assert browser.pages[0][0] == 200 and len(place.authorizations) == 1 == len(place.registrations)


async def test_a_relay_that_is_told_to_end_waits_for_no_person(tmp_path: Path) -> None:
    """SIGTERM while a call waits for a login: the call gets an error, and the relay ends before its drain is over."""
    store = str(tmp_path / "store")
    async with (
        authority() as place,
        processes(1, "relay", place.url, browser="away", MCP_RELAY_AUTH_DIR=store) as (relay,),
    ):
        relay.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
        assert b"a login is needed" in await relay.stderr.readline()
        relay.terminate()
        answer = json.loads(await relay.stdout.readline())
        assert answer["id"] == 0 and "shutting down" in answer["error"]["message"]
        await relay.wait()
        assert Store(Path(store)).window(place.url, "") is not None, "the next start can complete it"
