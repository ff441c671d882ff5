"""Open a client's socket to a listening bridge, and for WebSocket do the handshake.

The load generator gets the socket and knows only frames.
"""

import base64
import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable

from bench.load import CellFailed

LISTEN_SECONDS = 30.0  # a Node program on a busy machine may take seconds
MOST_HEAD = 64 * 1024


def connect(port: int, is_gone: Callable[[], bool]) -> socket.socket:
    """Connect as soon as somebody listens."""
    until = time.monotonic() + LISTEN_SECONDS
    while not is_gone() and time.monotonic() < until:
        with contextlib.suppress(OSError):
            made = socket.create_connection(("127.0.0.1", port), timeout=LISTEN_SECONDS)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return made
        time.sleep(0.01)
    raise CellFailed("the bridge ended" if is_gone() else f"nobody listens after {LISTEN_SECONDS:g} s")


def shake_hands(made: socket.socket, port: int, path: str) -> None:
    """Turn a connection into a WebSocket; nothing comes before we speak, so nothing behind the answer is lost."""
    key = base64.b64encode(os.urandom(16)).decode()
    made.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mcp\r\n\r\n".encode()
    )
    head = b""
    try:
        while b"\r\n\r\n" not in head and len(head) < MOST_HEAD and (more := made.recv(1)):
            head += more
    except OSError as problem:
        raise CellFailed(f"no answer to the WebSocket handshake: {problem}") from None
    if not head.startswith(b"HTTP/1.1 101 "):
        status = head.partition(b"\r\n")[0].decode(errors="replace")
        raise CellFailed(f"the WebSocket handshake was refused: {status!r}")


def start_at_socket(words: list[str], port: int) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a program whose stdin and stdout are a connection; return it and the other end."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        made = connect(port, lambda: False)
        accepted, _ = listener.accept()
    with accepted:
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = accepted.fileno()
        return subprocess.Popen(words, stdin=end, stdout=end, stderr=subprocess.DEVNULL), made
