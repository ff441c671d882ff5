"""Clients over blocking sockets: the attacker, and the neighbour that should not notice it.

Each client prepares its bytes before it sends them, so that its own work does not lengthen another's waits.
"""

import contextlib
import json
import socket
import struct
import time
from pathlib import Path
from typing import Protocol

from bench.flood.corpus import modernise
from bench.sockets import connect, shake_hands

PATIENCE = 20.0
"""Seconds for a message to be taken or answered."""
SILENCE = 1.0
"""Seconds without a byte after which nothing more is expected."""

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}},
}
MODERN_META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
MODERN_HEADERS = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "x"}
PLAIN_HEADERS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


def call(number: int, method: str = "ping", **params: object) -> bytes:
    """Write a request."""
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()


class Client(Protocol):
    """One connection to the relay."""

    def call(self, number: int) -> None:
        """Call and wait for the answer."""

    def attack(self, message: bytes) -> str:
        """Send a message and wait for what comes of it, if anything; return what came, in a few words."""

    def order(self, path: Path) -> str:
        """Have the server send the message in a file; the same otherwise."""


class HttpClient:
    """Streamable HTTP: without a session, in one, or of 2026-07-28."""

    def __init__(self, port: int, era: str, path: str = "/mcp") -> None:
        self._socket = connect(port, lambda: False)
        self._socket.settimeout(PATIENCE)
        self._port = port
        self._path = path
        self._era = era
        self._headers = dict(PLAIN_HEADERS)
        if era == "modern":
            self._headers |= MODERN_HEADERS
        elif era == "session":
            head, _ = self.ask(json.dumps(INITIALIZE).encode())
            for line in head.split(b"\r\n"):
                if line.lower().startswith(b"mcp-session-id:"):
                    self._headers["Mcp-Session-Id"] = line.partition(b":")[2].strip().decode()
            self.ask(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')

    @property
    def is_modern(self) -> bool:
        """Whether it speaks 2026-07-28."""
        return self._era == "modern"

    def ask(self, body: bytes, method: str | None = None) -> tuple[bytes, bytes]:
        """POST a body; return the head and the body of the answer."""
        headers = self._headers | ({"Mcp-Method": method} if method else {})
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
        )
        # A refusal may come before all is sent, and the connection end: what is left of it is to be read all the same.
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(head.encode() + body if len(body) < 2**16 else head.encode())
            if len(body) >= 2**16:
                self._socket.sendall(body)
        return _read_answer(self._socket)

    def call(self, number: int) -> None:
        """Call and wait for the answer."""
        if self._era == "modern":
            body, method = call(number, "tools/call", name="x", _meta=MODERN_META), "tools/call"
        else:
            body, method = call(number), None
        head, said = self.ask(body, method)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{head[:60]!r} {said[:200]!r}")

    def attack(self, message: bytes) -> str:
        """Send a message; return the status and the beginning of the body."""
        head, body = self.ask(modernise(message) if self._era == "modern" else message)
        return f"{head[9:12].decode()} {len(body)} B {_short(body)}" if head else "closed"

    def order(self, path: Path) -> str:
        """Have the server send the message in a file."""
        if self._era == "modern":
            return self.attack(call(7, "tools/call", name="x", flood="flood", path=str(path), _meta=MODERN_META))
        return self.attack(call(7, "flood/send", path=str(path)))


class SseClient(HttpClient):
    """HTTP+SSE of 2024-11-05: a stream beside the POSTs."""

    def __init__(self, port: int) -> None:
        self._stream = connect(port, lambda: False)
        self._stream.settimeout(PATIENCE)
        self._stream.sendall(
            f"GET /sse HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n\r\n".encode()
        )
        seen = b""
        while b"/messages" not in seen or not seen.rstrip(b"\r\n ").endswith(b"\r\n") and b"\n\n" not in seen[-9:]:
            seen += self._stream.recv(4096)
            if b"data: /messages" in seen and seen.partition(b"data: /messages")[2].count(b"\n"):
                break
        path = seen.partition(b"data: ")[2].split(b"\r")[0].split(b"\n")[0].decode()
        super().__init__(port, "none", path)
        self.ask(json.dumps(INITIALIZE).encode())
        _drain(self._stream, SILENCE)

    def attack(self, message: bytes) -> str:
        """Send a message; return the status of its POST, and what came on the stream."""
        said = super().attack(message)
        return f"{said} {_short(_drain(self._stream, SILENCE))}"


class LineClient:
    """TCP, a Unix socket or a program's own stdin and stdout: a message a line."""

    def __init__(self, made: socket.socket, *, greet: bool = True) -> None:
        self._socket = made
        self._socket.settimeout(PATIENCE)
        if greet:
            self._socket.sendall(json.dumps(INITIALIZE).encode() + b"\n")
            _read_line(self._socket)
            self._socket.sendall(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')

    def call(self, number: int) -> None:
        """Call and wait for the answer."""
        self._socket.sendall(call(number) + b"\n")
        if not _read_line(self._socket):
            raise RuntimeError("closed")

    def call_large(self, fill: str) -> None:
        """Call with so much, and wait for the answer."""
        self._socket.sendall(call(7, fill=fill) + b"\n")
        _read_line(self._socket)

    def attack(self, message: bytes) -> str:
        """Send a line; return the beginning of what came within a moment."""
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(message)
            self._socket.sendall(b"\n")
        return _short(_drain(self._socket, SILENCE))

    def order(self, path: Path) -> str:
        """Have the server send the message in a file."""
        return self.attack(call(7, "flood/send", path=str(path)))


class WebSocketClient:
    """A WebSocket; its mask is zero, which masks nothing and costs nothing."""

    def __init__(self, port: int) -> None:
        self._socket = connect(port, lambda: False)
        self._socket.settimeout(PATIENCE)
        shake_hands(self._socket, port, "/mcp")
        self._send(json.dumps(INITIALIZE).encode())
        _drain(self._socket, SILENCE)

    def _send(self, message: bytes) -> None:
        size = len(message)
        short = bytes((0x80 | size,)) if size < 126 else b"\xfe" + struct.pack("!H", size & 0xFFFF)
        length = b"\xff" + struct.pack("!Q", size) if size > 0xFFFF else short
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(b"\x81" + length + bytes(4))
            self._socket.sendall(message)

    def call(self, number: int) -> None:
        """Call and wait for the answer."""
        self._send(call(number))
        if not self._socket.recv(65536):
            raise RuntimeError("closed")

    def attack(self, message: bytes) -> str:
        """Send a message; return the beginning of what came within a moment."""
        self._send(message)
        return _short(_drain(self._socket, SILENCE))

    def order(self, path: Path) -> str:
        """Have the server send the message in a file."""
        return self.attack(call(7, "flood/send", path=str(path)))


def _short(data: bytes) -> str:
    return repr(data[:110])[2:-1] + ("…" if len(data) > 110 else "")


def _read_line(made: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n") and (more := made.recv(65536)):
        data += more
    return data


def _drain(made: socket.socket, silence: float) -> bytes:
    """Read until nothing has come for so long, or the end; keep only the beginning."""
    kept, until = b"", time.monotonic() + PATIENCE
    made.settimeout(silence)
    with contextlib.suppress(OSError):
        while (more := made.recv(2**18)) and time.monotonic() < until:
            kept = kept if len(kept) > 4096 else kept + more[:4096]
    made.settimeout(PATIENCE)
    return kept or b""


def _read_answer(made: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            more = made.recv(2**16)
            if not more:
                return data, b""
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        lowered = head.lower()
        if b"content-length:" in lowered:
            due = int(lowered.partition(b"content-length:")[2].split(b"\r\n")[0])
            pieces, size = [body], len(body)
            while size < due and (more := made.recv(2**18)):
                pieces.append(more)
                size += len(more)
            return head, b"".join(pieces)
        return head, body + _read_chunks(made, body)
    except OSError as exc:
        return data.partition(b"\r\n\r\n")[0], f"({type(exc).__name__})".encode()


def _read_chunks(made: socket.socket, begun: bytes) -> bytes:
    """Read a chunked body to its end; good enough for one that ends with the last chunk."""
    tail, kept = begun[-8:], b""
    while not tail.endswith(b"0\r\n\r\n") and (more := made.recv(2**18)):
        tail = (tail + more)[-8:]
        kept = kept if len(kept) > 4096 else kept + more[:4096]
    return kept
