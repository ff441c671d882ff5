"""TCP and Unix sockets, dialled and listening, over real sockets of 127.0.0.1 and of a temporary directory."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import psutil
import pytest

from relay.endpoints.child.child import Child
from relay.endpoints.core.memory import memory_pair
from relay.endpoints.http.listening import ListeningOptions
from relay.endpoints.socket.listener import SocketListener, TcpListener, UnixListener
from relay.endpoints.socket.tcp import SocketEndpoint, TcpAddress, UnixAddress, dial, parse_address
from relay.errors import ConfigError, EndpointBroken, EndpointClosed, EndpointUnavailable
from relay.frames import replies
from relay.frames.frame import Frame
from relay.limits import Limits
from relay.pipe import pipe
from relay.testing import Capabilities, Pair, check_endpoint, joined
from relay.testing.pair import of_size, request, take
from tests.endpoints.http.peers_by_hand import HELLO, QUICK, answer, error_of, start
from tests.endpoints.socket.socket_far import SocketFar, StreamFar

ECHO = """
import sys
for line in sys.stdin.buffer:
    sys.stdout.buffer.write(line.replace(b'"method":"x","params"', b'"result"'))
    sys.stdout.buffer.flush()
"""


# -- pairs ------------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def plain_server(family: str) -> AsyncIterator[tuple[str, socket.socket]]:
    """Listen on a plain socket; yield its address as we dial it."""
    with tempfile.TemporaryDirectory() as directory:
        if family == "unix":
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(f"{directory}/s")
            address = f"unix:{directory}/s"
        else:
            listener = socket.socket()
            listener.bind(("127.0.0.1", 0))
            address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        with listener:
            listener.listen()
            listener.setblocking(False)
            yield address, listener


@contextlib.asynccontextmanager
async def dialled(family: str, limits: Limits) -> AsyncIterator[tuple[SocketEndpoint, SocketFar]]:
    """Dial a plain socket."""
    async with plain_server(family) as (address, listener):
        near = await dial(address, limits=limits)
        sock, _ = await asyncio.get_running_loop().sock_accept(listener)
        try:
            yield near, SocketFar(sock)
        finally:
            await near.aclose()
            sock.close()


@contextlib.asynccontextmanager
async def listening(family: str, limits: Limits) -> AsyncIterator[SocketListener]:
    """Listen with our own listener."""
    with tempfile.TemporaryDirectory() as directory:
        listener: TcpListener | UnixListener
        options = ListeningOptions(limits=limits)
        listener = TcpListener(options=options) if family == "tcp" else UnixListener(f"{directory}/s", options)
        await listener.start()
        try:
            yield listener
        finally:
            await listener.aclose()


async def call(listener: SocketListener) -> SocketFar:
    """Connect a plain socket to our listener."""
    assert isinstance(listener, TcpListener | UnixListener)
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_INET if isinstance(listener, TcpListener) else socket.AF_UNIX)
    sock.setblocking(False)
    await loop.sock_connect(sock, listener.addresses[0])
    return SocketFar(sock)


async def first_of(listener: SocketListener) -> SocketEndpoint:
    """Take one peer."""
    async for endpoint in listener:
        return endpoint
    raise AssertionError("the listener has closed")


@contextlib.asynccontextmanager
async def accepted(family: str, limits: Limits) -> AsyncIterator[tuple[SocketEndpoint, SocketFar]]:
    """Accept a plain socket."""
    async with listening(family, limits) as listener:
        far = await call(listener)
        await far.send([HELLO])
        near = await first_of(listener)
        assert [frame.raw for frame in await take(near, 1)] == [HELLO.raw]
        try:
            yield near, far
        finally:
            await near.aclose()
            far.sock.close()


def pairs(
    make: Callable[[str, Limits], AbstractAsyncContextManager[tuple[SocketEndpoint, SocketFar]]], family: str
) -> Callable[[Limits], AbstractAsyncContextManager[Pair]]:
    """Make what ``check_endpoint`` wants."""

    @contextlib.asynccontextmanager
    async def make_pair(limits: Limits) -> AsyncIterator[Pair]:
        # A far end that does not close is waited for at each end of a pair, and this one is a task of this loop.
        quick = dataclasses.replace(limits, close_grace=0.2)
        async with make(family, quick) as (near, far), joined(near, far) as pair:
            yield pair

    return make_pair


both_sides = pytest.mark.parametrize("make", [dialled, accepted])
both_families = pytest.mark.parametrize("family", ["tcp", "unix"])


@pytest.mark.async_timeout(90)
@both_sides
@both_families
async def test_sockets(
    make: Callable[[str, Limits], AbstractAsyncContextManager[tuple[SocketEndpoint, SocketFar]]], family: str
) -> None:
    """Every law of an endpoint."""
    await check_endpoint(pairs(make, family), Capabilities(most_buffered=12 * 2**20))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Make a certificate for 127.0.0.1, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    key, cert = directory / "key.pem", directory / "cert.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test".split()
    extension = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    try:
        subprocess.run([*words, "-keyout", key, "-out", cert, *extension], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("no openssl to make a certificate with")
    yield key, cert


def contexts(certificate: tuple[Path, Path]) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's and a client's."""
    key, cert = certificate
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    return server, ssl.create_default_context(cafile=str(cert))


@pytest.mark.async_timeout(90)
@pytest.mark.parametrize("side", ["dialled", "accepted"])
async def test_tls(side: str, certificate: tuple[Path, Path]) -> None:
    """Every law that TLS can show: it has no half-close."""
    server_context, client_context = contexts(certificate)

    @contextlib.asynccontextmanager
    async def dialled_pair(limits: Limits) -> AsyncIterator[Pair]:
        came: asyncio.Queue[StreamFar] = asyncio.Queue()
        server = await asyncio.start_server(
            lambda r, w: came.put_nowait(StreamFar(r, w)), "127.0.0.1", 0, ssl=server_context
        )
        port = server.sockets[0].getsockname()[1]
        near = await dial(f"tls://127.0.0.1:{port}", ssl_context=client_context, limits=limits)
        async with joined(near, await came.get()) as pair:
            yield pair
        server.close()

    @contextlib.asynccontextmanager
    async def accepted_pair(limits: Limits) -> AsyncIterator[Pair]:
        listener = TcpListener(options=ListeningOptions(tls=server_context, limits=limits))
        await listener.start()
        host, port = listener.addresses[0]
        far = StreamFar(*await asyncio.open_connection(host, port, ssl=client_context))
        await far.send([HELLO])
        near = await first_of(listener)
        await near.receive()
        async with joined(near, far) as pair:
            yield pair
        await listener.aclose()

    make_pair = dialled_pair if side == "dialled" else accepted_pair
    await check_endpoint(make_pair, Capabilities(most_buffered=12 * 2**20, half_close=False))


# -- dialling ---------------------------------------------------------------------------------------------------------


def test_addresses() -> None:
    """What is one, and what each refusal says."""
    assert parse_address("tcp://127.0.0.1:80") == TcpAddress("127.0.0.1", 80)
    assert parse_address("tcp://[::1]:80/") == TcpAddress("::1", 80)
    assert str(TcpAddress("::1", 80)) == "tcp://[::1]:80"
    assert parse_address("tls://h:80") == TcpAddress("h", 80, is_tls=True)
    assert str(TcpAddress("::1", 80, is_tls=True)) == "tls://[::1]:80"
    assert parse_address("unix:/run/s") == UnixAddress("/run/s")
    assert parse_address("UNIX:///run/s") == UnixAddress("/run/s")
    assert str(parse_address("unix:s")) == "unix:s"
    for wrong in ("tcp://host", "tcp://:80", "tcp://h:99999", "tcp://u:p@h:1", "tcp://h:1/path", "udp://h:1", "unix:"):
        with pytest.raises(ConfigError):
            parse_address(wrong)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_localhost_is_both_loopback_addresses(address: str) -> None:
    """Whichever of the two the server listens on."""
    listener = TcpListener(address)
    try:
        await listener.start()
    except ConfigError:
        pytest.skip("no IPv6 here")
    near = await dial(f"tcp://localhost:{listener.addresses[0][1]}")
    await near.send([HELLO])
    far = await first_of(listener)
    assert [frame.raw for frame in await far.receive()] == [HELLO.raw]
    await far.aclose()
    await near.aclose()
    await listener.aclose()


async def test_listening_on_localhost_is_one_port_of_both() -> None:
    """A free one, the same for both families."""
    listener = TcpListener("localhost")
    await listener.start()
    assert len({port for _, port in listener.addresses}) == 1
    assert listener.addresses[0][0] == "127.0.0.1"
    await listener.aclose()


async def test_nobody_there() -> None:
    """A closed port, no file, a dead socket file, an unknown name: EndpointUnavailable that says which."""
    with socket.socket() as taken, tempfile.TemporaryDirectory() as directory:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(EndpointUnavailable, match="Connection refused"):
            await dial(f"tcp://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(EndpointUnavailable, match="Connection refused"):
            await dial(f"tcp://localhost:{taken.getsockname()[1]}")
        with pytest.raises(EndpointUnavailable, match="No such file"):
            await dial(f"unix:{directory}/none")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(f"{directory}/dead")
        with pytest.raises(EndpointUnavailable, match="Connection refused"):
            await dial(f"unix:{directory}/dead")
    with pytest.raises(EndpointUnavailable, match="no address is known"):
        await dial("tcp://name.invalid:1")


async def test_a_server_that_does_not_accept() -> None:
    """``limits.connect`` seconds, then EndpointUnavailable; nothing is left of the attempt."""
    with socket.socket() as deaf, contextlib.ExitStack() as queue:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(8):  # its queue is full then: the kernel drops what knocks
            waiting = queue.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(deaf.getsockname())
        began = time.monotonic()
        with pytest.raises(EndpointUnavailable, match=r"no answer within 0\.4 s"):
            await dial(f"tcp://127.0.0.1:{deaf.getsockname()[1]}", limits=Limits(connect=0.4))
        assert 0.3 < time.monotonic() - began < 10


async def test_a_server_whose_certificate_is_not_trusted(certificate: tuple[Path, Path]) -> None:
    """EndpointUnavailable that says so; one that speaks no TLS, too."""
    # asyncio in debug mode tells of every TLS handshake that failed.
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    server_context, _ = contexts(certificate)
    listener = TcpListener(options=ListeningOptions(tls=server_context, limits=QUICK))
    await listener.start()
    with pytest.raises(EndpointUnavailable, match="certificate is not trusted"):
        await dial(listener.url, ssl_context=ssl.create_default_context(), limits=QUICK)
    await listener.aclose()
    async with listening("tcp", QUICK) as plain:
        assert isinstance(plain, TcpListener)
        with pytest.raises(EndpointUnavailable, match="cannot connect"):
            await dial(plain.url.replace("tcp:", "tls:"), ssl_context=ssl.create_default_context(), limits=QUICK)


# -- one outcome ------------------------------------------------------------------------------------------------------

DYING_SERVER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
connection, _ = listener.accept()
lines = connection.makefile("rb")
for number, line in enumerate(lines):
    if number % 3 == 0:
        connection.sendall(line.replace(b'"method":"x","params"', b'"result"'))
    if number == 29:
        connection.sendall(b'{"jsonrpc":"2.0","id":1,"resu')
        print("read", flush=True)
"""


async def test_kill_9_of_a_dialled_server_answers_every_open_request() -> None:
    """Thirty requests, ten answered, half an answer written: twenty errors with their ids, within a second."""
    server = start(sys.executable, "-I", "-S", "-c", DYING_SERVER)
    assert server.stdout is not None
    port = int(await asyncio.to_thread(server.stdout.readline))
    client, ours = memory_pair()
    upstream = await dial(f"tcp://127.0.0.1:{port}", limits=QUICK)
    async with asyncio.TaskGroup() as group:
        piping = group.create_task(pipe(ours, upstream, limits=QUICK))
        await client.send([request(number) for number in range(30)])
        assert [frame.head.id for frame in await take(client, 10)] == list(range(0, 30, 3))
        await asyncio.to_thread(server.stdout.readline)
        server.kill()
        began = time.monotonic()
        errors = [frame async for frame in until_end(client)]
        assert time.monotonic() - began < 10
        assert sorted(frame.head.id for frame in errors if isinstance(frame.head.id, int)) == [
            number for number in range(30) if number % 3
        ]
        for frame in errors:
            assert error_of(frame)[1:] == (replies.LOST, {"delivered": "unknown"})
        await client.aclose()
    server.communicate()
    assert piping.result().frames_b_to_a == 30


async def until_end(endpoint: object) -> AsyncIterator[Frame]:
    """Yield frames to the end."""
    while frames := await endpoint.receive():  # type: ignore[attr-defined]  # any endpoint
        for frame in frames:
            yield frame


async def test_a_reset_is_a_failure() -> None:
    """The open requests get their errors, then EndpointBroken with the reason; Unix sockets know no reset."""
    async with dialled("tcp", QUICK) as (near, far):
        await near.send([request(1), request(2)])
        await far.receive()
        far.reset()
        assert [error_of(frame)[0] for frame in await take(near, 2)] == [1, 2]
        with pytest.raises(EndpointBroken, match="Connection reset"):
            await near.receive()
        with pytest.raises(EndpointBroken):
            await near.send([request(3)])


@pytest.mark.parametrize("status", [0, 3])
@both_families
async def test_an_inbound_client_learns_that_the_upstream_died(family: str, status: int) -> None:
    """A child that exits with requests open, in order or not: an error for each id, then the end."""
    code = f"""
import os, sys
for number, line in enumerate(sys.stdin.buffer):
    if number == 0:
        os.write(1, b'{{"jsonrpc":"2.0","id":0,"result":{{}}}}\\n')
    if number == 4:
        os._exit({status})
"""
    async with listening(family, QUICK) as listener:
        far = await call(listener)
        await far.send([request(number) for number in range(5)])
        near = await first_of(listener)
        child = await Child.start([sys.executable, "-I", "-S", "-c", code], name="server", limits=QUICK)
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            group.create_task(pipe(near, child, limits=QUICK))
            frames = await take(far, 99)
            assert time.monotonic() - began < 10
            assert frames[0].raw == answer(0).raw
            assert [error_of(frame)[:2] for frame in frames[1:]] == [(n, replies.LOST) for n in range(1, 5)]
            await far.vanish()


async def test_tcp_to_tcp_gives_one_outcome_not_two() -> None:
    """Both ends of a pipe keep a table; each request is answered by one."""
    async with listening("tcp", QUICK) as listener, dialled("tcp", QUICK) as (upstream, server):
        client = await call(listener)
        await client.send([request(1), request(2), request(3)])
        near = await first_of(listener)
        async with asyncio.TaskGroup() as group:
            group.create_task(pipe(near, upstream, limits=QUICK))
            await take(server, 3)
            await server.send([answer(2)])
            assert [frame.head.id for frame in await take(client, 1)] == [2]
            await server.vanish()
            assert [error_of(frame)[0] for frame in await take(client, 99)] == [1, 3]
            await client.vanish()


@both_sides
async def test_the_other_direction_has_one_outcome_too(
    make: Callable[[str, Limits], AbstractAsyncContextManager[tuple[SocketEndpoint, SocketFar]]],
) -> None:
    """A request of the peer's gets an error when we end without its answer; a cancelled one needs none."""
    cancelled = Frame(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}')
    async with make("tcp", QUICK) as (near, far):
        await far.send([request(1), request(2), request(3), cancelled])
        await take(near, 4)
        await near.send([answer(3)])
        await near.aclose(EndpointBroken("server: exited with status 1"))
        frames = await take(far, 99)
        assert [frame.head.id for frame in frames] == [3, 1]
        assert b"server: exited with status 1" in frames[1].raw


@both_sides
async def test_nobody_gets_two_answers(
    make: Callable[[str, Limits], AbstractAsyncContextManager[tuple[SocketEndpoint, SocketFar]]],
) -> None:
    """A second answer and one to an id never used are dropped, alone or in a batch; an error without id passes."""
    null = Frame(b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"what?"}}')
    batch = Frame(b'[{"jsonrpc":"2.0","id":1,"result":{}}, {"jsonrpc":"2.0","method":"x"}]')
    async with make("tcp", QUICK) as (near, far):
        await near.send([request(1), request(2), request(3)])
        await far.send([answer(1), answer(1), answer(7), null, batch, HELLO])
        frames = await take(near, 4)
        assert [frame.raw for frame in frames] == [
            answer(1).raw, null.raw, b'{"jsonrpc":"2.0","method":"x"}', HELLO.raw,
        ]  # fmt: skip
        assert near.dropped == 3
        await near.send([answer(9), HELLO])
        assert [frame.raw for frame in await take(far, 3)][-1] == HELLO.raw
        assert near.dropped == 4


async def test_a_peer_that_leaves_too_much_open_is_lost() -> None:
    """Ids are remembered until they are answered: their memory has a bound."""
    limits = dataclasses.replace(QUICK, max_open_bytes=1000)
    async with accepted("tcp", limits) as (near, far):
        await far.send([request(number) for number in range(20)])
        with pytest.raises(EndpointBroken, match="requests are open"):
            while await near.receive():
                pass
    async with dialled("tcp", limits) as (near, far):
        with pytest.raises(EndpointBroken, match="requests are open"):
            await near.send([request(number) for number in range(20)])


# -- strangers --------------------------------------------------------------------------------------------------------

POST = (
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: 60\r\n\r\n"
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}\n'
)


@both_families
@pytest.mark.parametrize(
    "said",
    [
        POST,
        b"P",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\r\n\r\nGET / HTTP/1.1\r\n",
        b'{"hello":1}\n{"jsonrpc":"2.0","id":1,"method":"x"}\n',
        b'[]\n{"jsonrpc":"2.0","id":1,"method":"x"}\n',
        b'{"jsonrpc":"2.0","id":1,"method":"x"\n{"jsonrpc":"2.0","id":1,"method":"x"}\n',
        b"\n" * 4097,
        b'{"jsonrpc":"2.0"' + b" " * 6000 + b'}\n{"jsonrpc":"2.0","id":1,"method":"x"}\n',
    ],
    ids=["post", "one byte", "tls", "blank lines", "json", "no batch", "cut", "blank", "endless"],
)
async def test_a_first_line_that_is_not_json_rpc_closes_the_connection(family: str, said: bytes) -> None:
    """At once, without an answer, and nothing is handed on, though lines that follow were frames."""
    async with listening(family, Limits(max_frame_bytes=5000)) as listener:
        far = await call(listener)
        await far.send_bytes(said)
        async with asyncio.timeout(10):
            assert await far.receive_bytes() == b""
        assert listener._offered.empty()
        far.sock.close()


@both_families
@pytest.mark.parametrize("version", [b'"jsonrpc":"1.0",', b""], ids=["1.0", "none"])
async def test_a_first_line_of_another_json_rpc_is_answered_and_closes(family: str, version: bytes) -> None:
    """Its client learns why; what follows is not looked at."""
    async with listening(family, QUICK) as listener:
        far = await call(listener)
        await far.send_bytes(b"{" + version + b'"id":1,"method":"ping"}\n' + request(2).raw + b"\n")
        async with asyncio.timeout(10):
            said = b""
            while more := await far.receive_bytes():
                said += more
        assert error_of(Frame(said.removesuffix(b"\n")))[:2] == (1, replies.INVALID_REQUEST)
        assert listener._offered.empty()
        far.sock.close()


async def test_a_first_line_in_pieces_is_one() -> None:
    """Byte by byte, after a byte order mark and blank lines."""
    async with listening("tcp", QUICK) as listener:
        far = await call(listener)
        for byte in b"\xef\xbb\xbf" + HELLO.raw + b"\r\n":
            await far.send_bytes(bytes([byte]))
            await asyncio.sleep(0)
        near = await first_of(listener)
        assert [frame.raw for frame in await near.receive()] == [HELLO.raw]
        await near.aclose()
        far.sock.close()


async def test_who_says_nothing_is_not_kept() -> None:
    """``limits.handshake`` seconds; and who leaves without a word leaves nothing."""
    async with listening("tcp", Limits(handshake=1.0)) as listener:
        silent, gone, half = await call(listener), await call(listener), await call(listener)
        await half.send_bytes(b'{"jsonrpc":')
        await gone.send_eof()
        for far in (silent, gone, half):
            assert await far.receive_bytes() == b""
            far.sock.close()
        await until(lambda: listener.connections == 0)
        assert listener._offered.empty()


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for what has no event."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@both_families
async def test_later_faults_are_answered_and_not_handed_on(family: str) -> None:
    """A message with a fault in it is no garbage: an error each, and the frames around it pass."""
    faulty = (
        b'{"jsonrpc":"2.0","id":null,"method":"x"}',
        b'{"hello":1}',
        b'{"jsonrpc":"2.0","id":7,"method":"x","params":NaN}',
    )
    async with accepted(family, QUICK) as (near, far):
        await far.send_bytes(b"\n".join([*faulty, request(2).raw, b""]))
        assert [frame.head.id for frame in await take(near, 1)] == [2]
        codes = [error_of(frame)[:2] for frame in await take(far, 3)]
        assert codes == [(None, -32600), (None, -32600), (7, -32700)]
        assert near.noise == 3


GARBAGE = (
    b"nonsense", b"POST /mcp HTTP/1.1", b"\x16\x03\x01\x02\x00\x01", b"\xff\xfe", b"<html>", b"id: 1", b"{", b"{]",
    b'x{"jsonrpc":"2.0","id":9,"method":"x"}', b'{"a":1}{"b":2}',
)  # fmt: skip


@both_families
@pytest.mark.parametrize("garbage", GARBAGE)
async def test_later_garbage_ends_the_connection(family: str, garbage: bytes) -> None:
    """Its sender speaks something else: the lines behind are not read, those before are answered to the end."""
    async with accepted(family, QUICK) as (near, far):
        behind = b"\n".join([garbage, request(3).raw, b""])
        await far.send_bytes(request(2).raw + b"\n" + behind)
        assert [frame.head.id for frame in await take(near, 1)] == [2]
        assert error_of((await take(far, 1))[0])[1] == -32700
        assert await near.receive() == ()
        await far.send_bytes(request(4).raw + b"\n")  # is not read either
        await near.send([answer(2)])
        assert [frame.raw for frame in await take(far, 1)] == [answer(2).raw]
        await near.send_eof()
        assert await far.receive_bytes() == b""
        await far.send_eof()
        assert near.noise == 1


async def test_faults_of_one_who_does_not_read_end_the_connection() -> None:
    """The refusals would fill our memory."""
    async with accepted("tcp", QUICK) as (near, far):
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                await far.send_bytes(b"{}\n" * 10_000)
        with pytest.raises(EndpointBroken, match="does not read"):
            await near.receive()


async def test_noise_of_a_server_is_skipped() -> None:
    """A dialled server's lines that are no JSON-RPC are dropped and counted; a broken answer is an error."""
    async with dialled("tcp", QUICK) as (near, far):
        await near.send([request(1), request(2), Frame(b"garbage of ours")])
        assert [error_of(frame)[:2] for frame in await take(near, 1)] == [(None, -32700)]
        await far.send_bytes(b'starting...\n{"jsonrpc":"2.0","id":1,"result":NaN}\n')
        await far.send([answer(2)])
        frames = await take(near, 2)
        assert error_of(frames[0]) == (1, replies.LOST, {"delivered": "unknown"})
        assert frames[1].raw == answer(2).raw
        assert near.noise == 2
        assert b"garbage" not in b"".join(frame.raw for frame in await take(far, 2))


@both_sides
async def test_what_is_too_large_has_its_error(
    make: Callable[[str, Limits], AbstractAsyncContextManager[tuple[SocketEndpoint, SocketFar]]],
) -> None:
    """An answer's goes to who waits for it, a request's to who sent it; both once."""
    limits = dataclasses.replace(QUICK, max_frame_bytes=5000)
    async with make("tcp", limits) as (near, far):
        await near.send([request(1)])
        await far.receive()
        huge = b'{"jsonrpc":"2.0","id":1,"result":{"p":"' + b"x" * 6000 + b'"}}'
        await far.send([Frame(huge), Frame(huge), of_size(5, 6000), HELLO])
        frames = await take(near, 2)
        assert error_of(frames[0]) == (1, replies.TOO_LARGE, {"delivered": "unknown"})
        assert frames[1].raw == HELLO.raw
        assert error_of((await take(far, 1))[0]) == (5, replies.TOO_LARGE, {"delivered": "no"})


async def test_the_number_of_connections_is_capped() -> None:
    """One more is closed at once; when one has gone, another may come."""
    async with listening("tcp", Limits(max_connections=2, close_grace=0.3)) as listener:
        first, second = await call(listener), await call(listener)
        await until(lambda: listener.connections == 2)
        third = await call(listener)
        assert await third.receive_bytes() == b""
        await first.vanish()
        await until(lambda: listener.connections == 1)
        fourth = await call(listener)
        await fourth.send([HELLO])
        near = await first_of(listener)
        await near.aclose()
        for far in (second, third, fourth):
            far.sock.close()


async def test_closing_a_listener() -> None:
    """Who was yielded lives on; who waits is told, request by request; iterating ends."""
    async with listening("tcp", QUICK) as listener:
        yielded, waiting, silent = await call(listener), await call(listener), await call(listener)
        await yielded.send([HELLO])
        near = await first_of(listener)
        await waiting.send([request(4)])
        await until(lambda: not listener._offered.empty())
        async with asyncio.TaskGroup() as group:
            group.create_task(listener.aclose())
            assert [error_of(frame)[0] for frame in await take(waiting, 99)] == [4]
            await waiting.vanish()
        assert await silent.receive_bytes() == b""
        assert [endpoint async for endpoint in listener] == []
        await yielded.send([request(5)])
        assert [frame.raw for frame in await take(near, 2)] == [HELLO.raw, request(5).raw]
        await near.aclose()
        for far in (yielded, silent):
            far.sock.close()


async def test_a_port_that_is_taken() -> None:
    """ConfigError that says so."""
    async with listening("tcp", QUICK) as listener:
        assert isinstance(listener, TcpListener)
        with pytest.raises(ConfigError, match="in use"):
            await TcpListener("127.0.0.1", listener.addresses[0][1]).start()
    with pytest.raises(ConfigError, match="cannot listen"):
        await TcpListener("192.0.2.1", 1234).start()


# -- Unix sockets -----------------------------------------------------------------------------------------------------


async def test_a_unix_socket_is_the_users_own(tmp_path: Path) -> None:
    """Mode 0600 whatever the umask, and the file is gone at the end."""
    path = tmp_path / "s"
    before = os.umask(0)
    try:
        listener = UnixListener(str(path))
        await listener.start()
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (listener.url, listener.addresses) == (f"unix:{path}", [str(path)])
    await listener.aclose()
    assert not path.exists()


async def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    """What a relay that was killed left behind; what another listens on; what is no socket at all."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    listener = UnixListener(str(path), ListeningOptions(limits=QUICK))
    await listener.start()
    with pytest.raises(ConfigError, match="another process listens there"):
        await UnixListener(str(path)).start()
    near = await dial(listener.url, limits=QUICK)  # it was not disturbed
    await near.send([HELLO])
    far = await first_of(listener)
    path.unlink()
    path.write_text("another's by now")
    await listener.aclose()
    await far.aclose()
    await near.aclose()
    assert path.read_text() == "another's by now"
    with pytest.raises(ConfigError, match="no socket"):
        await UnixListener(str(path)).start()
    assert path.read_text() == "another's by now"


async def test_paths_that_cannot_be(tmp_path: Path) -> None:
    """No directory, too long: ConfigError."""
    for path in (tmp_path / "none" / "s", tmp_path / ("x" * 200)):
        with pytest.raises(ConfigError, match="cannot listen on unix:"):
            await UnixListener(str(path)).start()


async def test_of_many_that_start_at_once_on_a_stale_socket_one_wins(tmp_path: Path) -> None:
    """The others say that it lives; it can be reached."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    code = f"""
import asyncio, sys
from relay.endpoints.socket.listener import UnixListener
from relay.errors import ConfigError
async def main():
    listener = UnixListener({path!r})
    sys.stdin.readline()
    try:
        await listener.start()
    except ConfigError:
        print("refused", flush=True)
        return
    print("listens", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await listener.aclose()
asyncio.run(main())
"""
    with contextlib.ExitStack() as ending:
        relays = [ending.enter_context(start(sys.executable, "-c", code)) for _ in range(5)]
        for relay in relays:
            ending.callback(relay.kill)
        said = []
        for relay in relays:
            assert relay.stdin is not None
            relay.stdin.write(b"\n")
        for relay in relays:
            assert relay.stdout is not None
            said.append(await asyncio.to_thread(relay.stdout.readline))
        assert sorted(said) == [b"listens\n"] + [b"refused\n"] * 4
        await (await dial(f"unix:{path}", limits=QUICK)).aclose()
        alive = relays[said.index(b"listens\n")]
        await asyncio.to_thread(alive.communicate, b"\n")
    assert not os.path.exists(path)


# -- whole conversations ----------------------------------------------------------------------------------------------


@both_families
async def test_a_client_that_ends_its_side_gets_every_answer(family: str) -> None:
    """A shell's ``printf ... | nc``: N requests, then its half-close; N answers before ours."""
    async with listening(family, QUICK) as listener:
        far = await call(listener)
        await far.send([request(number) for number in range(200)])
        await far.send_eof()
        near = await first_of(listener)
        child = await Child.start([sys.executable, "-I", "-S", "-c", ECHO], limits=QUICK)
        async with asyncio.TaskGroup() as group:
            group.create_task(pipe(near, child, limits=QUICK))
            frames = await take(far, 999)
        assert [frame.head.id for frame in frames] == list(range(200))
        far.sock.close()


@pytest.mark.async_timeout(60)
@both_families
async def test_a_mixed_thousand_and_frames_of_16_mib(family: str) -> None:
    """Through a listener, a pipe and a dialled server, byte for byte and in order, both ways at once."""
    async with listening(family, QUICK) as listener, dialled(family, QUICK) as (upstream, server):
        frames = [request(number, [0, 17, 900, 70_000][number % 4]) for number in range(1000)]
        frames[500:500] = [of_size(5000, 16 * 2**20), Frame(b'{"method":"x", "n":12345678901234567890.10}')]
        client = await call(listener)
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(client.send(frames))
            near = await first_of(listener)
            piping = group.create_task(pipe(near, upstream, limits=QUICK))
            group.create_task(server.send(frames))
            to_server = group.create_task(take(server, len(frames)))
            to_client = group.create_task(take(client, len(frames)))
            await asyncio.wait([sending, to_server, to_client])
            assert [frame.raw for frame in to_server.result()] == [frame.raw for frame in frames]
            assert [frame.raw for frame in to_client.result()] == [frame.raw for frame in frames]
            await client.vanish()
            await server.vanish()
        assert piping.result().frames_a_to_b >= len(frames)  # and errors for what the two left open


async def test_a_peer_that_does_not_read_costs_bounded_memory() -> None:
    """200 MB offered, none taken: a few MB here, and closing takes ``close_grace``."""
    async with accepted("tcp", QUICK) as (near, far):
        before = psutil.Process().memory_info().rss
        frame = Frame(b'{"jsonrpc":"2.0","method":"x","params":"' + b"x" * 100_000 + b'"}')
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                for _ in range(2000):
                    await near.send([frame])
                raise AssertionError("200 MB were accepted")
        assert psutil.Process().memory_info().rss - before < 16 * 2**20
        began = time.monotonic()
        await near.aclose()
        assert time.monotonic() - began < 10


async def test_late_words_survive_the_close() -> None:
    """Bytes that came and were not read would reset the connection: they are read, and our last frames arrive."""
    async with accepted("tcp", QUICK) as (near, far):
        await far.send([request(number, 1000) for number in range(2000)])
        await near.receive()
        closing = asyncio.timeout(5)
        async with closing, asyncio.TaskGroup() as group:
            group.create_task(near.aclose(EndpointClosed("the relay is shutting down")))
            ids = [frame.head.id for frame in await take(far, 9999)]
            await far.vanish()
        assert ids == sorted(set(ids), key=lambda number: int(number or 0))
        assert len(ids) >= 1


async def test_signals_are_no_peers() -> None:
    """A relay that is killed leaves its socket file, and the next one takes it over."""
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/s"
        code = f"""
import asyncio
from relay.endpoints.socket.listener import UnixListener
async def main():
    await UnixListener({path!r}).start()
    print("listens", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
        with start(sys.executable, "-c", code) as relay:
            assert relay.stdout is not None
            await asyncio.to_thread(relay.stdout.readline)
            relay.send_signal(signal.SIGKILL)
        assert os.path.exists(path)
        listener = UnixListener(path)
        await listener.start()
        await listener.aclose()


@pytest.mark.shortcuts
def test_start_up_loads_no_aiohttp() -> None:
    """A relay between stdio and a socket starts without it."""
    code = "import sys; import relay.endpoints.socket.listener; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
