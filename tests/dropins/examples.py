"""The table: the example lines of other tools' READMEs, and what each must do.

In a line ``{port}`` stands for the port to listen on, ``{http}`` and ``{sse}`` for the URL of a server that speaks
Streamable HTTP or HTTP+SSE. The first word is the name after ``mcp-relay as``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["EXAMPLES", "REFUSED", "Example", "Refused"]

Way = Literal["stdio", "http", "sse", "ws"]


@dataclass(frozen=True, slots=True)
class Example:
    """One line, and what it does."""

    line: str
    ways: tuple[Way, ...]
    """How clients reach it; ``stdio`` is the program itself."""
    argv: tuple[str, ...] | None = None
    """What the command it starts is given, where that can be asked."""
    env: Mapping[str, str] = field(default_factory=dict)
    sends: tuple[str, ...] = ()
    """What the server at the URL gets to see: lines of HTTP."""
    says: str = ""
    """What stands on stderr."""
    paths: Mapping[str, str] = field(default_factory=dict)
    """Where clients go, if not to /mcp and /sse."""

    def __str__(self) -> str:
        """Be the test's id."""
        return self.line


@dataclass(frozen=True, slots=True)
class Refused:
    """One line that is not supported, and what the error names."""

    line: str
    names: str

    def __str__(self) -> str:
        """Be the test's id."""
        return self.line


_GIT = ("mcp-server-git",)
_FETCH = ("mcp-server-fetch",)
_FILES = ("-y", "@modelcontextprotocol/server-filesystem")
_TOKEN = ("Authorization: Bearer some-access-token", "X-My-Header: another-header-value")
_BOTH: tuple[Way, ...] = ("http", "sse")

EXAMPLES = [
    # sparfenyuk/mcp-proxy 0.13.0
    Example("mcp-proxy {sse}", ("stdio",), env={"API_ACCESS_TOKEN": "access"}, sends=("Authorization: Bearer access",)),
    Example("mcp-proxy --transport streamablehttp {http}", ("stdio",)),
    Example(
        "mcp-proxy --headers Authorization 'Bearer YOUR_TOKEN' {sse}",
        ("stdio",),
        sends=("Authorization: Bearer YOUR_TOKEN",),
    ),
    Example("mcp-proxy uvx mcp-server-fetch", _BOTH, _FETCH),
    Example("mcp-proxy --port={port} uvx mcp-server-fetch", _BOTH, _FETCH),
    Example("mcp-proxy --sse-port={port} uvx mcp-server-fetch", _BOTH, _FETCH),
    Example(
        "mcp-proxy --host=0.0.0.0 --port={port} uvx mcp-server-fetch", _BOTH, _FETCH, says="without authentication"
    ),
    Example("mcp-proxy --sse-host=0.0.0.0 --sse-port={port} uvx mcp-server-fetch", ("sse",), _FETCH),
    Example(
        "mcp-proxy --port={port} -- uvx mcp-server-fetch --user-agent=YourUserAgent",
        _BOTH,
        (*_FETCH, "--user-agent=YourUserAgent"),
    ),
    Example("mcp-proxy --pass-environment --port={port} --sse-host 0.0.0.0 uvx mcp-server-fetch", _BOTH, _FETCH),
    Example(
        "mcp-proxy --port {port} -- your-command --arg1 value1 --arg2 value2",
        _BOTH,
        ("--arg1", "value1", "--arg2", "value2"),
    ),
    Example("mcp-proxy your-command --port {port} -e KEY VALUE -e ANOTHER_KEY ANOTHER_VALUE", _BOTH, ()),
    Example("mcp-proxy your-command --port {port} --allow-origin='*'", _BOTH, (), says="any web page"),
    # stephenlacy/mcp-proxy (rmcp-proxy)
    Example("rmcp-proxy {sse}", ("stdio",)),
    Example(
        "rmcp-proxy --headers Authorization 'Bearer YOUR_TOKEN' {sse}",
        ("stdio",),
        sends=("Authorization: Bearer YOUR_TOKEN",),
    ),
    Example(
        "rmcp-proxy --sse-port {port} -- your-command --arg1 value1 --arg2 value2",
        ("sse",),
        ("--arg1", "value1", "--arg2", "value2"),
    ),
    Example(
        "rmcp-proxy --sse-port {port} -e KEY VALUE -e ANOTHER_KEY ANOTHER_VALUE -- your-command --arg1 value1",
        ("sse",),
        ("--arg1", "value1"),
    ),
    Example("rmcp-proxy --sse-port {port} python mcp_server.py", ("sse",), ("mcp_server.py",)),
    Example("rmcp-proxy --sse-port {port} -- npx -y @modelcontextprotocol/server-everything", ("sse",)),
    # supergateway 4.0.0
    Example('supergateway --stdio "uvx mcp-server-git" --port {port}', _BOTH, _GIT, says="without authentication"),
    Example('supergateway --sse "{sse}"', ("stdio",)),
    Example(
        'supergateway --sse "{sse}" --oauth2Bearer "some-access-token" --header "X-My-Header: another-header-value"',
        ("stdio",),
        sends=_TOKEN,
    ),
    Example('supergateway --streamableHttp "{http}"', ("stdio",)),
    Example(
        'supergateway --streamableHttp "{http}" --oauth2Bearer "some-access-token" '
        '--header "X-My-Header: another-header-value"',
        ("stdio",),
        sends=_TOKEN,
    ),
    Example(
        'supergateway --stdio "npx -y @modelcontextprotocol/server-filesystem ./my-folder" '
        "--outputTransport streamableHttp --port {port}",
        ("http",),
        (*_FILES, "./my-folder"),
    ),
    Example(
        'supergateway --stdio "npx -y @modelcontextprotocol/server-filesystem ./my-folder" '
        "--outputTransport streamableHttp --stateful --sessionTimeout 60000 --port {port}",
        ("http",),
        (*_FILES, "./my-folder"),
    ),
    Example(
        'supergateway --port {port} --stdio "npx -y @modelcontextprotocol/server-filesystem /Users/MyName/Desktop"',
        ("sse",),
        (*_FILES, "/Users/MyName/Desktop"),
    ),
    Example(
        'supergateway --port {port} --stdio "npx -y @modelcontextprotocol/server-filesystem ."',
        ("sse",),
        (*_FILES, "."),
    ),
    Example('supergateway --stdio "uvx mcp-server-git" --cors --port {port}', ("sse",), _GIT, says="any web page"),
]

REFUSED = [
    Refused("mcp-proxy --no-verify-ssl https://server.local/sse", "--no-verify-ssl"),
    Refused(
        "mcp-proxy --transport streamablehttp --username user --password pass https://server.local/mcp", "--username"
    ),
    Refused(
        "mcp-proxy --client-id CLIENT_ID --client-secret CLIENT_SECRET --token-url https://auth.example.com/token "
        "http://localhost:8080/sse",
        "--client-id",
    ),
    Refused("mcp-proxy --port=8080 --named-server fetch 'uvx mcp-server-fetch'", "--named-server"),
    Refused("mcp-proxy --port=8080 --named-server-config ./servers.json", "--named-server-config"),
    Refused("mcp-proxy your-command --port 8080 --allow-origin='*' --expose-header Custom-Header", "--expose-header"),
    Refused("rmcp-proxy reset", "reset"),
    Refused('supergateway --stdio "uvx mcp-server-git" --cors "/example\\.com$/"', "--cors"),
]
