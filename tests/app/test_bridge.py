"""``bridge`` joins own stdio to a server that does not end when its client does."""

from __future__ import annotations

import subprocess
import sys

BRIDGE = """
import asyncio
from relay.app.run.bridge import bridge
from relay.app.log.stderr import StderrSink
from relay.app.settings import BridgeSettings
from relay.endpoints.core.dialling import DiallingOptions
from relay.endpoints.core.memory import memory_pair
from relay.limits import Limits

near, far = memory_pair()
limits = Limits(linger=0.05, drain=1000)
settings = BridgeSettings(url="stays", dialling=DiallingOptions(limits=limits), log_to="stderr")
raise SystemExit(asyncio.run(bridge(settings, StderrSink(), remote=near)))
"""


def test_a_server_that_stays_is_left_when_nothing_is_in_flight() -> None:
    """After the end of stdin; the drain is for answers, and none is owed."""
    ran = subprocess.run(
        [sys.executable, "-c", BRIDGE], stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
