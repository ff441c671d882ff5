"""Send one message by one way in to a new relay; measure a neighbour's longest wait, CPU time and memory."""

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.flood.clients import Client
from bench.flood.doors import Door
from bench.sockets import connect

__all__ = ["Figures", "Running", "measure", "resident"]

PAUSE = 0.003  # seconds between two calls of the neighbour
AFTER = 0.15  # seconds for what is still under way once the attacker has its outcome
LONGEST = 60.0
WARM = 20  # calls before anything is measured


@dataclass(frozen=True, slots=True)
class Figures:
    """What one message has cost."""

    wait_ms: float
    """The longest call of the neighbour."""
    cpu_ms: float
    """Of the relay's process, its neighbour's calls included."""
    beyond_mib: float
    """The most that was resident, less what was before, less the message."""
    outcome: str


def measure(door: Door, message: bytes, program: Sequence[str], place: Path) -> Figures:
    """Start a relay and its server, send the message while a neighbour calls, and end both."""
    try:
        with Running(program, door.words, door.far, place) as running:
            return _attack(door, message, running, place)
    except RuntimeError as exc:  # before the attack, on a machine that is too busy
        return Figures(math.nan, math.nan, math.nan, f"not measured: {exc}")


class Running:
    """A relay and the server at its other end, until the block is left."""

    def __init__(self, program: Sequence[str], words: Sequence[str], far: str, place: Path) -> None:
        """Start them; ``words`` are the relay's, ``far`` how the server speaks if it is no child."""
        self.port, far_port = _free_port(), _free_port()
        self._place = place
        self._started: list[subprocess.Popen[bytes]] = []
        try:
            if far:
                self._started.append(_start([sys.executable, "-m", "bench.flood.far", far, str(far_port)]))
                connect(far_port, lambda: self._started[0].poll() is not None).close()
            names = {"port": self.port, "far": far_port, "python": sys.executable, "place": place}
            relay = _start([*program, "--log-level", "error", *(word.format(**names) for word in words)])
            self._started.append(relay)
            connect(self.port, lambda: relay.poll() is not None).close()
        except BaseException:
            self._end()
            raise
        self.pid = relay.pid

    def forget_peak(self) -> None:
        """Begin anew to note the most that is resident."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def __enter__(self) -> "Running":
        """Do nothing: they run already."""
        return self

    def __exit__(self, *_: object) -> None:
        """End both."""
        self._end()

    def _end(self) -> None:
        for process in reversed(self._started):
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()
        with contextlib.suppress(FileNotFoundError):
            (self._place / "socket").unlink()


def _start(words: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as made:
        return int(made.getsockname()[1])


def _attack(door: Door, message: bytes, running: Running, place: Path) -> Figures:
    pid, port = running.pid, running.port
    neighbour, attacker = door.neighbour(port), door.attacker(port, place)
    for number in range(WARM):
        neighbour.call(number + 10)
    path = place / "message"
    path.write_bytes(message)
    outcome: list[str] = []

    def attack() -> None:
        try:
            outcome.append(attacker.order(path) if door.is_ordered else attacker.attack(message))
        except Exception as exc:  # whatever went wrong is the outcome
            outcome.append(f"{type(exc).__name__}: {exc}")

    before, cpu = resident(pid), _cpu(pid)
    running.forget_peak()
    thread = threading.Thread(target=attack, daemon=True)
    thread.start()
    worst = _call_until(neighbour, thread)
    beyond = resident(pid, "VmHWM") - before - len(message)
    return Figures(worst * 1e3, (_cpu(pid) - cpu) * 1e3, beyond / 2**20, "".join(outcome)[:140])


def _call_until(neighbour: Client, thread: threading.Thread) -> float:
    """Call again and again until the attack is over, and a moment longer; return the longest wait in seconds."""
    worst, number = 0.0, 1000
    began = over = time.monotonic()
    while thread.is_alive() or time.monotonic() - over < AFTER:
        if thread.is_alive():
            over = time.monotonic()
        if time.monotonic() - began > LONGEST:
            break
        number += 1
        sent = time.monotonic()
        try:
            neighbour.call(number)
        except (OSError, RuntimeError):
            return LONGEST  # the neighbour was hurt, which is worse than any wait
        worst = max(worst, time.monotonic() - sent)
        time.sleep(PAUSE)
    return worst


def resident(pid: int, key: str = "VmRSS") -> int:
    """Return how many bytes of a process are resident, or were at most (``VmHWM``)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return 0


def _cpu(pid: int) -> float:
    with contextlib.suppress(OSError, ValueError):
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9  # the main thread's: the loop
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
