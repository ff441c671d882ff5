"""Measure the cost of giving a frame another id: ``python -m bench.renaming``.

Where clients share a server, the relay replaces the id of each request on the way in and restores it on the way out.
The table also shows the cost of decoding and encoding the frame, which the relay never does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import orjson

from relay.frames.frame import Frame
from relay.frames.ids import with_id, with_number

_SIZES = {"100 B": 100, "100 kB": 100_000, "10 MB": 10_000_000}
_BUDGET = 0.3  # seconds for each figure


def best_time(work: Callable[[], object]) -> float:
    """Return the shortest time of one call, in microseconds, over about ``_BUDGET`` seconds."""
    best = float("inf")
    until = time.perf_counter() + _BUDGET
    while time.perf_counter() < until:
        began = time.perf_counter_ns()
        work()
        best = min(best, (time.perf_counter_ns() - began) / 1000)
    return best


def frames(size: int) -> tuple[Frame, Frame, Frame]:
    """Make a request with a progress token, and an answer with its id first and one with its id last."""
    text = b"x" * max(size - 70, 1)
    params = b'{"name":"echo","arguments":{"text":"' + text + b'"},"_meta":{"progressToken":5}}'
    request = Frame(b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":' + params + b"}")
    result = b'{"content":[{"type":"text","text":"' + text + b'"}]}'
    first = Frame(b'{"jsonrpc":"2.0","id":5,"result":' + result + b"}")
    last = Frame(b'{"result":' + result + b',"jsonrpc":"2.0","id":5}')
    for frame in (request, first, last):
        assert frame.head.id == 5, "read before it is renamed, as the relay does"
    return request, first, last


def row(size: int) -> tuple[float, ...]:
    """Measure a frame of one size."""
    request, first, last = frames(size)
    raw = first.raw
    return (
        best_time(lambda: with_number(request, 123_456)),
        best_time(lambda: with_id(first, 123_456)),
        best_time(lambda: with_id(last, 123_456)),
        best_time(lambda: b"".join((raw[:1], raw[1:]))),
        best_time(lambda: orjson.dumps(orjson.loads(raw))),
    )


def main() -> None:
    """Print a table."""
    columns = ("frame", "out: id and token", "home: id first", "home: id last", "a copy", "decode and encode (orjson)")
    lines = [columns, ("---",) * len(columns)]
    lines += [(name, *(f"{figure:,.1f} µs" for figure in row(size))) for name, size in _SIZES.items()]
    sys.stdout.writelines(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
