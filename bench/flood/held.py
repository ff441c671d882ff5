"""Measure clients that hold back the end of a message: the memory that they hold, and how long others wait.

``python -m bench.flood.held --door tcp-first --size 60M --clients 12``. Each client sends all but one byte, or with
``--little`` only the first byte. One neighbour makes small calls, and another a call of 1 MiB now and then.
"""

import argparse
import contextlib
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from bench.flood.__main__ import _size
from bench.flood.clients import MODERN_HEADERS, MODERN_META, PLAIN_HEADERS, Client, HttpClient, LineClient, call
from bench.flood.doors import CHILD, HTTP, TCP, THROUGH
from bench.flood.measure import Running, resident
from bench.sockets import connect, shake_hands

SECONDS = 3.0
_NICE = 10  # of the process of the holders, which wait for nothing
LARGE = "x" * 2**20

Opened = tuple[socket.socket, bytes]
"""A connection, and what comes before the message."""


@dataclass(frozen=True, slots=True)
class HeldDoor:
    """One way in for those whom nobody knows."""

    words: tuple[str, ...]
    open: Callable[[int, Path, int], Opened]
    neighbour: Callable[[int, Path], Client]
    far: str = ""


def _post(path: str, headers: dict[str, str]) -> Callable[[int, Path, int], Opened]:
    def opened(port: int, _: Path, size: int) -> Opened:
        lines = "".join(f"{name}: {value}\r\n" for name, value in (PLAIN_HEADERS | headers).items())
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{lines}Content-Length: {size}\r\n\r\n"
        return connect(port, lambda: False), head.encode()

    return opened


def _chunked(port: int, _: Path, size: int) -> Opened:
    lines = "".join(f"{name}: {value}\r\n" for name, value in (PLAIN_HEADERS | MODERN_HEADERS).items())
    head = f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{lines}Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n"
    return connect(port, lambda: False), head.encode()


def _tcp(port: int, _: Path, size: int) -> Opened:
    return connect(port, lambda: False), b""


def _unix(_: int, place: Path, size: int) -> Opened:
    made = socket.socket(socket.AF_UNIX)
    made.connect(str(place / "socket"))
    return made, b""


def _websocket(port: int, _: Path, size: int) -> Opened:
    made = connect(port, lambda: False)
    shake_hands(made, port, "/mcp")
    return made, b"\x81\xff" + size.to_bytes(8, "big") + bytes(4)


def _legacy(port: int, _: Path) -> Client:
    return HttpClient(port, "session")


def _modern(port: int, _: Path) -> Client:
    return HttpClient(port, "modern")


def _line(port: int, _: Path) -> Client:
    return LineClient(connect(port, lambda: False))


CHILD_BY_HTTP = (*HTTP, *CHILD)
BY_UNIX = (*TCP, "--listen", "unix:{place}/socket", *CHILD)
DOORS = {
    "http": HeldDoor(CHILD_BY_HTTP, _post("/mcp", {}), _legacy),
    "http-modern": HeldDoor(CHILD_BY_HTTP, _post("/mcp", MODERN_HEADERS), _modern),
    "http-modern-chunked": HeldDoor(CHILD_BY_HTTP, _chunked, _modern),
    "http-unknown-session": HeldDoor(CHILD_BY_HTTP, _post("/mcp", {"Mcp-Session-Id": "x"}), _legacy),
    "http-stateless": HeldDoor((*HTTP, "--share", "stateless", *CHILD), _post("/mcp", {}), _modern),
    "sse-unknown-session": HeldDoor(CHILD_BY_HTTP, _post("/messages/?session_id=x", {}), _legacy),
    "through": HeldDoor(THROUGH, _post("/mcp", {}), _legacy, "http-json"),
    "through-session": HeldDoor(THROUGH, _post("/mcp", {"Mcp-Session-Id": "x"}), _legacy, "http-json"),
    "through-modern": HeldDoor(THROUGH, _post("/mcp", MODERN_HEADERS), _modern, "http-json"),
    "tcp-first": HeldDoor((*TCP, *CHILD), _tcp, _line),
    "unix-first": HeldDoor(BY_UNIX, _unix, _line),
    "websocket-first": HeldDoor(CHILD_BY_HTTP, _websocket, _legacy),
}


class Holder(threading.Thread):
    """Sends what it sends, and keeps the connection; runs in the process of ``Holders``."""

    def __init__(self, opened: Opened, size: int, *, is_little: bool) -> None:
        """Begin a JSON object of ``size`` bytes."""
        super().__init__(daemon=True)
        self.socket, head = opened
        self._head = head + b'{"x":"'
        self._left = 0 if is_little else size - 7

    def run(self) -> None:
        """Send all but the end."""
        with contextlib.suppress(OSError):
            self.socket.sendall(self._head)
            piece = b"x" * 2**18
            while self._left > 0:
                self._left -= self.socket.send(piece[: self._left])


class Holders:
    """A process of all holders, so that their threads do not make this process's calls wait."""

    def __init__(self, opened: list[Opened], size: int, *, is_little: bool) -> None:
        """Fork, and let each connection have a thread there; this process must have no other thread yet."""
        self._pid = os.fork()
        if self._pid:
            for connection, _ in opened:
                connection.close()
            return
        try:
            os.nice(_NICE)
            for one in opened:
                Holder(one, size, is_little=is_little).start()
            while True:
                signal.pause()
        finally:
            os._exit(0)

    def end(self) -> None:
        """End the process, which closes all connections."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def _large_call(client: Client) -> float:
    began = time.monotonic()
    if isinstance(client, HttpClient) and client.is_modern:
        body = call(7, "tools/call", name="x", fill=LARGE, _meta=MODERN_META)
        client.ask(body, "tools/call")
    elif isinstance(client, HttpClient):
        client.ask(call(7, fill=LARGE))
    elif isinstance(client, LineClient):
        client.call_large(LARGE)
    return time.monotonic() - began


def measure(door: HeldDoor, size: int, clients: int, program: list[str], place: Path, *, is_little: bool) -> str:
    """Start a relay, let them come, and watch for a while."""
    with Running(program, door.words, door.far, place) as running:
        small, large = door.neighbour(running.port, place), door.neighbour(running.port, place)
        for number in range(20):
            small.call(number + 10)
        usual = max(_large_call(large) for _ in range(3))
        before = resident(running.pid)
        opened = [door.open(running.port, place, size) for _ in range(clients)]
        running.forget_peak()
        holders = Holders(opened, size, is_little=is_little)
        worst, waits = 0.0, [0.0]
        watching = threading.Thread(target=lambda: waits.extend(_large_call(large) for _ in range(3)), daemon=True)
        until = time.monotonic() + SECONDS
        time.sleep(0.2)
        watching.start()
        number = 1000
        while time.monotonic() < until or (watching.is_alive() and time.monotonic() < until + 40):
            number += 1
            began = time.monotonic()
            small.call(number)
            worst = max(worst, time.monotonic() - began)
            time.sleep(0.003)
        peak, held = resident(running.pid, "VmHWM") - before, resident(running.pid) - before
        holders.end()
        time.sleep(0.5)
        after = resident(running.pid) - before
        extra = f"{max(waits) * 1e3:9.0f} {usual * 1e3:9.0f}"
        return f"{worst * 1e3:8.1f} {extra} {held / 2**20:9.1f} {peak / 2**20:9.1f} {after / 2**20:9.1f}"


def main() -> None:
    """Measure what was asked for, and print a line for each."""
    parser = argparse.ArgumentParser(prog="python -m bench.flood.held", description=__doc__)
    parser.add_argument("--door", action="append", metavar="GLOB", help=f"of {', '.join(DOORS)} (all)")
    parser.add_argument("--size", action="append", metavar="SIZE", help="of each message (4M, 16M and 60M)")
    parser.add_argument("--clients", type=int, default=12, help="that keep something back (12)")
    parser.add_argument("--little", action="store_true", help="they send the beginning alone")
    parser.add_argument("--program", default=f"{sys.executable} -m relay", help="the relay (this one)")
    options = parser.parse_args()
    columns = " ".join(f"{name:>9}" for name in ("1 MiB ms", "usual ms", "held MiB", "peak MiB", "after MiB"))
    print(f"{'door':22} {'size':>5} {'small ms':>8} {columns}")
    for size in map(_size, options.size or ["4M", "16M", "60M"]):
        for name, door in DOORS.items():
            if any(fnmatch(name, pattern) for pattern in options.door or ["*"]):
                with tempfile.TemporaryDirectory() as place:
                    said = measure(
                        door, size, options.clients, options.program.split(), Path(place), is_little=options.little
                    )
                print(f"{name:22} {size / 2**20:4.3g}M {said}", flush=True)


if __name__ == "__main__":
    main()
