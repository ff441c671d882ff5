"""The table of bridges that the benchmark measures.

The launcher fills in the words in braces when it starts a bridge:

    {port}          a free port of 127.0.0.1 for the bridge to listen on
    {command}       the far end's command, as separate words; {command_line}: the same as one word
    {url}           the far end's URL
    {home}          the folder in which the peer is installed
    {config}        a file with the entry's `config`, itself filled in
    {keys}          the URL of the keys that sign the client's token, for a way whose login is "jwt"
    {far_http} ...  a program of this package, as separate words
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

import relay
from bench.install import Cargo, Go, Installation, Npm, PyPI
from bench.logins import AUDIENCE, ISSUER, TOKEN, Login
from bench.places import BENCH

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Way:
    """How one bridge is started on one path."""

    words: Words
    transport: str = "streamable"  # what the load generator speaks to it: streamable | sse (2024-11-05)
    endpoint: str = "/mcp"  # where it listens
    config: str = ""
    tool_prefix: str = ""  # what it puts before the far end's tool names
    far_transport: str = "streamable"  # what it speaks to the far end; sse: HTTP+SSE of 2024-11-05
    login: Login = "none"  # what the client shows: a static token ($BENCH_TOKEN), or a signed one


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge, and its ways; a path without a way is one it cannot do."""

    name: str
    title: str
    installation: Installation | None = None
    serve: Way | None = None
    connect: Way | None = None
    hop: Way | None = None
    tcp: Way | None = None
    websocket: Way | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    @property
    def version(self) -> str:
        """Name and version, as the report says them; empty for what has none."""
        if self.name == "mcp-relay":
            return f"mcp-relay {relay.__version__}"
        return self.installation.label if self.installation else ""

    def find_way(self, path: str) -> Way | None:
        """Return how this bridge does `path`, if it can."""
        return self.connect if path.startswith("connect") else self.ways()[path]

    def ways(self) -> dict[str, Way | None]:
        """Return its ways by path; both `connect` paths are one."""
        return {
            "serve": self.serve,
            "connect": self.connect,
            "hop": self.hop,
            "tcp": self.tcp,
            "websocket": self.websocket,
        }


NODE = {"NODE_ENV": "production"}
TBXARK = """{{
  "mcpProxy": {{"baseURL": "http://127.0.0.1:{port}", "addr": "127.0.0.1:{port}", "name": "bench", "version": "1",
               "type": "streamable-http", "options": {{"logEnabled": false}}}},
  "mcpServers": {{"bench": {far}}}
}}"""
TOWER = """[proxy]
name = "bench"
separator = "/"
[proxy.listen]
host = "127.0.0.1"
port = {port}
[[backends]]
name = "bench"
"""
RELAY = (sys.executable, "-m", "relay")
FASTMCP = ("{home}/bin/python", str(BENCH / "fastmcp_proxy.py"))

BRIDGES: tuple[Bridge, ...] = (
    Bridge(
        name="direct",
        title="no bridge: the client talks to the far end itself",
        serve=Way(("{far_http}", "{port}", "json")),
        connect=Way(("{far_stdio}",)),
        hop=Way(("{far_http}", "{port}", "json")),
        tcp=Way(("{far_stdio}",)),
    ),
    Bridge(
        name="floor",
        title="the least a process can do on that path, in C, with no checks",
        serve=Way(("{floor_serve}", "{port}", "{command}")),
        connect=Way(("{floor_connect}", "{url}")),
        hop=Way(("{floor_hop}", "{port}", "{url}")),
        note="serve: one child and one event stream for all sessions; hop: bytes passed on unread",
    ),
    Bridge(
        name="mcp-relay",
        title="this project, from the environment the harness runs in",
        serve=Way((*RELAY, "--port", "{port}", "--", "{command}")),
        connect=Way((*RELAY, "--transport", "streamablehttp", "{url}")),
        hop=Way((*RELAY, "--listen", "http://127.0.0.1:{port}/mcp", "{url}")),
        tcp=Way((*RELAY, "--listen", "tcp://127.0.0.1:{port}", "--", "{command}")),
        websocket=Way((*RELAY, "--port", "{port}", "--", "{command}")),
    ),
    Bridge(
        name="relay-token",
        title="this project, where clients log in with a static token",
        serve=Way((*RELAY, "--accept-token", "env:BENCH_TOKEN", "--port", "{port}", "--", "{command}"), login="token"),
        environment={"BENCH_TOKEN": TOKEN},
    ),
    Bridge(
        name="relay-jwt",
        title="this project, where clients log in with a signed token (RS256)",
        serve=Way(
            (
                *(*RELAY, "--auth", "jwt", "--issuer", ISSUER, "--audience", AUDIENCE, "--jwks-url", "{keys}"),
                *("--port", "{port}", "--", "{command}"),
            ),
            login="jwt",
        ),
    ),
    Bridge(
        name="sparfenyuk",
        title="mcp-proxy of sparfenyuk (Python, official SDK)",
        installation=PyPI("mcp-proxy", "0.13.0"),
        serve=Way(("{home}/bin/mcp-proxy", "--log-level", "WARNING", "--port", "{port}", "--", "{command}")),
        connect=Way(("{home}/bin/mcp-proxy", "--log-level", "WARNING", "--transport", "streamablehttp", "{url}")),
        note="one child and one upstream session for all its clients",
    ),
    Bridge(
        name="fastmcp",
        title="FastMCP's create_proxy (Python)",
        installation=PyPI("fastmcp", "4.1.2"),
        serve=Way((*FASTMCP, "--port", "{port}", "--", "{command}")),
        connect=Way((*FASTMCP, "{url}")),
        hop=Way((*FASTMCP, "--port", "{port}", "{url}")),
        environment={"FASTMCP_CHECK_FOR_UPDATES": "off", "FASTMCP_SHOW_SERVER_BANNER": "false"},
        note="a script of ten lines of ours around create_proxy and run",
    ),
    Bridge(
        name="supergateway",
        title="supergateway (Node, official SDK)",
        installation=Npm("supergateway", "4.0.0"),
        serve=Way(
            (
                *("{home}/node_modules/.bin/supergateway", "--stdio", "{command_line}", "--port", "{port}"),
                *("--outputTransport", "streamableHttp", "--stateful", "--logLevel", "none"),
            )
        ),
        connect=Way(("{home}/node_modules/.bin/supergateway", "--streamableHttp", "{url}", "--logLevel", "none")),
        websocket=Way(
            (
                *("{home}/node_modules/.bin/supergateway", "--stdio", "{command_line}", "--port", "{port}"),
                *("--outputTransport", "ws", "--logLevel", "none"),
            ),
            endpoint="/message",
        ),
        environment=NODE,
        note="--stateful: without it, a new child for each request",
    ),
    Bridge(
        name="punkpeye",
        title="mcp-proxy of punkpeye (Node, official SDK)",
        installation=Npm("mcp-proxy", "6.7.19"),
        serve=Way(("{home}/node_modules/.bin/mcp-proxy", "--host", "127.0.0.1", "--port", "{port}", "--", "{command}")),
        environment=NODE,
        note="one child for all its clients",
    ),
    Bridge(
        name="mcp-remote",
        title="mcp-remote (Node, official SDK)",
        installation=Npm("mcp-remote", "0.15.1"),
        connect=Way(
            ("{home}/node_modules/.bin/mcp-remote", "{url}", "--allow-http", "--transport", "http-only", "--silent")
        ),
        environment=NODE,
    ),
    Bridge(
        name="rmcp-proxy",
        title="rmcp-proxy (Rust)",
        installation=Cargo("rmcp-proxy", "0.1.3"),
        serve=Way(
            ("{home}/bin/mcp-proxy", "--sse-port", "{port}", "--", "{command}"), transport="sse", endpoint="/sse"
        ),
        connect=Way(("{home}/bin/mcp-proxy", "{url}"), far_transport="sse"),
        environment={"RUST_LOG": "error"},
        note="knows HTTP+SSE of 2024-11-05 only, and is measured on that; one child for all its clients",
    ),
    Bridge(
        name="tbxark",
        title="mcp-proxy of TBXark (Go)",
        installation=Go("github.com/TBXark/mcp-proxy", "v0.43.2"),
        serve=Way(
            ("{home}/bin/mcp-proxy", "--config", "{config}"),
            endpoint="/bench/",
            config=TBXARK.replace("{far}", '{{"command": "{program}", "args": {arguments}}}'),
        ),
        hop=Way(
            ("{home}/bin/mcp-proxy", "--config", "{config}"),
            endpoint="/bench/",
            config=TBXARK.replace("{far}", '{{"transportType": "streamable-http", "url": "{url}"}}'),
        ),
        note="one child for all its clients",
    ),
    Bridge(
        name="tower",
        title="mcp-proxy of joshrotenberg (Rust, tower-mcp)",
        installation=Cargo("mcp-proxy", "0.6.0", ("--no-default-features",)),
        serve=Way(
            ("{home}/bin/mcp-proxy", "--config", "{config}"),
            endpoint="/",
            config=TOWER + 'transport = "stdio"\ncommand = "{program}"\nargs = {arguments}\n',
            tool_prefix="bench/",
        ),
        hop=Way(
            ("{home}/bin/mcp-proxy", "--config", "{config}"),
            endpoint="/",
            config=TOWER + 'transport = "http"\nurl = "{url}"\n',
            tool_prefix="bench/",
        ),
        environment={"RUST_LOG": "error"},
        note="a gateway; one child for all its clients",
    ),
)
