"""From names to endpoints, and the children of one command."""

from __future__ import annotations

import os
import sys

import pytest

from relay.app.log.child_stderr import ChildStderr
from relay.app.log.stderr import StderrSink
from relay.app.run.child_target import ChildTarget
from relay.app.run.listening import listen
from relay.app.settings import BridgeSettings, ServeSettings
from relay.app.specs import ListenSpec, is_url
from relay.endpoints.child.guardian import Guardian
from relay.endpoints.core.dialling import DiallingOptions
from relay.endpoints.http.server.listener import HttpListener
from relay.errors import ConfigError
from relay.frames.frame import Frame
from relay.limits import DEFAULT_LIMITS, Limits

ECHO = [sys.executable, "-S", "-c", "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"]
ENVIRONMENT = {"PATH": os.environ["PATH"]}


@pytest.mark.parametrize(
    ("target", "expected"),
    [("http://h", True), ("HTTPS://h", True), ("http:h", False), ("server", False), ("ws://h", False), ("", False)],
)
def test_what_is_a_url(target: str, expected: bool) -> None:
    """http and https; anything else is a command."""
    assert is_url(target) is expected


def test_settings_are_values_with_safe_defaults() -> None:
    """Loopback, nobody admitted besides, the default limits."""
    serve = ServeSettings(command=["x"], name="x", env={})
    assert serve.limits == DEFAULT_LIMITS
    admitted = [*serve.listening.allowed_hosts, *serve.listening.allowed_origins]
    assert [*serve.listen, *admitted] == [ListenSpec("http", "127.0.0.1", 0)]
    bridge = BridgeSettings(url="http://h/")
    assert bridge.dialling == DiallingOptions(headers={}, transport="auto", tls=None, login=None, limits=DEFAULT_LIMITS)


async def test_a_target_counts_its_children() -> None:
    """Started when first used; how many live is told, never their arguments; the guardian is shared."""
    stderr = ChildStderr("server", StderrSink())
    await stderr.open()
    target = ChildTarget(ECHO, env=ENVIRONMENT, cwd=None, limits=Limits(close_grace=0.5), stderr=stderr)
    endpoints = [target.endpoint() for _ in range(3)]
    name = os.path.basename(sys.executable)
    idle = {"state": "idle", "command": name, "children": 0, "started": 0, "last_error": None}
    assert target.status() == idle
    for endpoint in endpoints[:2]:
        await endpoint.send([Frame(b'{"method":"x"}')])
        assert target.status()["state"] == ("starting" if endpoint is endpoints[0] else "running")
        assert len(await endpoint.receive()) == 1
    assert target.status() == {**idle, "state": "running", "children": 2, "started": 2}
    assert Guardian._shared is not None
    await endpoints[0].aclose()
    target.forget(endpoints[0])
    assert target.status() == {**idle, "state": "running", "children": 1, "started": 2}
    assert len(target.children) == 1
    for endpoint in endpoints:
        await endpoint.aclose()
    await target.aclose()
    await target.aclose()
    stderr.close()
    assert Guardian._shared is None


async def test_a_missing_program_is_found_at_the_start() -> None:
    """Before anything listens."""
    with pytest.raises(ConfigError, match="was not found"):
        ChildTarget(["no-such"], env={}, cwd=None, limits=DEFAULT_LIMITS, stderr=ChildStderr("x", StderrSink()))


async def test_an_address_that_cannot_be_had() -> None:
    """A ConfigError names it; a port already taken, too."""
    with pytest.raises(ConfigError, match="192.0.2.1"):
        await listen("http://192.0.2.1:0/mcp")
    listener = await listen()
    assert isinstance(listener, HttpListener)
    port = int(listener.base_url.rpartition(":")[2])
    with pytest.raises(ConfigError, match=str(port)):
        await listen(f"http://127.0.0.1:{port}/mcp")
    await listener.aclose()
