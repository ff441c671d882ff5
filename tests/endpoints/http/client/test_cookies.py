"""Cookies: RFC 6265 as a table, and the same laws over every way in which the relay dials by HTTP."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest
from aiohttp import web

import relay
from relay.auth.outbound.logins import DigestLogin
from relay.endpoints.http.client.cookies import CookieJar, SessionJars
from relay.endpoints.http.client.login import open_login
from relay.frames.frame import Frame
from tests.e2e.conversation import Direct, request
from tests.e2e.fault_server import Exchange, FaultServer, Script, SseScript, error, result
from tests.e2e.oracle import initialize
from tests.e2e.oracle import request as encoded
from tests.endpoints.http.modern_house import ask, headers_for
from tests.endpoints.http.through.test_pass_through import hop

NOW = 1_800_000_000.0
STICKY = 'AWSALB=a/b+c=="d" e,f%2Fg:é'  # what SimpleCookie would quote, or refuse


def _jar(host: str = "mcp.example.com", *, is_secure: bool = False, own: str = "") -> CookieJar:
    return CookieJar(host, is_secure=is_secure, own=own, clock=lambda: NOW)


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        (STICKY, STICKY),
        ('a="quoted"', 'a="quoted"'),
        ("  a =\t b c  ; HttpOnly; SameSite=None; Partitioned", "a=b c"),
        ("a=b=c==", "a=b=c=="),
        ("a=", "a="),
        ("a", ""),
        ("=b", ""),
        ("; a=b", ""),
        ("a=b\x07", ""),
        ("a=b\udce9", ""),
        ("a=" + "x" * 4095, "a=" + "x" * 4095),
        ("a=" + "x" * 4096, ""),
        # Domain: of the host, or of what it is in.
        ("a=b; Domain=mcp.example.com", "a=b"),
        ("a=b; Domain=.Example.COM", "a=b"),
        ("a=b; Domain=", "a=b"),
        ("a=b; Domain=other.example.com", ""),
        ("a=b; Domain=evil.com", ""),
        ("a=b; Domain=ample.com", ""),
        ("a=b; Domain=evil.com; Domain=example.com", "a=b"),
        # Path: without one, the folder of the request.
        ("a=b; Path=/", "a=b"),
        ("a=b; Path=/v1", "a=b"),
        ("a=b; Path=/v1/mcp", "a=b"),
        ("a=b; Path=/v1/mcp/", ""),
        ("a=b; Path=/v1/m", ""),
        ("a=b; Path=/v", ""),
        ("a=b; Path=/elsewhere", ""),
        ("a=b; Path=elsewhere", "a=b"),
        ("a=b; Secure", ""),
        # Time: Max-Age before Expires, what is none is ignored.
        ("a=b; Max-Age=1", "a=b"),
        ("a=b; Max-Age=0", ""),
        ("a=b; Max-Age=-1", ""),
        ("a=b; Max-Age=1x", "a=b"),
        ("a=b; Max-Age=" + "9" * 400, "a=b"),
        ("a=b; Max-Age=00000000000001", "a=b"),
        ("a=b; Expires=Thu, 01 Jan 1970 00:00:00 GMT", ""),
        ("a=b; Expires=Thu, 01-Jan-70 00:00:00 GMT", ""),
        ("a=b; Expires=Thu Jan  1 00:00:00 1970", ""),
        ("a=b; Expires=Fri, 15 Jan 2027 08:00:00 GMT", ""),
        ("a=b; Expires=Fri, 15 Jan 2027 08:00:01 GMT", "a=b"),
        ("a=b; Expires=Sun, 31 Feb 1999 00:00:00 GMT", "a=b"),
        ("a=b; Expires=soon", "a=b"),
        ("a=b; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=5", "a=b"),
        ("a=b; Expires=Fri, 15 Jan 2099 08:00:01 GMT; Max-Age=0", ""),
    ],
)
def test_what_is_set_is_sent_back_as_it_was(line: str, sent: str) -> None:
    """RFC 6265, 5.1 to 5.4, one cookie at a time."""
    jar = _jar()
    jar.take([line], "/v1/mcp?q=/x/y")
    assert jar.header("/v1/mcp?x") == sent


@pytest.mark.parametrize(
    ("host", "domain", "is_kept"),
    [("127.0.0.1", "127.0.0.1", True), ("127.0.0.1", "0.0.1", False), ("[::1]", "::1", True), ("::1", ":1", False)],
)
def test_domain_of_an_address(host: str, domain: str, is_kept: bool) -> None:
    """A cookie of an IP address is kept, and belongs to nothing but itself."""
    jar = _jar(host)
    jar.take(["a=b", f"c=d; Domain={domain}"], "/mcp")
    assert jar.header("/mcp") == ("a=b; c=d" if is_kept else "a=b")


def test_secure_cookie_goes_by_tls_alone() -> None:
    """Over https a Secure cookie is sent."""
    jar = _jar(is_secure=True)
    jar.take(["a=b; Secure"], "/mcp")
    assert jar.header("/mcp") == "a=b"


def test_order_and_replacement() -> None:
    """Longer paths first, then the older; a cookie that is set again keeps its age; a past date takes it away."""
    jar = _jar()
    jar.take(["a=1; Path=/", "b=2; Path=/", "c=3; Path=/mcp", "a=4; Path=/"], "/mcp")
    assert jar.header("/mcp") == "c=3; a=4; b=2"
    jar.take(["b=; Path=/; Max-Age=0", "c=5"], "/mcp")
    assert jar.header("/mcp") == "c=3; a=4; c=5"


def test_cookie_ends_in_time() -> None:
    """A header that was made before is not sent any more once one of its cookies is over."""
    now = NOW
    jar = CookieJar("h", is_secure=False, clock=lambda: now)
    jar.take(["a=1; Max-Age=10", "b=2"], "/")
    assert jar.header("/") == "a=1; b=2"
    now += 10
    assert jar.header("/") == "b=2"


def test_operators_cookies_stand_in_the_same_header() -> None:
    """The operator's Cookie header is sent with what the server sets, which wins where both have a name."""
    jar = _jar(own="me=1; lb=old")
    assert jar.header("/") == "me=1; lb=old"
    jar.take(["lb=new"], "/")
    assert jar.header("/") == "me=1; lb=new"


def test_jars_are_bounded() -> None:
    """50 cookies, 16 KiB; sessions together 16 MiB; a session that the server does not know gets no jar."""
    jar = _jar()
    jar.take([f"c{at}={at}" for at in range(200)], "/")
    assert len(jar.kept) == 50
    assert jar.header("/").startswith("c150=150")
    jar.take([f"d{at}={'x' * 4000}" for at in range(50)], "/")
    assert jar.size <= 16 * 1024
    jars = SessionJars(_jar)
    for at in range(2000):
        fresh = jars.find(f"s{at}")
        fresh.take([f"d{n}={'x' * 4000}" for n in range(4)], "/")
        jars.keep(f"s{at}", fresh, is_known=True)
    assert 900 < len(jars.kept) < 1100
    assert jars.find("s1999").header("/")
    assert not jars.find("s0").header("/")
    jars.keep("stranger", jar, is_known=False)
    assert not jars.find("stranger").header("/")
    jars.forget("s1999")
    assert not jars.find("s1999").header("/")


# Over the wire.


class Sticky(Script):
    """Sets a cookie for each session and counts with another; refuses a session whose cookie does not come back."""

    def __init__(self, lines: tuple[str, ...] = (STICKY,)) -> None:
        super().__init__()
        self.lines = lines
        self.strangers: list[str] = []

    async def initialize(self, exchange: Exchange) -> None:
        session = self.open_session()
        lines = "\r\nSet-Cookie: ".join([*self.lines, f"home={session}; Path=/"])
        await exchange.json(self.welcome(exchange), headers={"Mcp-Session-Id": session, "Set-Cookie": lines})

    async def call(self, exchange: Exchange) -> None:
        self._look_at(exchange)
        number = len(self.strangers) + exchange.message["id"] if isinstance(exchange.message["id"], int) else 0
        headers = {"Set-Cookie": f"count={number}; Max-Age=60"}
        await exchange.json(result(exchange.message), headers=headers)

    async def notification(self, exchange: Exchange) -> None:
        self._look_at(exchange)
        await super().notification(exchange)

    async def get(self, exchange: Exchange) -> None:
        self._look_at(exchange)
        await super().get(exchange)

    async def delete(self, exchange: Exchange) -> None:
        self._look_at(exchange)
        await super().delete(exchange)

    def _look_at(self, exchange: Exchange) -> None:
        cookies = exchange.request.headers.get("cookie", "").encode("latin-1").decode()
        if f"home={exchange.request.session}" not in cookies or self.lines[0] not in cookies:
            self.strangers.append(f"{exchange.request.method} {exchange.request.target}: {cookies!r}")


@pytest.mark.parametrize("kept", [False, True])
async def test_session_keeps_its_cookies(kept: bool) -> None:
    """What ``initialize`` sets comes back with every request, byte for byte, to an address that is an IP."""
    script = Sticky()
    async with FaultServer.running(script) as server, Direct.to(server.url) as client:
        await client.handshake()
        if kept:
            await client.warm_up(server)
        for at in range(5):
            assert "result" in await client.call(at)
        cookies = [one.headers.get("cookie", "") for one in server.posted("tools/call")]
    assert script.strangers == []
    assert ["count=" in one for one in cookies] == [False, True, True, True, True], "set on the quick way, too"
    assert [one.rpartition("count=")[2] for one in cookies[1:]] == ["0", "1", "2", "3"]
    assert server.requests[-1].method == "DELETE"


async def test_clients_share_no_cookie() -> None:
    """Each session has what was set for it, and nothing of another's."""
    script = Sticky()
    async with FaultServer.running(script) as server:
        async with Direct.to(server.url) as first, Direct.to(server.url) as second:
            for client in (first, second):
                await client.handshake()
            for at in range(3):
                await asyncio.gather(first.call(at), second.call(at))
    assert script.strangers == []
    homes = {(one.session, part) for one in server.requests for part in _parts(one.headers) if "home=" in part}
    assert homes == {("session-1", "home=session-1"), ("session-2", "home=session-2")}


def _parts(headers: object) -> list[str]:
    assert isinstance(headers, dict)
    return [part.strip() for part in headers.get("cookie", "").split(";")]


@pytest.mark.parametrize("own", ["", "mine=1"])
async def test_through_keeps_a_jar_for_each_session(own: str) -> None:
    """HTTP to HTTP: a sticky server works, clients share nothing, and neither side sees the other's cookies."""
    script = Sticky()
    async with FaultServer.running(script) as server:
        async with hop(server.url, {"Cookie": own} if own else None) as opened:
            clients = [opened.client(None) for _ in range(4)]
            for client in clients:
                response = await client.post(initialize("2025-11-25"), Cookie="client=secret")
                assert "set-cookie" not in response.headers
                client.session = response.headers["mcp-session-id"]
                await client.finished(response)
            for at in range(20):
                responses = await asyncio.gather(*(one.post(encoded(at, "tools/call")) for one in clients))
                assert {one.status for one in responses} == {200}
                assert not [one for one in responses if "set-cookie" in one.headers]
                for client, response in zip(clients, responses, strict=True):
                    await client.finished(response)
    assert script.strangers == []
    calls = server.posted("tools/call")
    homes = Counter((one.session, part) for one in calls for part in _parts(one.headers) if "home=" in part)
    assert homes == {(f"session-{at}", f"home=session-{at}"): 20 for at in range(1, 5)}
    assert not [one for one in server.requests if "client=secret" in one.headers.get("cookie", "")]
    assert not [one for one in server.requests if "cookie" in one.repeated]
    assert all(("mine=1" in _parts(one.headers)) is bool(own) for one in calls)
    last = [int(part[6:]) for one in calls[-4:] for part in _parts(one.headers) if part.startswith("count=")]
    assert last == [18] * 4, "what is set on the quick way is kept"


async def test_through_forgets_a_session_that_is_over() -> None:
    """After DELETE, and after a 404, nothing of a session's jar is sent any more."""
    script = Sticky()
    async with FaultServer.running(script) as server, hop(server.url) as opened:
        for how in ("delete", "lost"):
            client = opened.client(None)
            response = await client.post(initialize("2025-11-25"))
            client.session = response.headers["mcp-session-id"]
            await client.finished(response)
            if how == "delete":
                session = client.session
                assert await client.end() == 200
                client.session = session
            else:
                script.live.clear()
                await client.finished(await client.post(encoded(1, "tools/call")))
            await client.finished(await client.post(encoded(2, "tools/call")))
            assert "cookie" in server.requests[-2].headers
            assert "cookie" not in server.requests[-1].headers


async def test_through_shares_nothing_between_requests_without_a_session() -> None:
    """What is set in an answer to a request of 2026-07-28 goes with no other: nothing says whose it would be."""

    class Setting(Script):
        async def call(self, exchange: Exchange) -> None:
            await exchange.json(result(exchange.message), headers={"Set-Cookie": "a=b; Path=/"})

    async with FaultServer.running(Setting()) as server, hop(server.url) as opened:
        for at in range(10):
            client = opened.client(None)
            message = ask(at, "tools/call", name="x")
            await client.finished(await client.post(message, **headers_for(message)))
        assert len(server.requests) == 10
        assert not [one for one in server.requests if "cookie" in one.headers]


async def test_sse_stream_and_its_posts_share_a_jar() -> None:
    """What is set with the stream of HTTP+SSE comes back with each POST, and with the next stream."""

    class Setting(SseScript):
        async def get(self, exchange: Exchange) -> None:
            session = self.open_session()
            self.streams[session] = exchange
            await exchange.open_stream({"Set-Cookie": f"{STICKY}; Path=/"})
            await exchange.event(self.endpoint(session).encode(), event="endpoint")
            await exchange.hold()

    script = Setting()
    async with FaultServer.running(script) as server, Direct.to(server.url, transport="sse") as client:
        await client.handshake()
        assert "result" in await client.call(1)
        script.streams["session-1"].cut()
        await server.until(lambda: server.methods().count("notifications/initialized") == 2)
        assert "result" in await client.call(2)
    cookies = [one.headers.get("cookie") for one in server.requests]
    assert cookies == [None, *[STICKY.encode().decode("latin-1")] * (len(cookies) - 1)]


@pytest.mark.parametrize("scheme", ["http", "ws"])
async def test_refusal_may_set_what_the_next_try_needs(scheme: str) -> None:
    """A 401 with a cookie: the answer to its challenge carries it, over HTTP and in a WebSocket's handshake."""
    came: list[str | None] = []

    async def handle(asked: web.BaseRequest) -> web.StreamResponse:
        came.append(asked.headers.get("Cookie"))
        if "Authorization" not in asked.headers:
            challenge = 'Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256'
            headers = {"WWW-Authenticate": challenge, "Set-Cookie": "AWSALB=a/b=; Path=/"}
            return web.Response(status=401, headers=headers)
        if scheme == "ws":
            socket = web.WebSocketResponse(protocols=("mcp",))
            await socket.prepare(asked)
            await socket.send_str(json.dumps(error(1)))
            return socket
        return web.json_response(error(1))

    server = web.ServerRunner(web.Server(handle))
    await server.setup()
    try:
        site = web.TCPSite(server, "127.0.0.1", 0)
        await site.start()
        url = f"{scheme}://127.0.0.1:{server.addresses[0][1]}/mcp"
        endpoint = relay.connect(url, headers={"Cookie": "mine=1"}, login=open_login(DigestLogin("u", "p"), url))
        await endpoint.send([Frame(json.dumps(request(1, "ping")).encode())])
        assert b'"error"' in (await endpoint.receive())[0].raw
        await endpoint.aclose()
    finally:
        await server.cleanup()
    assert came[:2] == ["mine=1", "mine=1; AWSALB=a/b="]


async def test_error_page_that_repeats_a_cookie_is_masked() -> None:
    """The values of cookies are the server's secrets: no error of ours shows them."""

    class Repeating(Sticky):
        async def call(self, exchange: Exchange) -> None:
            await exchange.reply(500, f"no {self.lines[0].partition('=')[2]} here".encode(), kind="text/plain")

    async with FaultServer.running(Repeating(("lb=0123/4567",))) as server, Direct.to(server.url) as client:
        await client.handshake()
        said = (await client.call(1))["error"]["message"]
        assert "0123/4567" not in said
        assert "no *** here" in said


@pytest.mark.shortcuts
async def test_server_that_sets_nothing_costs_no_header() -> None:
    """Without a Set-Cookie there is no Cookie, on any way."""
    async with FaultServer.running(Script()) as server:
        async with Direct.to(server.url) as client:
            await client.handshake()
            await client.warm_up(server)
        async with hop(server.url) as opened:
            one = opened.client("none")
            await one.finished(await one.post(encoded(1, "ping")))
        assert not [asked for asked in server.requests if "cookie" in asked.headers]
