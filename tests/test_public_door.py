"""What `import relay` offers, and what it must not load."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from typing import Any

import pytest

import relay
from relay.errors import ConfigError

ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"


def python(code: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run some Python."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], input=stdin, capture_output=True, text=True, timeout=20
    )


def test_import_loads_no_http_library() -> None:
    """aiohttp costs 150 ms; a relay between stdio and a child never pays them."""
    ended = python(
        "import sys, relay; relay.connect('stdio:'); relay.connect(['true']); relay.connect('http://h/')\n"
        "relay.memory_pair()\n"
        "print([name for name in ('aiohttp', 'httpx', 'uvloop', 'yarl', 'importlib.metadata') if name in sys.modules])"
    )
    assert (ended.stdout, ended.stderr) == ("[]\n", "")


def test_stdio_to_a_child_loads_no_http_library() -> None:
    """Not when frames flow either."""
    code = f"""
import asyncio, sys, relay
report = asyncio.run(relay.pipe(relay.connect("stdio:"), relay.connect([sys.executable, "-c", {ECHO!r}])))
sys.stderr.write(f"{{'aiohttp' in sys.modules}} {{report.frames_a_to_b}} {{report.frames_b_to_a}} {{report.failure}}")
"""
    ended = python(code, stdin='{"method":"x"}\n{"method":"y"}\n')
    assert ended.stdout == '{"method":"x"}\n{"method":"y"}\n'
    assert ended.stderr == "False 2 2 None"


def test_dialling_loads_nothing_of_aiohttps_server() -> None:
    """It costs 15 ms, and a relay that only dials needs none of it."""
    ended = python(
        "import sys, relay.endpoints.http.client.remote, relay.endpoints.http.client.aiohttp_dial\n"
        "import relay.endpoints.http.client.streamable\n"
        "import relay.endpoints.http.client.connector as connector\n"
        "connector.aiohttp_private.has('client')\n"
        "print('aiohttp' in sys.modules, 'aiohttp.web' in sys.modules, 'html' in sys.modules)"
    )
    assert (ended.stdout, ended.stderr) == ("True False False\n", "")


def test_import_looks_for_no_garbage() -> None:
    """There is none, and the cycle collector would look through all that the modules make, 46 times."""
    ended = python(
        "import gc; runs = []; gc.collect()\n"
        "gc.callbacks.append(lambda phase, info: runs.append(phase))\n"
        "import relay\n"
        "print(runs.count('start') < 20, gc.isenabled())"
    )
    assert (ended.stdout, ended.stderr) == ("True True\n", "")


def test_the_names() -> None:
    """Each name of __all__ is there, and the version is the installed one."""
    for name in relay.__all__:
        assert getattr(relay, name) is not None
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", relay.__version__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = relay.nothing


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_no_module_needs_posix(system: str) -> None:
    """Windows and macOS install the same wheel: at import, no module asks for what only Linux has.

    What others have made (asyncio, aiohttp) is imported before the platform is faked. Then pure parts run, too.
    """
    ended = python(
        "import asyncio, pkgutil, sys, importlib, subprocess, tempfile, aiohttp.web, httpx, yaml\n"
        "for name in ('fcntl', 'pwd', 'grp', 'termios', 'resource', 'uvloop'): sys.modules[name] = None\n"
        f"sys.platform = {system!r}\n"
        "import relay\n"
        "for module in pkgutil.walk_packages(relay.__path__, 'relay.'):\n"
        "    if not module.name.endswith('__main__'): importlib.import_module(module.name)\n"
        "from relay.app.options.relay import parse\n"
        "options, command = parse(['--port', '8080', '--', 'npx', 'x'])\n"
        'frames = relay.Frame(b\'{"jsonrpc":"2.0","id":1,"method":"x"}\')\n'
        "print(command, options.port, frames.head.id)"
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "['npx', 'x'] 8080 1\n", "")


async def test_speaking_through_a_pair_in_memory() -> None:
    """`near, far = memory_pair()`: pipe far to a server, speak through near; cancelling the pipe closes both."""
    near, far = relay.memory_pair()
    server = relay.connect([sys.executable, "-S", "-c", ECHO], limits=relay.Limits(close_grace=0.5))
    running = asyncio.get_running_loop().create_task(relay.pipe(far, server))
    await near.send([relay.Frame(b'{"id":1,"result":0.10}')])
    (answer,) = await near.receive()
    assert answer.raw == b'{"id":1,"result":0.10}'
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(await near.receive()) == 0


@pytest.mark.parametrize(
    "target",
    ["ftp://x", "server", "", "stdio", "wss//x", "http://", "wss:///mcp", "http://h:99999/", "http://[h/", None, 123]
    + [[], [""], b"server", relay.memory_pair()[0]],
)
def test_a_target_that_is_none(target: Any) -> None:
    """A string is a URL or stdio:, a command is a list; anything else is said at once."""
    with pytest.raises(ConfigError, match="cannot connect to"):
        relay.connect(target)


async def test_commands_fail_where_they_are_used() -> None:
    """Described now, started later: the failure is in the report."""
    near, far = relay.memory_pair()
    endpoint = relay.connect(["no-such-program-at-all"])
    with pytest.raises(relay.RelayError, match="was not found"):
        await endpoint.receive()
    await endpoint.aclose()
    report = await relay.pipe(far, relay.connect(["no-such-program-at-all"]))
    assert "was not found" in str(report.failure)
    assert report.finished_first == "b"
    await near.aclose()


def test_a_command_that_never_started_has_got_nothing() -> None:
    """On own stdio: the same as of a server where nobody listens."""
    code = (
        "import asyncio, relay\nasyncio.run(relay.pipe(relay.connect('stdio:'), relay.connect(['/no/such/program'])))\n"
    )
    answer = json.loads(python(code, '{"jsonrpc":"2.0","id":7,"method":"ping"}\n').stdout)
    assert (answer["id"], answer["error"]["code"], answer["error"]["data"]) == (7, -32006, {"delivered": "no"})


def test_a_strategy_that_is_none() -> None:
    """Said at once, with those that there are."""
    with pytest.raises(relay.RelayError, match="strategy: 'x' is not one of round-robin, least-in-flight"):
        relay.balance("http://h/", strategy="x")  # type: ignore[arg-type]  # the mistake that is looked for


async def test_listen_and_connect_meet() -> None:
    """The two halves of the door: a listener's sessions piped to a child, called through connect."""
    listener = await relay.listen()
    url = listener.url

    async def serve() -> None:
        async for session in listener:
            await relay.pipe(session, relay.connect([sys.executable, "-S", "-c", SERVER]))

    async with asyncio.TaskGroup() as group:
        serving = group.create_task(serve())
        client = relay.connect(url)
        await client.send(
            [relay.Frame(b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}')]
        )
        (answer,) = await client.receive()
        assert json.loads(answer.raw)["id"] == 1
        await client.aclose()
        await listener.aclose()
        await serving


SERVER = """
import json, sys
for line in sys.stdin:
    result = {"protocolVersion": "2025-11-25"}
    print(json.dumps({"jsonrpc": "2.0", "id": json.loads(line)["id"], "result": result}), flush=True)
"""
