"""Build, check and test the TypeScript client in ``client/``: ``python -m tests.client``.

Everything runs with the Node on PATH; what depends on Node runs once more with the newer one of the peers.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.peers import locate, matrix

__all__ = ["main"]

CLIENT = Path(__file__).resolve().parents[2] / "client"
OLDEST_NODE = (20, 19)  # the first that loads such a package by require(), too


def main() -> int:
    """Do each step, and stop at the first that fails, with exit code 1."""
    first, *others = _nodes()
    if not _is_installed():
        _npm(first, "ci", "--loglevel=error")
    with _gateway() as started:
        os.environ["RELAY_GATEWAY"] = started
        for step in ("build", "check", "test", "lint"):
            _npm(first, "run", step)
        for node in others:
            _npm(node, "run", "test", "--", "calls", "websocket", "package")
    return 0


@contextlib.contextmanager
def _gateway() -> Iterator[str]:
    """Run the gateway before a server of the official SDK; yield what client/test/gateway.test.ts must know."""
    token, page_port = secrets.token_hex(32), locate.free_port()
    words = ("gateway", "--port", "0", "--proxy-allow-net", "127.0.0.0/8")
    command = [sys.executable, "-m", "relay", *words, "--allow-origin", f"http://127.0.0.1:{page_port}"]
    with matrix.serving("ts", "http") as (_, server):
        process = subprocess.Popen(command, env={**os.environ, "PROXY_TOKEN": token}, stderr=subprocess.PIPE, text=True)
        with process:
            try:
                assert process.stderr is not None, "a pipe"
                url = process.stderr.readline().split("listening on ")[1].partition("/proxy")[0]
                threading.Thread(target=process.stderr.read, name="the gateway's stderr").start()
                known = {"proxyUrl": url, "proxyToken": token, "mcpServerUrl": server, "pagePort": page_port}
                yield json.dumps(known)
            finally:
                process.terminate()


def _nodes() -> list[Path]:
    """Find the Nodes to run with: that on PATH and that of the peers, if they are new enough."""
    found = [node for node in (locate.system_node(), locate.bundled_node()) if node is not None]
    new_enough = [node for node in found if _version(node) >= OLDEST_NODE]
    if not new_enough:
        oldest = ".".join(map(str, OLDEST_NODE))
        raise SystemExit(f"no Node >= {oldest} on PATH or among the peers; run: python tests/peers/install.py")
    return new_enough


def _version(node: Path) -> tuple[int, int]:
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.match(r"v(\d+)\.(\d+)\.", said)
    if version is None:
        raise SystemExit(f"{node} --version printed {said!r}")
    return int(version[1]), int(version[2])


def _is_installed() -> bool:
    """Ask whether npm has installed all of the lock file since it changed."""
    done, lock = CLIENT / "node_modules" / ".package-lock.json", CLIENT / "package-lock.json"
    return done.exists() and done.stat().st_mtime >= lock.stat().st_mtime


def _npm(node: Path, *words: str) -> None:
    """Run npm in the client's folder, with this Node for it and all that it starts."""
    path = os.pathsep.join((str(node.parent), os.environ.get("PATH", "")))
    done = subprocess.run([*locate.npm_command(), *words], cwd=CLIENT, env={**os.environ, "PATH": path}, check=False)
    if done.returncode != 0:
        raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(main())
