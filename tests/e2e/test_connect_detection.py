"""`mcp-relay URL`: which transport a server speaks, where it is, and what goes with every request."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conversation import INITIALIZE, INITIALIZED, Direct, Program, request
from tests.e2e.fault_server import Exchange, FaultServer, Script, SseScript, error


class Both(SseScript):
    """An HTTP+SSE server that answers a POST to its /sse as a test wants."""

    def __init__(self, status: int, body: bytes = b"", kind: str = "text/plain") -> None:
        super().__init__()
        self.refusal = (status, body, kind)

    async def answer(self, exchange: Exchange) -> None:
        if exchange.request.method == "POST" and exchange.request.target.startswith("/sse"):
            status, body, kind = self.refusal
            await exchange.reply(status, body, kind=kind)
        else:
            await super().answer(exchange)


async def test_post_comes_first(loop_name: str) -> None:
    """A Streamable HTTP server is spoken to by POST alone until it is initialized."""
    async with FaultServer.running(Script()) as server, Program.running(server.url, loop=loop_name) as program:
        await program.handshake()
        assert "result" in await program.call(1)
        assert server.methods()[:2] == ["initialize", "notifications/initialized"]


NO_POST = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"POST is not allowed here"}}'


@pytest.mark.parametrize("status", [400, 404, 405])
@pytest.mark.parametrize("body", [b"", b"Not Found", b'{"error":"no such thing"}', b"<html>"])
async def test_refused_post_means_sse(status: int, body: bytes) -> None:
    """400, 404 or 405 with no JSON-RPC error: the same frame goes over HTTP+SSE, and later ones too."""
    async with FaultServer.running(Both(status, body)) as server, Direct.to(server.url) as client:
        await client.handshake()
        assert (await client.call(1, value=5))["result"] == {"echo": {"value": 5}}
        assert server.methods() == ["initialize", "GET", "initialize", "notifications/initialized", "tools/call"]
        bodies = [one.body for one in server.posted("initialize")]
        assert bodies[0] == bodies[1]


async def test_405_with_an_error_of_no_request_means_sse() -> None:
    """405 with a JSON-RPC error whose id is null refuses POST, not the request: mcp-relay's own /sse says so."""
    async with FaultServer.running(Both(405, NO_POST, "application/json")) as server, Direct.to(server.url) as client:
        await client.handshake()
        assert "result" in await client.call(1)
        assert server.methods()[:3] == ["initialize", "GET", "initialize"]


async def test_refused_post_means_sse_for_the_program(loop_name: str) -> None:
    """The same with the real program, with what follows already waiting in its stdin."""
    async with FaultServer.running(Both(405)) as server, Program.running(server.url, loop=loop_name) as program:
        await program.send(INITIALIZE, INITIALIZED, *(request(at) for at in range(20)))
        program.eof()
        assert await program.ended() == 0
        assert all("result" in program.answers[at] for at in ("init", *range(20)))


@pytest.mark.parametrize("status", [400, 404, 405])
async def test_json_rpc_error_is_no_reason_for_sse(status: int) -> None:
    """A refusal with a JSON-RPC error of the request's id is the answer, as it is; nothing is tried beside."""
    body = b'{"jsonrpc":"2.0","id":"init","error":{"code":-32602,"message":"version"}}'
    script = Both(status, body, "application/json")
    async with FaultServer.running(script) as server, Direct.to(server.url) as client:
        await client.send(INITIALIZE)
        await client.answer("init")
        assert client.lines == [body]
        assert server.methods() == ["initialize"]


async def test_json_rpc_error_without_an_id_is_the_request_s_own() -> None:
    """A JSON-RPC error with id null refuses the request: the client gets it, code and words, under its own id."""

    class Refusing(Script):
        async def initialize(self, exchange: Exchange) -> None:
            await exchange.json(error(None, message="unsupported version"), status=400)

    async with FaultServer.running(Refusing()) as server, Direct.to(server.url) as client:
        await client.send(INITIALIZE)
        answer = await client.answer("init")
        assert answer["error"] == error(None, message="unsupported version")["error"]
        assert server.methods() == ["initialize"]


@pytest.mark.parametrize("status", [401, 403, 500, 502])
async def test_other_refusals_are_errors(status: int) -> None:
    """Any other status to the first request says nothing of the transport: one error, and the next frame asks again."""

    class Recovering(Script):
        async def initialize(self, exchange: Exchange) -> None:
            if len(server.posted("initialize")) == 1:
                await exchange.reply(status)
            else:
                await super().initialize(exchange)

    async with FaultServer.running(Recovering()) as server, Direct.to(server.url) as client:
        assert (await client.call("early", "initialize"))["error"]["data"]["status"] == status
        await client.handshake()
        assert "result" in await client.call(1)
        assert "GET" not in server.methods()[:2]


async def test_neither_transport_at_first() -> None:
    """A server that refuses both is asked for both again: it may only have been starting."""

    class Starting(Script):
        is_up = False

        async def answer(self, exchange: Exchange) -> None:
            if self.is_up:
                await super().answer(exchange)
            else:
                await exchange.reply(404)

    script = Starting()
    async with FaultServer.running(script) as server, Direct.to(server.url) as client:
        answer = await client.call("early", "initialize")
        assert answer["error"]["data"]["delivered"] == "no"
        assert server.methods() == ["initialize", "GET"]
        script.is_up = True
        await client.handshake()
        assert "result" in await client.call(1)


async def test_transport_forced_to_sse(loop_name: str) -> None:
    """--transport sse: no POST comes before the stream."""
    async with (
        FaultServer.running(SseScript()) as server,
        Program.running(server.url, "--transport", "sse", loop=loop_name) as program,
    ):
        await program.handshake()
        assert server.methods()[0] == "GET"


@pytest.mark.parametrize("word", ["streamablehttp", "streamable-http"])
async def test_transport_forced_to_streamable_http(word: str) -> None:
    """--transport streamablehttp: 405 is an error, and HTTP+SSE is not tried."""
    async with FaultServer.running(Both(405)) as server, Program.running(server.url, "--transport", word) as program:
        answer = await program.call(1, "initialize")
        assert answer["error"]["data"] == {"delivered": "no", "status": 405}
        assert server.methods() == ["initialize"]


class WithStream(Script):
    """Keeps a GET stream open."""

    async def get(self, exchange: Exchange) -> None:
        await exchange.open_stream()
        await exchange.hold()


async def test_headers_go_with_every_request(loop_name: str) -> None:
    """-H and API_ACCESS_TOKEN arrive on every POST, on the GET stream and on the DELETE, also over kept connections."""
    options = ("-H", "X-One", "50%", "--headers", "X-Two", "two words", "-H", "Authorization", "Basic outdone")
    async with FaultServer.running(WithStream()) as server:
        async with Program.running(
            server.url, *options, loop=loop_name, env={"API_ACCESS_TOKEN": "token-1"}
        ) as program:
            await program.handshake()
            await server.until(lambda: "GET" in server.methods())
            await program.warm_up(server)
            await program.call(1)
        assert {"initialize", "GET", "ping", "tools/call", "DELETE"} < set(server.methods())
        seen = {(one.headers["x-one"], one.headers["x-two"], one.headers["authorization"]) for one in server.requests}
        assert seen == {("50%", "two words", "Bearer token-1")}
        assert {one.headers["host"] for one in server.requests} == {f"127.0.0.1:{server.port}"}


async def test_headers_go_with_every_request_of_sse() -> None:
    """The same over HTTP+SSE."""
    async with FaultServer.running(SseScript()) as server:
        async with Program.running(server.url, "--transport", "sse", "-H", "X-One", "one") as program:
            await program.handshake()
            await program.call(1)
        assert [one.headers.get("x-one") for one in server.requests] == ["one"] * 4


@pytest.mark.shortcuts
async def test_header_of_the_operator_replaces_ours() -> None:
    """A header given with -H in any letter case is sent once, instead of the relay's own."""
    headers = {"user-agent": "mine", "host": "example.test"}
    async with FaultServer.running(Script()) as server, Direct.to(server.url, headers=headers) as client:
        await client.handshake()
        await client.warm_up(server)
        assert {one.headers["user-agent"] for one in server.requests} == {"mine"}
        assert {one.headers["host"] for one in server.requests} == {"example.test"}
        assert {one.repeated for one in server.requests} == {()}


async def test_credentials_in_the_url() -> None:
    """user:password@ in the URL becomes basic authorization, and is in no error."""
    async with FaultServer.running(Script()) as server:
        url = server.url.replace("http://", "http://ada:s3cr3t@")
        async with Program.running(url) as program:
            await program.handshake()
            assert {one.headers["authorization"] for one in server.requests} == {"Basic YWRhOnMzY3IzdA=="}
            await server.stop()
            answer = await program.call(1)
            assert "s3cr3t" not in str(answer)
            await server.start()
        assert "s3cr3t" not in program.stderr


async def test_no_traffic_before_the_first_frame(loop_name: str) -> None:
    """Starting and ending without a frame makes no connection at all."""
    async with FaultServer.running(Script()) as server:
        async with Program.running(server.url, loop=loop_name) as program:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(program.process.wait(), 1)
        assert server.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_localhost_is_both_addresses(host: str, loop_name: str) -> None:
    """http://localhost:PORT reaches a server that listens on one of the two loopback addresses only."""
    async with FaultServer.running(WithStream(), host=host) as server:
        url = f"http://localhost:{server.port}/mcp"
        async with Program.running(url, loop=loop_name) as program:
            await program.handshake()
            await program.warm_up(server)
            assert "result" in await program.call(1)


async def test_ipv6_address() -> None:
    """http://[::1]:PORT works, over kept connections too."""
    async with FaultServer.running(Script(), host="::1") as server, Program.running(server.url) as program:
        await program.handshake()
        await program.warm_up(server)
        assert {one.headers["host"] for one in server.requests} == {f"[::1]:{server.port}"}


async def test_connection_refused_and_later_not(loop_name: str) -> None:
    """Nobody listens: an error with the request's id that says it was not delivered; later the same program works."""
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        port = placeholder.getsockname()[1]
    async with Program.running(f"http://127.0.0.1:{port}/mcp", loop=loop_name) as program:
        answer = await program.call("early", "initialize")
        assert answer["error"]["code"] == -32006
        assert answer["error"]["data"] == {"delivered": "no"}
        await program.send(request("a", "initialize"), request("b", "tools/list"))
        assert {one["error"]["code"] for one in await program.all_answers(("a", "b"))} == {-32006}
        async with FaultServer.running(Script(), port=port):
            await program.handshake()
            assert "result" in await program.call(1)
            program.eof()
            await program.ended()


async def test_connection_refused_and_later_sse() -> None:
    """A server that was down at first may turn out to speak HTTP+SSE."""
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        port = placeholder.getsockname()[1]
    async with Direct.to(f"http://127.0.0.1:{port}/sse") as client:
        assert (await client.call("early", "initialize"))["error"]["code"] == -32006
        async with FaultServer.running(Both(405), port=port):
            await client.handshake()
            assert "result" in await client.call(1)


@pytest.fixture
def certificate(tmp_path: Path) -> Iterator[ssl.SSLContext]:
    """A server's side of TLS with a certificate that nobody trusts."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout"]
    command += [str(key), "-out", str(cert)]
    subprocess.run([*command, *subject], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    yield context


@pytest.mark.only_loop("uvloop")  # asyncio's own server end calls the handshake that is broken off an error of its own
async def test_untrusted_certificate(certificate: ssl.SSLContext, loop_name: str) -> None:
    """A certificate nobody trusts: one line that says so, under the request's id; the request was not delivered."""
    async with FaultServer.running(Script(), tls=certificate) as server:
        url = f"https://localhost:{server.port}/mcp"
        async with Program.running(url, loop=loop_name, exit_code=1) as program:
            answer = await program.call(1, "initialize")
            assert answer["error"]["code"] == -32006
            assert "certificate is not trusted" in answer["error"]["message"]
            assert "\n" not in answer["error"]["message"]
            assert answer["error"]["data"] == {"delivered": "no"}
        assert server.requests == []
        assert program.stderr.count("certificate is not trusted") == program.stderr.count("\n") == 1


async def test_trusted_certificate(certificate: ssl.SSLContext, tmp_path: Path, loop_name: str) -> None:
    """With the certificate's authority in SSL_CERT_FILE a session over https works."""
    env = {"SSL_CERT_FILE": str(tmp_path / "cert.pem")}
    async with FaultServer.running(WithStream(), tls=certificate) as server:
        url = f"https://localhost:{server.port}/mcp"
        async with Program.running(url, loop=loop_name, env=env) as program:
            await program.handshake()
            assert "result" in await program.call(1)
        assert server.methods()[-1] == "DELETE"
