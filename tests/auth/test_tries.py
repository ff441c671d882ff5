"""How often a request is sent again after a refusal, and how many may wait: the law of all ways to a server."""

from __future__ import annotations

import asyncio

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from relay.auth.outbound.credentials import LoginFailed
from relay.auth.outbound.tries import PAUSE, ServerLogin, Tries, challenges_in
from relay.frames.frame import Frame
from relay.limits import Limits
from tests.auth.counted import CountedCredentials

NO_CHALLENGE: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())
SCOPE = CIMultiDictProxy(CIMultiDict({"WWW-Authenticate": 'Bearer error="insufficient_scope", scope="a"'}))
CALL = Frame(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{}}}')
pytestmark = pytest.mark.only_loop("asyncio")


def opened(
    credentials: CountedCredentials, now: list[float] | None = None, limits: Limits | None = None
) -> ServerLogin:
    return ServerLogin(credentials, "http://h/mcp", limits=limits or Limits(), clock=lambda: (now or [0.0])[0])


async def sends(tries: Tries, status: int, headers: CIMultiDictProxy[str] = NO_CHALLENGE) -> int:
    """Return how often a request is sent to a server that always answers so."""
    for count in range(1, 20):
        await tries.headers()
        if not await tries.may_send_again(status, headers):
            return count
    raise AssertionError("an endless loop")


async def test_a_server_that_always_refuses_sees_three_requests_then_one_each() -> None:
    """One refresh and one login; for a while every other refusal stands, and then there is another try."""
    now = [0.0]
    credentials = CountedCredentials(number=1)
    login = opened(credentials, now)
    assert await sends(login.tries(CALL), 401) == 3
    assert [await sends(login.tries(CALL), 401) for _ in range(3)] == [1, 1, 1]
    assert len(credentials.renewed) == 2
    now[0] += PAUSE
    assert await sends(login.tries(CALL), 401) == 3


async def test_a_login_without_a_refresh_is_tried_once() -> None:
    """As for client credentials."""
    credentials = CountedCredentials(number=1)
    credentials.renewals = 1
    assert await sends(opened(credentials).tries(CALL), 401) == 2


@pytest.mark.parametrize(("status", "headers", "count"), [(403, SCOPE, 3), (403, NO_CHALLENGE, 1), (404, SCOPE, 1)])
async def test_which_refusals_lead_to_a_renewal(status: int, headers: CIMultiDictProxy[str], count: int) -> None:
    """A 403 only if it names a missing scope; then it says which request wanted it, and what was sent."""
    credentials = CountedCredentials(number=1)
    assert await sends(opened(credentials).tries(CALL), status, headers) == count
    assert len(credentials.renewed) == count - 1
    for refusal in credentials.renewed[:1]:
        assert refusal is not None
        assert (refusal.status, refusal.challenges) == (403, (SCOPE["WWW-Authenticate"],))
        assert (refusal.method, refusal.name, refusal.is_background) == ("tools/call", "add", False)
        assert refusal.sent == {"Authorization": "Bearer canary-token-1"}


async def test_a_refusal_of_old_headers_needs_no_renewal() -> None:
    """Another request has renewed them meanwhile."""
    credentials = CountedCredentials(number=2)
    tries = opened(credentials).tries(CALL, sent={"Authorization": "Bearer canary-token-1"})
    assert await tries.may_send_again(401, NO_CHALLENGE)
    assert credentials.renewed == []


async def test_a_renewal_that_changes_nothing_lets_the_refusal_stand() -> None:
    """The request is not sent again, and the next refusal stands at once."""
    credentials = CountedCredentials(number=1)
    credentials.is_stuck = True
    login = opened(credentials)
    assert [await sends(login.tries(CALL), 401) for _ in range(2)] == [1, 1]
    assert len(credentials.renewed) == 1


async def test_a_failed_login_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Every request gets the error; the next one may try again."""
    credentials = CountedCredentials()
    credentials.failure = "http://h/mcp: nobody logged in; open https://as/authorize"
    login = opened(credentials)
    for _ in range(3):
        with pytest.raises(LoginFailed, match="open https://as/authorize"):
            await sends(login.tries(CALL), 401)
    assert [record.getMessage() for record in caplog.records] == [credentials.failure]
    credentials.failure = None
    tries = login.tries(CALL)
    assert await tries.may_send_again(401, NO_CHALLENGE)
    assert not await tries.may_send_again(200, NO_CHALLENGE)


@pytest.mark.parametrize("limits", [Limits(max_login_frames=2), Limits(max_login_bytes=len(CALL.raw) * 2)])
async def test_only_so_many_requests_wait(limits: Limits) -> None:
    """By number and by bytes; the one too many gets an error, and there is room again afterwards."""
    credentials = CountedCredentials()
    credentials.may_go_on.clear()
    login = opened(credentials, limits=limits)
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(login.tries(CALL).may_send_again(401, NO_CHALLENGE)) for _ in range(2)]
        while len(credentials.renewed) < 2:
            await asyncio.sleep(0)
        assert login.is_under_way
        with pytest.raises(LoginFailed, match="2 requests of .* wait for the login already"):
            await login.tries(CALL).may_send_again(401, NO_CHALLENGE)
        credentials.may_go_on.set()
    assert [task.result() for task in waiting] == [True, True]
    assert not login.is_under_way
    assert login.may_wait(len(CALL.raw))


async def test_the_time_of_a_login_is_not_the_deadline_s() -> None:
    """The deadline stops during the login and runs on afterwards."""
    credentials = CountedCredentials()
    credentials.may_go_on.clear()
    async with asyncio.timeout(30) as patience:
        tries = opened(credentials).tries(CALL, patience=patience)
        task = asyncio.get_running_loop().create_task(tries.may_send_again(401, NO_CHALLENGE))
        while not credentials.renewed:
            await asyncio.sleep(0)
        assert tries.is_waiting and patience.when() is None
        credentials.may_go_on.set()
        assert await task
        assert not tries.is_waiting and patience.when() is not None


@pytest.mark.parametrize(
    ("url", "is_for"),
    [("http://h:80/", True), ("HTTP://H/x", True), ("ws://h/", True), ("https://h/mcp", False), ("http://h.x/", False)],
)
def test_a_login_is_for_one_origin(url: str, is_for: bool) -> None:
    """By HTTP or by WebSocket."""
    assert opened(CountedCredentials()).is_for(url) is is_for


def test_challenges_are_read_from_every_line_and_both_names() -> None:
    """AWS API Gateway renames the header."""
    headers = CIMultiDict([("www-authenticate", "Basic"), ("WWW-Authenticate", "Bearer")])
    headers.add("X-Amzn-Remapped-WWW-Authenticate", "Bearer x=1")
    assert challenges_in(headers) == ("Basic", "Bearer", "Bearer x=1")
    httpx = pytest.importorskip("httpx")
    assert challenges_in(httpx.Headers(list(headers.items()))) == ("Basic", "Bearer", "Bearer x=1")
