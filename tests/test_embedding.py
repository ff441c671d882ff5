"""docs/embedding.md: every example is run as it stands, as a program of its own, and prints what the page says.

Where an address is written, a server that the test has started is put in its place; it speaks HTTP/2 and TLS. The
examples with the official SDK see it beside the relay's own environment.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import peers, warm_start

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "embedding.md"
HTTPS = "https://localhost:8443"


@dataclass(frozen=True)
class Example:
    """One program of the page, and what it says that it prints."""

    title: str
    code: str
    prints: str | None

    @property
    def file_name(self) -> str | None:
        """The name under which others import it."""
        found = re.match(r"# (\w+\.py)\n", self.code)
        return found[1] if found else None


def examples() -> list[Example]:
    """Read the page."""
    found: list[Example] = []
    title = ""
    pattern = r"^#+ ([^\n]*)$|^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?"
    for match in re.finditer(pattern, PAGE.read_text(), re.MULTILINE | re.DOTALL):
        if match[1] is not None and match[2] is None:
            title = match[1]
        else:
            found.append(Example(title, match[2], match[3]))
    return found


EXAMPLES = examples()
PROGRAMS = [example for example in EXAMPLES if example.file_name is None]


def packages_of(peer: str) -> str:
    """Return where the packages of a test peer can be imported from."""
    peers.install(peer)
    code = "import sys, sysconfig; print(sysconfig.get_path('purelib'), *sys.version_info[:2], sep='\\n')"
    asked = [str(peers.python(peer)), "-c", code]
    path, *version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split("\n")[:3]
    if [int(number) for number in version] != [*sys.version_info[:2]]:
        pytest.skip(f"the peers were installed by Python {'.'.join(version)}: remove .peers to have them for this one")
    return path


@pytest.fixture(scope="module")
def sdk() -> str:
    """Return where the official SDK can be imported from."""
    return packages_of("py1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder with the files that examples import."""
    for example in EXAMPLES:
        if example.file_name is not None:
            (tmp_path / example.file_name).write_text(example.code)
    return tmp_path


def run(code: str, folder: Path, *paths: str, **environment: str) -> str:
    """Run an example; return what it prints."""
    (folder / "example.py").write_text(code)
    variables = {**os.environ, **({"PYTHONPATH": os.pathsep.join((*paths, str(ROOT)))} if paths else {}), **environment}
    command = [sys.executable, "example.py"]
    start = subprocess.run if paths else warm_start.run  # which knows no modules of others
    ended = start(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=50)
    assert ended.returncode == 0, ended.stderr
    assert "never retrieved" not in ended.stderr, ended.stderr
    return ended.stdout


@contextlib.contextmanager
def http2_server(folder: Path, sdk: str) -> Iterator[tuple[int, str]]:
    """Serve by HTTP/2 with a certificate of our own; yield the port and the certificate."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    certificate, key = str(folder / "cert.pem"), str(folder / "key.pem")
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    made = [*words.split(), "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
    subprocess.run(made, check=True, capture_output=True)
    command = [sys.executable, "-P", str(ROOT / "tests" / "embedding_server.py"), certificate, key]
    environment = {**os.environ, "PYTHONPATH": sdk}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline()), certificate
    finally:
        process.kill()
        process.communicate()


def test_every_section_shows_a_program() -> None:
    """Nothing that the page promises is without an example."""
    titles = {example.title for example in PROGRAMS}
    headings = re.findall(r"^##+ (.*)$", PAGE.read_text(), re.MULTILINE)
    assert set(headings) - titles == {"Through an httpx client of your own"}, "which has parts of its own"
    assert len(PROGRAMS) >= 11


@pytest.mark.parametrize(
    "example", [one for one in PROGRAMS if HTTPS not in one.code], ids=lambda one: one.title.replace(" ", "-")
)
def test_an_example_prints_what_the_page_says(example: Example, folder: Path, sdk: str) -> None:
    """As it stands."""
    printed = run(example.code, folder, *([sdk] if "sdk_streams" in example.code or "mcp" in example.code else []))
    assert example.prints is not None, "an example says what it prints"
    assert printed == example.prints


def test_http2_and_a_refreshed_token(folder: Path, sdk: str) -> None:
    """Against a real server: everything over HTTP/2; a token each time the last one is used up."""
    over_http2, with_tokens = [one.code for one in PROGRAMS if HTTPS in one.code]
    with http2_server(folder, sdk) as (port, certificate):
        here = f"https://localhost:{port}"
        said = run(over_http2.replace(HTTPS, here), folder, SSL_CERT_FILE=certificate)
        asked = re.findall(r"^(POST|GET|DELETE) HTTP/(\S+) (\d+)$", said, re.MULTILINE)
        assert {version for _, version, _ in asked} == {"2"}
        assert {(method, status) for method, _, status in asked} >= {
            ("POST", "200"),
            ("POST", "202"),
            ("DELETE", "200"),
        }
        assert "over HTTP/2\n" in said
        assert "[{'type': 'text', 'text': '3'}]\n" in said

        said = run(with_tokens.replace(HTTPS, here), folder, SSL_CERT_FILE=certificate)
        # initialize and initialized use up one, two pings the next
        assert said.split("\n") == ["a new token", "a new token", "{}", "{}", "a new token", "{}", ""]


def test_version_2_of_the_sdk(folder: Path) -> None:
    """Its client and its server speak through the same streams, with the two names changed that the page tells."""
    streams = folder / "sdk_streams.py"
    code = streams.read_text().replace("from mcp.types import JSONRPCMessage", "import mcp_types")
    method = "JSONRPCMessage.model_validate_json"
    assert code.count(method) == 1
    streams.write_text(code.replace(method, "mcp_types.jsonrpc_message_adapter.validate_json"))
    client, server = [one for one in PROGRAMS if one.title == "With the official SDK, in memory"]
    assert run(client.code, folder, packages_of("py2")) == client.prints
    renamed = server.code.replace("fastmcp import FastMCP", "mcpserver import MCPServer as FastMCP")
    printed = run(renamed.replace("_mcp_server", "_lowlevel_server"), folder, packages_of("py2"))
    assert printed == "[{'text': '3', 'type': 'text'}]\n"


HTTPX2 = """
import asyncio

import httpx2

import relay
from asking import SERVER, ask, greet


async def main() -> None:
    listener = await relay.listen()
    async with asyncio.TaskGroup() as group, httpx2.AsyncClient() as client:
        near = relay.connect(listener.url, client=client)
        group.create_task(greet_and_close(near, listener))
        async for session in listener:
            group.create_task(relay.pipe(session, relay.connect(SERVER)))
        nobody = relay.connect("http://127.0.0.1:9/mcp", client=client)
        print((await ask(nobody, 1, "initialize"))["error"]["data"])
        await nobody.aclose()


async def greet_and_close(near: relay.Endpoint, listener: relay.Listener) -> None:
    print((await greet(near))["serverInfo"]["name"])
    await near.aclose()
    await listener.aclose()


asyncio.run(main())
"""


def test_a_client_of_httpx2(folder: Path) -> None:
    """Which version 2 of the SDK brings: the same, its errors included."""
    assert run(HTTPX2, folder, packages_of("py2")) == "mcp-relay-demo\n{'delivered': 'no'}\n"
