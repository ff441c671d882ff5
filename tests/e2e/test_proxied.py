"""The relay uses the environment's HTTP proxy: a real one, and only it can resolve the server's name."""

from __future__ import annotations

import base64
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import relay
from tests import warm_start
from tests.e2e.authority import Authority
from tests.e2e.conversation import PROXIES, Program
from tests.e2e.fault_server import FaultServer
from tests.e2e.forward_proxy import ForwardProxy
from tests.e2e.oracle import stdio_server
from tests.e2e.pair_parts import own_parts
from tests.e2e.pairs import carry, relaying
from tests.e2e.test_connect_detection import WithStream

NAME = "mcp.example"
LOGIN = "me:w0rd@proxy"
ENCODED = "me:w0rd%40proxy"
AUTHORIZATION = f"Basic {base64.b64encode(LOGIN.encode()).decode()}"
TOKEN = ("-H", "Authorization", "Bearer canary")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Certificates for all tests here."""
    return Authority.made(tmp_path_factory.mktemp("certificates"))


@contextlib.asynccontextmanager
async def serving(*options: str) -> AsyncIterator[dict[str, str]]:
    """Run a relay before the test server; yield its addresses under the name that only the proxy knows."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*options, "--allowed-host", NAME]
        async with relaying(Path(folder), *stdio_server(), options=words) as found:
            yield {kind: address.replace("127.0.0.1", NAME) for kind, address in found.items()}


def port_of(address: str) -> int:
    """Return the port in an address."""
    port = urlsplit(address).port
    assert port is not None
    return port


def assert_tunnelled(proxy: ForwardProxy) -> None:
    """Require that the proxy has seen CONNECT and its own login only."""
    assert proxy.asked
    for asked in proxy.asked:
        assert asked.method == "CONNECT"
        assert asked.headers["proxy-authorization"] == AUTHORIZATION
        assert "authorization" not in asked.headers and "canary" not in f"{asked}"


@pytest.mark.parametrize("kind", ["http", "sse", "ws"])
async def test_a_tunnel_for_tls(kind: str, authority: Authority, loop_name: str) -> None:
    """https and wss: the proxy sees a host and a port, and the server's certificate is that of its name."""
    options = ["--ca-file", authority["ca"], "--debug", *TOKEN, *(("--transport", "sse") if kind == "sse" else ())]
    async with serving("--tls-cert", authority["server"]) as far:
        async with ForwardProxy.running(login=LOGIN, mcp=port_of(far[kind])) as proxy:
            env = proxy.environment("HTTPS_PROXY", login=ENCODED)
            async with Program.running(far[kind], *options, env=env, loop=loop_name) as program:
                await program.handshake()
                for number in range(4):
                    assert "result" in await program.call(number, "progress", count=2, _meta={"progressToken": number})
                assert len(program.others) == 8
    assert_tunnelled(proxy)
    assert {asked.target for asked in proxy.asked} == {f"{NAME}:{port_of(far[kind])}"}
    assert "w0rd" not in program.stderr and "canary" not in program.stderr


@pytest.mark.parametrize("kind", ["http", "sse", "ws"])
async def test_absolute_form_without_tls(kind: str, loop_name: str) -> None:
    """http and ws: whole requests with the proxy's login on each, over connections that are used again."""
    options = ["--transport", "sse"] if kind == "sse" else []
    async with serving() as far:
        async with ForwardProxy.running(login=LOGIN, mcp=port_of(far[kind])) as proxy:
            env = proxy.environment("http_proxy", login=ENCODED)
            async with Program.running(far[kind], *options, env=env, loop=loop_name) as program:
                await program.handshake()
                for number in range(4):
                    assert "result" in await program.call(number, "progress", count=2, _meta={"progressToken": number})
    assert all(asked.target.startswith(f"http://{NAME}:") for asked in proxy.asked), proxy.asked
    assert all(asked.headers["proxy-authorization"] == AUTHORIZATION for asked in proxy.asked)
    assert len(proxy.asked) >= (1 if kind == "ws" else 6)


async def test_the_login_stays_with_the_proxy(authority: Authority) -> None:
    """The server gets no Proxy-Authorization, the proxy no Authorization."""
    async with FaultServer.running(WithStream(), tls=authority.serving()) as server:
        async with ForwardProxy.running(login=LOGIN, mcp=server.port) as proxy:
            env = proxy.environment("HTTPS_PROXY", login=ENCODED)
            url = f"https://{NAME}:{server.port}/mcp"
            async with Program.running(url, "--ca-file", authority["ca"], *TOKEN, env=env) as program:
                await program.handshake()
                await program.call(1)
        assert all("proxy-authorization" not in str(one.headers).lower() for one in server.requests)
        assert "Bearer canary" in str(server.requests[0].headers)
    assert_tunnelled(proxy)


@pytest.mark.only_loop("uvloop")
@pytest.mark.parametrize("listener", ["http", "tcp"])
async def test_a_relay_for_many_through_a_proxy(
    listener: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that are handed on, and sessions: all of it goes through the tunnel."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    async with serving("--tls-cert", authority["server"]) as far:
        async with ForwardProxy.running(login=LOGIN, mcp=port_of(far["http"])) as proxy:
            monkeypatch.setenv("ALL_PROXY", proxy.environment("P", login=ENCODED)["P"])
            with tempfile.TemporaryDirectory() as folder:
                async with relaying(Path(folder), far["http"], options=["--ca-file", authority["ca"]]) as near:
                    row = await carry(own_parts(large=0), listener, "http", near[listener], 32)
                    assert not row.faults, row
    assert_tunnelled(proxy)


async def test_a_proxy_that_speaks_tls(authority: Authority, loop_name: str) -> None:
    """TLS to the proxy, and TLS to the server in it."""
    async with serving("--tls-cert", authority["server"]) as far:
        async with ForwardProxy.running(tls=authority.serving(), mcp=port_of(far["http"])) as proxy:
            env = proxy.environment("HTTPS_PROXY")
            async with Program.running(far["http"], "--ca-file", authority["ca"], env=env, loop=loop_name) as program:
                await program.handshake()
                assert "result" in await program.call(1, "echo")
            assert proxy.asked


async def test_mcp_remote_told_to_go_through_it() -> None:
    """Its --enable-proxy; test_words.py has what it does without."""
    async with serving() as far:
        async with ForwardProxy.running(mcp=port_of(far["http"])) as proxy:
            words = ["as", "mcp-remote", "--enable-proxy", "--allow-http"]
            async with Program.running(far["http"], *words, env=proxy.environment("HTTP_PROXY")) as program:
                await program.handshake()
                assert "result" in await program.call(1, "echo")
            assert proxy.asked


@pytest.mark.parametrize("env", [{"NO_PROXY": "127.0.0.2,.example"}, {}])
async def test_what_does_not_go_through_it(env: dict[str, str]) -> None:
    """What NO_PROXY names, and loopback whatever it names."""
    async with FaultServer.running(WithStream()) as server:
        async with ForwardProxy.running() as proxy:
            env = {**proxy.environment("HTTP_PROXY", "ALL_PROXY"), **env}
            async with Program.running(server.url, env=env) as program:
                await program.handshake()
                assert "result" in await program.call(1)
    assert proxy.asked == []


@pytest.mark.parametrize("scheme", ["https", "wss", "http", "ws"])
async def test_a_proxy_in_the_way(scheme: str) -> None:
    """One that is down, silent, refuses, or wants a login: it is named without ours, and nothing was delivered."""
    url = f"{scheme}://{NAME}:443/mcp"
    is_tunnel = scheme in ("https", "wss")
    async with ForwardProxy.running(login=LOGIN) as proxy:
        wanting = await failing(url, proxy.environment("ALL_PROXY", login="me:canary"))
    assert "407" in wanting if scheme == "ws" else "the proxy requires a login" in wanting
    if is_tunnel:
        assert f"the proxy http://127.0.0.1:{proxy.port} refuses with status 407" in wanting
    down = await failing(url, proxy.environment("ALL_PROXY", login="me:canary"))
    assert f"cannot connect: the proxy http://127.0.0.1:{proxy.port}: Connection refused" in down
    if is_tunnel:
        async with ForwardProxy.running(refusal=403) as proxy:
            refused = await failing(url, proxy.environment("ALL_PROXY"))
        assert f"the proxy http://127.0.0.1:{proxy.port} refuses with status 403" in refused
        async with ForwardProxy.running(is_silent=True) as proxy:
            silent = await failing(url, proxy.environment("ALL_PROXY"), relay.Limits(connect=0.3))
        assert f"cannot connect through the proxy http://127.0.0.1:{proxy.port}: " in silent


async def failing(url: str, env: dict[str, str], limits: relay.Limits | None = None) -> str:
    """Return what is said of a server that is not reached."""
    with pytest.MonkeyPatch.context() as patch:
        for name in PROXIES:
            patch.delenv(name, raising=False)
        for name, value in env.items():
            patch.setenv(name, value)
        endpoint = relay.connect(url, limits=limits or relay.Limits())
        try:
            await endpoint.send([relay.Frame(b'{"jsonrpc":"2.0","id":1,"method":"initialize"}')])
            said = (await endpoint.receive())[0].raw.decode()
            assert '"delivered":"no"' in said
        except relay.RelayError as exc:
            said = str(exc)
        finally:
            await endpoint.aclose()
    assert "canary" not in said and "w0rd" not in said
    return said


def test_the_test_command_names_the_proxy() -> None:
    """And what is no proxy is a mistake of the operator's."""
    down = {"HTTPS_PROXY": "http://me:canary@127.0.0.1:9", "PATH": ""}
    done = program_run("test", f"https://{NAME}/mcp", env=down)
    assert done.returncode == 1
    assert "cannot connect: the proxy http://127.0.0.1:9: Connection refused" in done.stderr
    assert "canary" not in done.stdout + done.stderr
    for words in (("test", f"https://{NAME}/mcp"), (f"wss://{NAME}/mcp",), (f"https://{NAME}/mcp",)):
        done = program_run(*words, env={"HTTPS_PROXY": "socks5://me:canary@h:1", "PATH": ""})
        assert done.stderr.startswith("mcp-relay: HTTPS_PROXY is not the URL of a supported proxy (socks5://")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "canary" not in done.stderr


def program_run(*words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the program with this environment."""
    command = [sys.executable, "-m", "relay", *words]
    frame = '{"jsonrpc":"2.0","id":1,"method":"initialize"}\n'
    return warm_start.run(command, env=env, input=frame, capture_output=True, text=True, timeout=20)
