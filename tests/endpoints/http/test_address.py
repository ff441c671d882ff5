"""An address goes out byte for byte, by every way of dialling; a login in it is UTF-8, wherever it stands."""

from __future__ import annotations

import asyncio
import base64
import contextlib

import httpx
import pytest
from yarl import URL

import relay
from relay.app.doctor.cli import check
from relay.app.doctor.settings import DoctorSettings
from relay.app.log.stderr import StderrSink
from relay.endpoints.http.address import join_url, parse_url, read_url
from relay.endpoints.http.client.proxy import proxy_for
from relay.errors import ConfigError, RelayError
from relay.frames.frame import Frame
from tests.e2e.conversation import PROXIES, Direct
from tests.e2e.fault_server import FaultServer, Script, SseScript
from tests.e2e.forward_proxy import ForwardProxy
from tests.e2e.oracle import initialize, request
from tests.endpoints.http.through.test_pass_through import hop

AS_WRITTEN = "/a%2Fb/%zz/{x}/../mcp?sig=%2F+a%zz&t=a%2fb;c&e=="
LOGIN = "u:p%C3%A4"
HEADER = "Basic " + base64.b64encode("u:pä".encode()).decode()
HELLO = Frame(b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}')


async def _ask(endpoint: relay.Endpoint) -> None:
    try:
        await endpoint.send([HELLO])
        await endpoint.receive()
    except RelayError:
        pass  # what was asked for is all that counts
    finally:
        await endpoint.aclose()


async def _dial(way: str, address: str) -> None:
    """Ask the server at an address (without its scheme) for something."""
    if way == "http":
        async with Direct.to(f"http://{address}") as client:
            await client.handshake()
            await client.call("ordinary")
    elif way == "ws":
        await _ask(relay.connect(f"ws://{address}"))
    elif way == "httpx":
        async with httpx.AsyncClient() as client:
            await _ask(relay.connect(f"http://{address}", client=client))
    elif way == "through":
        async with hop(f"http://{address}") as opened:
            for message in (initialize("2025-11-25"), request(1, "ping")):
                await opened.client(None).post(message)
    elif way == "test":
        await check(DoctorSettings(target=f"http://{address}", timeout=5), StderrSink())


@pytest.mark.parametrize("login", ["", f"{LOGIN}@", "u:pä@"])
@pytest.mark.parametrize("way", ["http", "ws", "httpx", "through", "test"])
async def test_address_goes_out_as_it_was_written(way: str, login: str) -> None:
    """``%2F`` and ``%zz``, in the path and in the query, reach the server as they stand; a login is UTF-8."""
    async with FaultServer.running(Script()) as server:
        await _dial(way, f"{login}127.0.0.1:{server.port}{AS_WRITTEN}#fragment")
        assert {one.target for one in server.requests} == {AS_WRITTEN}
        logins = {one.headers.get("authorization") for one in server.requests}
        assert logins == ({HEADER} if login else {None})


@pytest.mark.shortcuts
async def test_kept_connections_ask_for_the_same() -> None:
    """The quick ways write the request line as the ordinary ones do."""
    async with FaultServer.running(Script()) as server:
        async with Direct.to(f"http://127.0.0.1:{server.port}{AS_WRITTEN}") as client:
            await client.handshake()
            await client.warm_up(server)
        async with hop(f"http://127.0.0.1:{server.port}{AS_WRITTEN}") as opened:
            asking = opened.client(None)
            for at in range(30):
                await asking.finished(await asking.post(request(at, "ping")))
        assert {one.target for one in server.requests} == {AS_WRITTEN}


@pytest.mark.parametrize("way", ["aiohttp", "httpx"])
@pytest.mark.parametrize("absolute", [False, True])
async def test_endpoint_of_an_sse_stream_goes_out_as_the_server_wrote_it(way: str, absolute: bool) -> None:
    """The stream is asked for as the operator wrote it, and POSTs go where the ``endpoint`` event says."""

    class Signed(SseScript):
        def endpoint(self, session: str) -> str:
            origin = f"http://127.0.0.1:{server.port}" if absolute else ""
            return f"{origin}/messages/%2F%zz?session_id={session}&sig=%2F+%zz"

    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(FaultServer.running(Signed()))
        client = await stack.enter_async_context(httpx.AsyncClient()) if way == "httpx" else None
        await _ask(relay.connect(f"http://127.0.0.1:{server.port}{AS_WRITTEN}", transport="sse", client=client))
        asked = {one.method: one.target for one in server.requests}
        assert asked == {"GET": AS_WRITTEN, "POST": "/messages/%2F%zz?session_id=session-1&sig=%2F+%zz"}


@pytest.mark.parametrize("way", ["http", "ws", "httpx"])
async def test_proxy_is_asked_for_the_same(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forwarding proxy gets the address as it was written, with the proxy's own login in UTF-8."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    async with FaultServer.running(Script()) as server, ForwardProxy.running(mcp=server.port) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://u:pä@127.0.0.1:{proxy.port}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                await _dial(way, f"mcp.example{AS_WRITTEN}")
        assert {one.target for one in proxy.asked} == {f"http://mcp.example{AS_WRITTEN}"}
        logins = {one.headers.get("proxy-authorization") for one in proxy.asked}
        assert logins == {HEADER}


def test_login_is_read_in_one_way() -> None:
    """Escaped or not, the login of a server and of a proxy is the same bytes; a header of the operator's wins."""
    for login in (LOGIN, "u:pä", "%75:p%c3%a4"):
        assert read_url(f"http://{login}@h/")[1] == HEADER
    assert read_url("https://token@h")[1] == "Basic " + base64.b64encode(b"token:").decode()
    assert read_url("http://h")[1] is None
    own = {"authorization": "Bearer x"}
    assert parse_url("http://u:p@h", own)[1] == own


def test_what_no_request_line_can_carry_is_escaped() -> None:
    """Spaces, control characters and all beyond ASCII become UTF-8 escapes; a host becomes its ASCII name."""
    url, _ = read_url("HTTP://bücher.example:80/a b\r\n/é?q=ü x#f")
    assert (url.raw_host, url.port, url.raw_path_qs) == (
        "xn--bcher-kva.example",
        80,
        "/a%20b%0D%0A/%C3%A9?q=%C3%BC%20x",
    )
    assert join_url(URL("http://h/sse"), "m?a=%zz é").raw_path_qs == "/m?a=%zz%20%C3%A9"
    assert join_url(URL("http://h/sse"), "http://u:p@h/m#x") == URL("http://h/m")


@pytest.mark.parametrize("address", ["http://h:x/", "http://[::1/", "http://", "ftp://h/", "nothing"])
def test_what_is_no_address_is_refused(address: str) -> None:
    """An address that cannot be dialled is a mistake of the operator's."""
    with pytest.raises(ConfigError):
        parse_url(address, {})


def test_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy without a scheme, with a login, is read as one with."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "u:pä@proxy.example:3128")
    proxy = proxy_for(URL("http://mcp.example/"))
    assert proxy is not None
    assert (str(proxy), proxy.authorization) == ("http://proxy.example:3128", HEADER)
    assert "p" + "ä" not in repr(proxy)
