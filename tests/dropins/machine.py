"""The environment of the example lines: the programs that they start, and the servers at their URLs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests import peers, warm_start

SERVER = Path(__file__).parents[1] / "e2e" / "stdio_server.py"
_LISTENING = re.compile(r"listening on (https?://\S+?:\d+)/")
LAUNCHERS = ("npx", "uvx", "tsx", "python", "your-command", "my-modern-mcp-server", "docker")
"""What the examples start. Here each is a link to one script, which is a server on stdio and keeps its words."""


def install_launchers(folder: Path) -> None:
    """Put the programs that examples start into a folder for PATH; ``everything`` is the reference server itself."""
    everything = " ".join(f"'{word}'" for word in peers.everything_server())
    script = folder / "launcher"
    script.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *server-everything*) exec {everything};; esac\n'
        f"exec '{sys.executable}' -I -S '{SERVER}' \"$@\"\n"
    )
    script.chmod(0o755)
    for name in LAUNCHERS:
        (folder / name).symlink_to(script)


def write_files(folder: Path, port: int) -> dict[str, str]:
    """Write the files that examples name, as their READMEs show them; return where they are."""
    fetch = {"command": "uvx", "args": ["mcp-server-fetch"]}
    github = {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-github"]}
    env = {"GITHUB_PERSONAL_ACCESS_TOKEN": "<YOUR_TOKEN>"}
    proxy = {"baseURL": "http://localhost/tools", "addr": f"127.0.0.1:{port}", "name": "MCP Proxy", "version": "1.0.0"}
    both = {"fetch": fetch, "github": {**github, "env": env, "options": {"disabled": True}}}
    more = {"timeout": 60, "transportType": "stdio"}
    files = {
        "servers": {
            "mcpServers": {"fetch": {"enabled": True, **more, **fetch}, "github": {**more, **github, "env": env}}
        },
        "config": {
            "mcpProxy": {**proxy, "type": "streamable-http", "options": {"logEnabled": True}},
            "mcpServers": both,
        },
        "tokens": {"mcpProxy": {**proxy, "options": {"authTokens": ["DefaultToken"]}}, "mcpServers": both},
        "filter": {
            "mcpProxy": proxy,
            "mcpServers": {"fetch": {**fetch, "options": {"toolFilter": {"mode": "block", "list": ["x"]}}}},
        },
    }
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    headers = folder / "headers.txt"
    headers.write_text("# credentials\nAuthorization: Bearer my-token\nX-Custom-Header: custom-value\n")
    return {**{name: str(folder / f"{name}.json") for name in files}, "headers": str(headers)}


class _Office(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        is_known = self.path == "/token"
        body = json.dumps({"access_token": "issued", "token_type": "Bearer", "expires_in": 3600} if is_known else {})
        self.send_response(200 if is_known else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def office() -> Iterator[str]:
    """Run a server that issues tokens at /token, and at any other place wants one; return its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Office) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="office")
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class Tap:
    """A port before a server's, which keeps what clients send."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.sent = b""
        self._is_closed = False
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, name="tap", daemon=True).start()

    def close(self) -> None:
        """Let go of everybody."""
        self._is_closed = True
        for one in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                server = socket.create_connection(("127.0.0.1", self._server))
                self._sockets.append(server)
                if self._is_closed:  # meanwhile
                    client.close()
                    server.close()
                    return
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._carry, args=(source, sink, source is client), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, is_client: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_client:
                    self.sent += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@dataclass(slots=True)
class Program:
    """A running program and what it has said on stderr."""

    process: subprocess.Popen[bytes]
    said: list[str] = field(default_factory=list)
    base: str = ""
    _listens: threading.Event = field(default_factory=threading.Event)

    def read_stderr(self) -> None:
        """Collect stderr until it ends; runs in a thread of its own."""
        assert self.process.stderr is not None, "a pipe"
        for raw in self.process.stderr:
            self.said.append(raw.decode(errors="replace").rstrip("\n"))
            if (found := _LISTENING.search(self.said[-1])) and not self.base:
                self.base = found[1]
                self._listens.set()
        self._listens.set()

    def wait_until_listening(self) -> str:
        """Return the address."""
        assert self._listens.wait(20) and self.base, "\n".join(self.said)
        return self.base


@contextlib.contextmanager
def running(words: Sequence[str], env: Mapping[str, str]) -> Iterator[Program]:
    """Run the program until the block is left."""
    process = warm_start.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **env}
    )
    program = Program(process)
    reader = threading.Thread(target=program.read_stderr, name="what it says")
    reader.start()
    try:
        yield program
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None, "pipes"
            with contextlib.suppress(OSError):
                pipe.close()
        reader.join()
        assert process.stderr is not None
        process.stderr.close()
