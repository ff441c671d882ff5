"""TLS on every listener and towards every kind of address, with certificates of the tests' own authority."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import relay
from relay.endpoints.core.tls import explain_tls, is_refusal
from relay.errors import ConfigError, RelayError
from relay.frames.frame import Frame
from tests import warm_start
from tests.e2e.authority import Authority
from tests.e2e.conversation import Program
from tests.e2e.oracle import request, stdio_server
from tests.e2e.pair_parts import own_parts
from tests.e2e.pairs import carry, relaying

KINDS = ("http", "sse", "ws", "tcp")
INITIALIZE = request(
    "init", "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "test", "version": "1"}
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Certificates for all tests here."""
    return Authority.made(tmp_path_factory.mktemp("certificates"))


@contextlib.asynccontextmanager
async def serving(authority: Authority, *options: str) -> AsyncIterator[dict[str, str]]:
    """Run a relay before the test server that listens in every way, with TLS where there can be."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are too deep for the path of a socket
        words = ["--tls-cert", authority["server"], *options]
        async with relaying(Path(folder), *stdio_server(), options=words) as found:
            yield found


async def said(url: str, context: ssl.SSLContext | None = None) -> str:
    """Return what the first request at ``url`` gets: the answer's bytes, or the failure's words."""
    endpoint = relay.connect(url, ssl=context, limits=relay.Limits(connect=5))
    try:
        await endpoint.send([Frame(INITIALIZE)])
        frames = await endpoint.receive()
        return frames[0].raw.decode() if frames else "nothing"
    except RelayError as exc:
        return str(exc)
    finally:
        await endpoint.aclose()


# -- relaying ---------------------------------------------------------------------------------------------------------


@pytest.mark.async_timeout(60)
async def test_every_listener_with_tls(authority: Authority, loop_name: str) -> None:
    """Calls, progress, requests of the server and what it says unasked: as without TLS; a Unix socket has none."""
    async with serving(authority) as near:
        schemes = {kind: address.partition(":")[0] for kind, address in near.items()}
        assert schemes == {"http": "https", "sse": "https", "ws": "wss", "tcp": "tls", "unix": "unix"}
        for listener in (*KINDS, "unix"):
            parts = own_parts(ssl=authority.dialling(), large=2 * 2**20 if listener in ("http", "tcp") else 0)
            row = await carry(parts, listener, "child", near[listener], 32)
            assert not row.faults, row
            assert row.answered >= 32


@pytest.mark.async_timeout(60)
@pytest.mark.only_loop("uvloop")
@pytest.mark.parametrize("target", KINDS)
async def test_every_target_with_tls_and_a_client_certificate(target: str, authority: Authority) -> None:
    """The program before a server that demands a certificate; sessions, and requests that are handed on."""
    known = ["--ca-file", authority["ca"], "--client-cert", authority["client-cert"]]
    known += ["--client-key", authority["client-key"]]
    async with serving(authority, "--tls-client-ca", authority["ca"]) as far:
        if target == "sse":
            known += ["--transport", "sse"]
        with tempfile.TemporaryDirectory() as folder:
            async with relaying(Path(folder), far[target], options=known) as near:
                for listener in ("http", "unix") if target == "http" else ("unix",):
                    row = await carry(own_parts(large=0), listener, target, near[listener], 32)
                    assert not row.faults, row
                    assert row.answered >= 32


async def test_own_stdio_to_https(authority: Authority, loop_name: str) -> None:
    """What a client that starts programs runs; ``--verify-ssl FILE`` is ``--ca-file FILE``."""
    async with serving(authority) as far:
        for flag in ("--ca-file", "--verify-ssl"):
            async with Program.running(far["http"], flag, authority["ca"], loop=loop_name) as program:
                await program.handshake()
                assert "result" in await program.call(1, "echo")


# -- who is trusted ---------------------------------------------------------------------------------------------------


@pytest.mark.only_loop("uvloop")  # asyncio's debug mode calls a refused handshake an error of the loop's
@pytest.mark.parametrize("kind", KINDS)
async def test_whom_we_trust(kind: str, authority: Authority) -> None:
    """Another authority, another name, no verification; the request that fails was not delivered."""
    other, strange = authority.dialling(), ssl.create_default_context(cafile=authority["other-ca"])
    async with serving(authority) as far:
        unknown = await said(far[kind], strange)
        assert "its certificate is not trusted: unable to get local issuer certificate" in unknown
        assert "--ca-file FILE names the authorities to trust" in unknown
        assert "its certificate is not trusted" in await said(far[kind])  # by the system
        elsewhere = far[kind].replace("127.0.0.1", "127.0.0.2" if kind == "tcp" else "localhost")
        if kind != "tcp":
            assert '"protocolVersion"' in await said(elsewhere, other)
        strange.check_hostname, strange.verify_mode = False, ssl.CERT_NONE
        assert '"protocolVersion"' in await said(far[kind], strange)


@pytest.mark.only_loop("uvloop")
async def test_a_certificate_of_another_host(authority: Authority, loop_name: str) -> None:
    """Its authority is trusted, its name is not this one: -32006, not delivered, one line; by any transport."""
    trusted = ["--ca-file", authority["ca"]]
    async with relay_at(authority, "elsewhere") as far:
        for kind in ("http", "ws", "tcp"):
            async with Program.running(far[kind], *trusted, loop=loop_name, exit_code=1) as program:
                error = (await program.call(1, "initialize"))["error"]
                assert (error["code"], error["data"]) == (-32006, {"delivered": "no"})
                assert "its certificate is not trusted: IP address mismatch" in error["message"]
                assert "--ca-file" not in error["message"]  # of no help here
            assert program.stderr.count("\n") == 1
        url = far["http"]
        async with Program.running(url, "--no-verify-ssl", loop=loop_name) as program:
            await program.handshake()
        assert "WARNING: certificates of servers are not verified" in program.stderr
        done = await ran("test", *trusted, url)
        assert done.startswith(f"mcp-relay: {url}: cannot connect: its certificate is not trusted: IP address mismatch")
        done = await ran("test", url)
        assert "not trusted: unable to get local issuer certificate; --ca-file FILE names the authorities" in done


@pytest.mark.only_loop("uvloop")
async def test_clients_of_a_server_that_is_not_trusted(authority: Authority) -> None:
    """Wherever they come from, their requests were not delivered."""
    async with serving(authority) as far:
        with tempfile.TemporaryDirectory() as folder:
            async with relaying(Path(folder), far["tcp"]) as near:
                for kind in (*KINDS, "unix"):
                    error = json.loads(await said(near[kind]))["error"]
                    assert (error["code"], error["data"]) == (-32006, {"delivered": "no"})
                    assert "its certificate is not trusted" in error["message"]


@contextlib.asynccontextmanager
async def relay_at(authority: Authority, certificate: str) -> AsyncIterator[dict[str, str]]:
    """Run a relay with one of the authority's certificates; yield its addresses."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["--tls-cert", authority[f"{certificate}-cert"], "--tls-key", authority[f"{certificate}-key"]]
        async with relaying(Path(folder), *stdio_server(), options=words) as found:
            yield found


async def ran(*words: str) -> str:
    """Run the program to its end; return its stderr."""
    process = await warm_start.Process.start(
        sys.executable, "-m", "relay", *words,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    _, err = await process.communicate()
    assert process.returncode == 1
    return err.decode()


# -- who is let in ----------------------------------------------------------------------------------------------------


@pytest.mark.only_loop("uvloop")
@pytest.mark.parametrize("kind", KINDS)
async def test_client_certificates_are_demanded(kind: str, authority: Authority) -> None:
    """Without one, or with a stranger's, nothing is answered; with ours it is; nobody is hurt by the others."""
    async with serving(authority, "--tls-client-ca", authority["ca"]) as far:
        assert '"protocolVersion"' not in await said(far[kind], authority.dialling())
        assert '"protocolVersion"' not in await said(far[kind], authority.dialling("other-client"))
        assert '"protocolVersion"' in await said(far[kind], authority.dialling("client"))


def test_beyond_loopback_with_client_certificates(authority: Authority) -> None:
    """A listener that demands certificates asks for no other login, and says nothing of a missing one."""
    command = [sys.executable, "-m", "relay", "--host", "0.0.0.0", "--tls-cert", authority["server"]]
    process = warm_start.Popen(
        [*command, "--tls-client-ca", authority["ca"], "--", "true"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None, "a pipe"
    with process, process.stderr:
        assert re.match(r"mcp-relay: listening on https://127\.0\.0\.1:\d+/mcp", process.stderr.readline())
        process.terminate()
        assert process.stderr.read() == ""
    assert process.returncode == 0


@pytest.fixture
def listening(authority: Authority) -> Iterator[int]:
    """Run a relay with TLS; give its port."""
    process = warm_start.Popen(
        [sys.executable, "-m", "relay", "--tls-cert", authority["server"], "--", *stdio_server()],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None, "a pipe"
    with process, process.stderr:
        found = re.search(r":(\d+)/mcp", process.stderr.readline())
        assert found is not None
        yield int(found[1])
        process.terminate()
        assert process.stderr.read() == ""  # nothing of what failed here is worth a line


def test_what_is_no_tls_is_closed_quietly(listening: int, authority: Authority) -> None:
    """Plain HTTP, noise and silence end with no answer, and cost a client that comes meanwhile nothing."""
    silent = socket.create_connection(("127.0.0.1", listening))
    for noise in (b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", bytes(512), b"\x16\x03\x01"):
        with socket.create_connection(("127.0.0.1", listening), timeout=10) as plain:
            plain.sendall(noise)
            plain.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                assert b"HTTP" not in plain.recv(1024)
    with connected(listening, authority.dialling()) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert client.recv(1024).startswith(b"HTTP/1.1 200 OK")
    silent.close()


@contextlib.contextmanager
def connected(port: int, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    """Connect with TLS."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as client:
            yield client


def test_tls_1_1_is_refused(listening: int, authority: Authority) -> None:
    """And 1.2 and 1.3 are spoken."""
    old = authority.dialling()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)), connected(listening, old):
        pass
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = authority.dialling()
        context.minimum_version = context.maximum_version = version
        with connected(listening, context) as client:
            assert client.version() == version.name.replace("_", ".")


# -- what servers say in the handshake --------------------------------------------------------------------------------


@contextlib.contextmanager
def handshaking(context: ssl.SSLContext) -> Iterator[int]:
    """Run a server that does handshakes as OpenSSL does, alerts included; yield its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            peer = context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
            with peer, contextlib.suppress(OSError):
                try:
                    peer.do_handshake()
                finally:
                    socket.socket.shutdown(peer, socket.SHUT_WR)
                    while socket.socket.recv(peer, 1024):  # unread, it would reset the connection and lose the alert
                        pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (None, ("the server demands a client certificate", "--client-cert FILE")),
        ("other-client", ("the server does not accept our client certificate (unknown ca)", "check --client-cert")),
    ],
)
def test_what_a_server_says_of_our_certificate(
    client: str | None, expected: tuple[str, str], authority: Authority
) -> None:
    """In TLS 1.3 that comes after our first request was sent; it was not read, so it was not delivered."""
    with handshaking(authority.serving(client_ca="ca")) as port, connected(port, authority.dialling(client)) as peer:
        with pytest.raises(ssl.SSLError) as caught:
            peer.sendall(b"POST /mcp HTTP/1.1\r\n\r\n")
            peer.recv(1024)
    assert explain_tls(caught.value, "http://") == expected
    assert is_refusal(caught.value)
    assert not is_refusal(ConnectionResetError())


async def test_a_server_of_old(authority: Authority) -> None:
    """TLS 1.1 is not spoken to, whatever the server offers."""
    old = authority.serving()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with handshaking(old) as port:
        answer = await said(f"tls://localhost:{port}", authority.dialling())
    assert "the TLS handshake failed" in answer and "the server must speak TLS 1.2 or later" in answer


@pytest.mark.parametrize(("scheme", "plain"), [("https", "http"), ("wss", "ws"), ("tls", "tcp")])
async def test_a_server_without_tls(scheme: str, plain: str) -> None:
    """The address of one that speaks plainly begins otherwise, and the line says how."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        path = "" if scheme == "tls" else "/mcp"
        answer = await said(f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}{path}")
    assert f"; if the server speaks without TLS, its address begins with {plain}://" in answer


@pytest.mark.only_loop("uvloop")
@pytest.mark.parametrize("spec", ["https://127.0.0.1:0/mcp", "tls://127.0.0.1:0"])
async def test_a_handshake_has_its_time(spec: str, authority: Authority) -> None:
    """Who connects and says nothing is let go, and no session has begun."""
    listener = await relay.listen(spec, ssl=authority.serving(), limits=relay.Limits(connect=0.2))
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(listener.url).port)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.transport.abort()
    finally:
        await listener.aclose()


# -- from Python ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["https://127.0.0.1:0/mcp", "http://127.0.0.1:0/mcp", "tls://127.0.0.1:0"])
async def test_listening_from_python(spec: str, authority: Authority) -> None:
    """``relay.listen(…, ssl=)`` and ``relay.connect(…, ssl=)``; TLS without a certificate is a mistake."""
    listener = await relay.listen(spec, ssl=authority.serving())
    url = listener.url
    assert url.startswith(("https://127.0.0.1:", "tls://127.0.0.1:"))
    async with asyncio.TaskGroup() as group:

        async def answer() -> None:
            async for client in listener:
                await client.receive()
                await client.send([Frame(b'{"jsonrpc":"2.0","id":"init","result":{"protocolVersion":"2025-11-25"}}')])
                await listener.aclose()
                await client.aclose()

        group.create_task(answer())
        assert '"protocolVersion"' in await said(url, authority.dialling())
    if not spec.startswith("http:"):
        with pytest.raises(ConfigError, match="TLS needs a context with a certificate: ssl="):
            await relay.listen(spec)


@pytest.mark.parametrize("kind", KINDS)
async def test_both_sides_say_that_a_client_certificate_is_missing(kind: str, authority: Authority) -> None:
    """``test`` names the option, and the listener's log says why it has let nobody in."""
    listen = "tls://127.0.0.1:0" if kind == "tcp" else "https://127.0.0.1:0/mcp"
    words = ["--log-level", "INFO", "--tls-cert", authority["server"], "--tls-client-ca", authority["ca"]]
    process = await warm_start.Process.start(
        sys.executable, "-m", "relay", *words, "--listen", listen, "--", *stdio_server(),
        stderr=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stderr is not None, "a pipe"
    async with asyncio.timeout(30):
        try:
            port = None
            while port is None:
                line = (await process.stderr.readline()).decode()
                assert line, "the relay ended before it listened"
                port = re.search(r"listening on \w+://[^ ]*?:(\d+)", line)
            scheme = {"ws": "wss", "tcp": "tls"}.get(kind, "https")
            path = {"tcp": "", "sse": "/sse"}.get(kind, "/mcp")
            looking = await warm_start.Process.start(
                sys.executable, "-m", "relay", "test", "--ca-file", authority["ca"],
                f"{scheme}://127.0.0.1:{port[1]}{path}", stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            _, told = await looking.communicate()
            assert looking.returncode == 1
            assert b"--client-cert FILE" in told, told
            while "the TLS handshake failed: peer did not return a certificate" not in line:
                line = (await process.stderr.readline()).decode()
                assert line, "the log has ended"
        finally:
            process.terminate()
            await process.wait()
            process.close()


async def test_an_address_of_tcp_where_tls_is(authority: Authority) -> None:
    """Whatever the certificate, ``test`` says which address to try."""
    async with serving(authority) as far:
        place = far["tcp"].removeprefix("tls://")
        looking = await warm_start.Process.start(
            sys.executable, "-m", "relay", "test", "--timeout", "2", f"tcp://{place}", stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(30):
            _, told = await looking.communicate()
    assert looking.returncode == 1
    assert f"; it speaks TLS: try tls://{place} or https://{place}/mcp\n" in told.decode()
