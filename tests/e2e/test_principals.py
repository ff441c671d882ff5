"""64 clients of 4 principals at once, with the same ids, tokens and guesses at sessions: nothing crosses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.oracle import Client, Oracle, Relay, Response, notification, request, run_relay
from tests.e2e.test_sharing import META, MODERN, reported

pytestmark = [pytest.mark.only_loop("uvloop"), pytest.mark.timeout(120)]

PRINCIPALS = ("ada", "bob", "cyd", "dan")
EACH = 16  # clients of each principal
NAMES = ("1", '"1"', "2", '"2"', str(2**53 + 1), '""')  # the ids, and the progress tokens, of every client


class Member(Client):
    """A client of one principal."""

    def __init__(self, relay: Relay, principal: str, number: int, *, modern: bool) -> None:
        super().__init__(relay.base, f"{principal} {number}")
        self.principal = principal
        self.modern = modern
        self.oracle = Oracle()

    async def post(self, frame: bytes, **headers: str | None) -> Response:
        if self.modern:
            method = json.loads(frame)["method"]
            headers = {"mcp-protocol-version": MODERN, "mcp-method": method, **headers}
        return await super().post(frame, **{"authorization": f"Bearer {token_of(self.principal)}", **headers})

    async def call_all(self) -> None:
        """Make all calls; each is answered when all calls of its principal's server have come."""
        async with asyncio.TaskGroup() as group:
            for name in NAMES:
                group.create_task(self._call_one(name))
        self.oracle.finish(len(NAMES))

    async def _call_one(self, name: str) -> None:
        meta = "".join(f"{json.dumps(key)}:{json.dumps(value)}," for key, value in META.items()) if self.modern else ""
        count = len(NAMES) * (EACH if self.shares else 1)
        more = f'"of":{count},"count":2,"_meta":{{{meta}"progressToken":{name}}}'
        *before, answer = await self.call(self.oracle.ask(self.name, name, "gather", more=more))
        assert before == [reported(name, number) for number in range(2)], (self.name, name, before)
        found = json.loads(answer)["result"]["params"]["_meta"]["progressToken"]
        told = answer.replace(f'"progressToken":{json.dumps(found)}'.encode(), b'"progressToken":' + name.encode())
        self.oracle.judge(self.name, told)

    shares = False


def token_of(principal: str) -> str:
    return f"{principal}-" + principal * 12


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[str]:
    file = tmp_path / "tokens"
    file.write_text("".join(f"{name} {token_of(name)}\n" for name in PRINCIPALS))
    yield f"file:{file}"


@pytest.mark.parametrize("share", ["session", "shared", "modern"])
async def test_64_clients_of_4_principals(share: str, tokens: str) -> None:
    """Every answer and every notification comes to the client that asked, and each principal has servers of its own."""
    more = ("--share", "shared") if share == "shared" else ()
    with run_relay("--accept-token", tokens, "--drain-timeout", "1", *more) as relay:
        members = [
            Member(relay, principal, number, modern=share == "modern")
            for number in range(EACH)
            for principal in PRINCIPALS
        ]
        try:
            for member in members:
                member.shares = share != "session"
            if share != "modern":
                async with asyncio.TaskGroup() as group:
                    for member in members:
                        group.create_task(member.begin())
            async with asyncio.TaskGroup() as group:
                for member in members:
                    group.create_task(member.call_all())
                    if share != "modern":
                        group.create_task(_guess(member, members))
            pids = await _pids(members)
            for principal in PRINCIPALS:
                others = {pid for member, pid in pids.items() if member.principal != principal}
                own = {pid for member, pid in pids.items() if member.principal == principal}
                assert not own & others and len(own) == (EACH if share == "session" else 1)
            if share != "modern":
                assert {await member.end() for member in members[:4]} == {401}  # an id alone is worth nothing
        finally:
            for member in members:
                member.close()


async def _guess(member: Member, members: list[Member]) -> None:
    """Use the sessions of all others: post, listen and delete; every answer is that of a session that never was."""
    told = set()
    bearer = {"authorization": f"Bearer {token_of(member.principal)}"}
    for other in [one for one in members if one.principal != member.principal][:2] + [None]:
        session = other.session if other is not None else "x" * 43
        for response in (
            await member.post(request(1, "pid"), mcp_session_id=session),
            await member.post(notification("notifications/cancelled", requestId=1), mcp_session_id=session),
            await member.listen(mcp_session_id=session, **bearer),
            await member.request("DELETE", "/mcp", {"mcp-session-id": session, **bearer}),
        ):
            told.add((response.status, await response.body()))
            member._idle.append(response.wire)
    assert len(told) == 1 and next(iter(told))[0] == 404, told


async def _pids(members: list[Member]) -> dict[Member, int]:
    """Ask every client's server who it is."""
    found = {}
    for member in members:
        frame = request(1, "pid", _meta=META) if member.modern else request(1, "pid")
        (answer,) = await member.call(frame)
        found[member] = json.loads(answer)["result"]["pid"]
    return found
