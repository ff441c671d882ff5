"""The common part of both Python load generators: options, frames, checks, the line of figures."""

import argparse
import json
import resource
import sys
import time
from typing import Any, NoReturn

from bench.fallback.plain_echo import filling

CALL_FRAME, ANSWER_FRAME = 96, 90  # as in native/load.h
NEEDS_COMPILER = "only the compiled load generator can do this"
INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'


def read_options() -> argparse.Namespace:
    """Read the command line of native/load_http.c and native/load_stdio.c."""
    parser = argparse.ArgumentParser()
    for name, kind, value in (
        *((f"--{name}", int, 1) for name in ("in-flight", "sessions")),
        *((f"--{name}", int, 0) for name in ("port", "idle-sessions", "streams", "hold", "count", "limit")),
        *((f"--{name}", int, 0) for name in ("request-size", "result-size", "read-fd", "write-fd")),
        *((f"--{name}", float, 0.0) for name in ("rate", "seconds", "warm-up", "drain")),
        *((f"--{name}", str, "") for name in ("path", "transport", "tool-prefix", "bearer")),
        ("--mode", str, "calls"),
        ("--framing", str, "lines"),
        ("--protocol", str, "2025-06-18"),
    ):
        parser.add_argument(name, type=kind, default=value)
    return parser.parse_args()


def fail(reason: str) -> NoReturn:
    """End the run: it measured nothing that may be shown."""
    print(json.dumps({"ok": False, "reason": reason[:500]}), flush=True)
    sys.exit(1)


class Client:
    """Makes the calls of one run, checks their answers, keeps their times."""

    def __init__(self) -> None:
        self.options = read_options()
        if self.options.mode == "notify" or self.options.streams or self.options.transport == "sse":
            fail(NEEDS_COMPILER)
        self.times: list[float] = []
        self.all_calls = 0
        self.window = (0.0, float("inf"))
        size = self.options.request_size
        self._pad = filling(size - CALL_FRAME - 12) if size > CALL_FRAME + 20 else ""
        self._text = filling(max(0, self.options.result_size - ANSWER_FRAME))
        self._next_id = 0

    def open_window(self) -> float:
        """Start the clock; return when to stop calling."""
        start = time.monotonic() + self.options.warm_up
        self.window = (start, start + self.options.seconds)
        return self.window[1]

    def initialize(self) -> bytes:
        """Return the first frame of a session."""
        info = {"name": "relay-bench", "version": "1"}
        params = {"protocolVersion": self.options.protocol, "capabilities": {}, "clientInfo": info}
        return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).encode()

    def next_call(self) -> tuple[int, bytes]:
        """Return the next call's id and frame."""
        self._next_id += 1
        given: dict[str, Any] = {"t": str(self._next_id), "n": len(self._text)}
        if self._pad:
            given["pad"] = self._pad
        params = {"name": f"{self.options.tool_prefix}echo", "arguments": given}
        frame = {"jsonrpc": "2.0", "id": self._next_id, "method": "tools/call", "params": params}
        return self._next_id, json.dumps(frame).encode()

    def take_answer(self, call: int, frame: bytes, started: float) -> None:
        """Check the answer to `call` and keep its time."""
        answer = json.loads(frame)
        try:
            text = answer["result"]["content"][0]["text"]
        except (KeyError, IndexError, TypeError):
            text = None
        if answer.get("id") != call or text != f"{call}:{len(self._pad)}:{self._text}":
            fail(f"wrong answer to call {call}: {frame[:200].decode(errors='replace')}")
        self.all_calls += 1
        now = time.monotonic()
        if self.window[0] <= now <= self.window[1]:
            self.times.append(now - started)

    def print_figures(self, listening_at: int, first_answer_at: int) -> None:
        """Print the line that the harness reads; with --hold, keep all connections until it is done."""
        if self.options.mode == "calls" and not self.times:
            fail("no call was answered in time")
        times = sorted(self.times) or [0.0]
        usage = resource.getrusage(resource.RUSAGE_SELF)
        figures = {f"p{share}_us": times[int(len(times) * share / 100)] * 1e6 for share in (50, 90, 99)}
        figures |= {
            "calls": len(self.times),
            "all_calls": self.all_calls,
            "per_second": len(self.times) / (self.options.seconds or 1),
            "listening_at_ns": listening_at,
            "first_answer_at_ns": first_answer_at,
            "client_cpu_seconds": usage.ru_utime + usage.ru_stime,
        }
        print(json.dumps({"ok": True, **figures}), flush=True)
        if self.options.hold:
            sys.stdin.read()
