"""docs/deploy/reverse-proxies.md: each configuration, in the real proxy, but for its ports and paths.

Through each of them: no entry without the login, a call, an event stream that is not held back, and a WebSocket.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme
from websockets.sync.client import connect

from tests import peers
from tests.docs.blocks import BLOCKS, named
from tests.e2e.oracle import Relay, run_words, stdio_server

PAGE = "docs/deploy/reverse-proxies.md"
NAME = "mcp.example.com"
LOGIN = {"Authorization": "Bearer SECRET"}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}},
}


@pytest.fixture(scope="module")
def relay() -> Iterator[Relay]:
    """Start the relay as the page says, with a server of ours."""
    (line,) = named(PAGE, "sh")
    words = shlex.split(line)
    options = words[1 : words.index("--") + 1]
    options[options.index("8080")] = "0"
    with run_words(*options, *stdio_server(), env={"MCP_RELAY_DRAIN_TIMEOUT": "0.1"}) as running:
        yield running


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ssl")
    authority = trustme.CA()
    made = authority.issue_cert(NAME)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    made.private_key_and_cert_chain_pem.write_to_path(str(folder / f"{NAME}.pem"))
    made.private_key_pem.write_to_path(str(folder / f"{NAME}.key"))
    return folder


def configuration(language: str, relay: Relay, port: int, certificates: Path) -> str:
    """Return the configuration of the page with the tests' ports and paths."""
    (text,) = named(PAGE, language)
    changes = {
        "127.0.0.1:8080": relay.base.removeprefix("http://"),
        "/etc/ssl/": f"{certificates}/",
        "listen 443": f"listen 127.0.0.1:{port}",
        "bind :443": f"bind 127.0.0.1:{port}",
    }
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


@contextlib.contextmanager
def nginx(relay: Relay, port: int, certificates: Path, folder: Path) -> Iterator[None]:
    text = configuration("nginx", relay, port, certificates)
    paths = [f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
    text = text.replace("http {\n", "http {\n" + "\n".join(["access_log off;", *paths, ""]))
    (folder / "nginx.conf").write_text(text)
    top = f"daemon off; master_process off; pid {folder}/pid; error_log stderr;"
    with running("nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", top):
        yield


@contextlib.contextmanager
def caddy(relay: Relay, port: int, certificates: Path, folder: Path) -> Iterator[None]:
    top = f"{{\n admin off\n auto_https disable_redirects\n default_bind 127.0.0.1\n https_port {port}\n"
    top += f" storage file_system {folder}\n}}\n"
    (folder / "Caddyfile").write_text(top + configuration("caddyfile", relay, port, certificates))
    with running("caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile"), home=folder):
        yield


@contextlib.contextmanager
def haproxy(relay: Relay, port: int, certificates: Path, folder: Path) -> Iterator[None]:
    (folder / "haproxy.cfg").write_text(configuration("haproxy", relay, port, certificates))
    with running("haproxy", "-db", "-f", str(folder / "haproxy.cfg")):
        yield


@contextlib.contextmanager
def running(*command: str, home: Path | None = None) -> Iterator[None]:
    """Run a proxy until the block is left."""
    program = shutil.which(command[0]) or shutil.which(command[0], path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip(f"no {command[0]} on this machine")
    env = {"PATH": "/usr/bin:/bin", "HOME": str(home or "/"), "XDG_DATA_HOME": str(home or "/"), "GOMAXPROCS": "2"}
    process = subprocess.Popen([program, *command[1:]], env=env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()  # some wait for streams to end
        process.wait(20)


@pytest.mark.parametrize("proxy", [nginx, caddy, haproxy], ids=lambda proxy: proxy.__name__)
def test_a_client_through_the_proxy(proxy, relay: Relay, certificates: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def] # one of the three above
    port = peers.free_port()
    with proxy(relay, port, certificates, tmp_path):
        peers.wait_for_port(port)
        context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        with httpx.Client(verify=context, timeout=30, trust_env=False) as client:
            check_http(client, port)
        check_websocket(context, port)


def check_http(client: httpx.Client, port: int) -> None:
    """Is a stranger refused, a call answered, and an event sent on at once?"""
    headers = {"Host": NAME, "Accept": "application/json, text/event-stream"}

    def post(message: object, **more: str) -> httpx.Request:
        url = f"https://127.0.0.1:{port}/mcp"
        ways = {"sni_hostname": NAME}
        return client.build_request("POST", url, json=message, headers={**headers, **more}, extensions=ways)

    assert client.send(post(INITIALIZE)).status_code == 401
    answer = client.send(post(INITIALIZE, **LOGIN))
    assert answer.status_code == 200, answer.text
    assert '"protocolVersion": "2025-11-25"' in answer.text  # plain, or as an event if the server is slow to start
    session = {**LOGIN, "Mcp-Session-Id": answer.headers["mcp-session-id"]}
    params = {"count": 3, "silent": True, "_meta": {"progressToken": "t"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "progress", "params": params}
    # The call never ends: events that the proxy held back would not come.
    response = client.send(post(message, **session), stream=True)
    seen = 0
    for line in response.iter_lines():
        seen += line.startswith("data:") and "notifications/progress" in line
        if seen == 3:
            break
    response.close()
    assert seen == 3


def check_websocket(context: ssl.SSLContext, port: int) -> None:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as sock,
        connect(f"wss://{NAME}/mcp", sock=sock, ssl=context, additional_headers=LOGIN, open_timeout=20) as socketed,
    ):
        socketed.send(json.dumps(INITIALIZE))
        assert json.loads(socketed.recv(timeout=20))["id"] == 0


def test_every_configuration_of_the_page_is_run() -> None:
    assert [block.language for block in BLOCKS if block.page == PAGE] == ["sh", "nginx", "caddyfile", "haproxy"]
