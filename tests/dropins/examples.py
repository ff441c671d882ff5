"""The table: the example lines of other tools' READMEs, and what each must do.

In a line ``{port}`` stands for the port to listen on, ``{http}`` and ``{sse}`` for the URL of a server that speaks
Streamable HTTP or HTTP+SSE, ``{tcp}`` for HOST:PORT of one on TCP, ``{https}`` for the address of one with TLS,
``{office}`` for that of one which issues tokens; ``{headers}``, ``{servers}``, ``{config}`` and ``{ca}`` are files. The
first word is the name after ``mcp-relay as``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["EXAMPLES", "REFUSED", "Example", "Refused"]

Way = Literal["stdio", "http", "sse", "ws", "report"]


@dataclass(frozen=True, slots=True)
class Example:
    """One line, and what it does."""

    line: str
    ways: tuple[Way, ...]
    """How clients reach it; ``stdio`` is the program itself, ``report`` what it prints before it ends."""
    argv: tuple[str, ...] | None = None
    """What the command it starts is given, where that can be asked."""
    env: Mapping[str, str] = field(default_factory=dict)
    sends: tuple[str, ...] = ()
    """What the server at the URL gets to see: lines of HTTP."""
    says: str = ""
    """What stands on stderr."""
    paths: Mapping[str, str] = field(default_factory=dict)
    """Where clients go, if not to /mcp and /sse; where ``health`` is, and ``nothing``."""
    told: str = ""
    """How the address begins at which clients of HTTP+SSE are to POST."""
    default_port: int | None = None
    """Where it listens, as no ``{port}`` says so: the test then adds one."""

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
_PATH = ("-y", "@anthropic/mcp-server-filesystem", "/path")
_AUTH = {"AUTH_TOKEN": "from-the-environment", "AUTH_HEADER": "Bearer from-the-environment"}
_SECRET = ("Authorization: Bearer from-the-environment",)
_IN_FILE = ("Authorization: Bearer my-token", "X-Custom-Header: custom-value")
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
    Example(
        "mcp-proxy --port={port} --allow-origin='*' --expose-header Custom-Header uvx mcp-server-fetch",
        _BOTH,
        _FETCH,
        says="any web page",
    ),
    Example(
        "mcp-proxy --port={port} --named-server fetch 'uvx mcp-server-fetch' "
        "--named-server fetch2 'uvx mcp-server-fetch'",
        _BOTH,
        _FETCH,
        paths={"http": "/servers/fetch/mcp", "sse": "/servers/fetch2/sse", "nothing": "/mcp"},
    ),
    Example(
        "mcp-proxy --named-server fetch 'uvx mcp-server-fetch' --port {port}",
        ("sse",),
        _FETCH,
        paths={"sse": "/servers/fetch/sse"},
    ),
    Example(
        "mcp-proxy --port={port} --named-server-config {servers}",
        _BOTH,
        _FETCH,
        paths={"http": "/servers/fetch/mcp", "sse": "/servers/fetch/sse"},
    ),
    Example("mcp-proxy --no-verify-ssl {https}/sse", ("stdio",), says="not verified"),
    Example("mcp-proxy --verify-ssl {ca} --transport streamablehttp {https}/mcp", ("stdio",)),
    Example(
        "mcp-proxy --transport streamablehttp --username user --password pass {http}",
        ("stdio",),
        sends=("Authorization: Basic dXNlcjpwYXNz",),
    ),
    Example(
        "mcp-proxy --client-id CLIENT_ID --client-secret CLIENT_SECRET --token-url {office}/token {sse}",
        ("stdio",),
        sends=("Authorization: Bearer issued",),
    ),
    # TBXark/mcp-proxy 0.43.2
    Example(
        "mcp-proxy --config {config}", _BOTH, _FETCH, paths={"http": "/tools/fetch/mcp", "sse": "/tools/fetch/sse"}
    ),
    Example("tbxark -config {config}", ("sse",), _FETCH, paths={"sse": "/tools/fetch/sse"}),
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
    Example(
        "rmcp-proxy your-command --sse-port {port} -e KEY VALUE -e ANOTHER_KEY ANOTHER_VALUE",
        ("sse",),
        (),
    ),
    Example(
        "rmcp-proxy --sse-port {port} --sse-host 0.0.0.0 -- npx -y @modelcontextprotocol/server-everything",
        ("sse",),
        says="--host 0.0.0.0",
    ),
    Example("rmcp-proxy --sse-port {port} python mcp_server.py", ("sse",), ("mcp_server.py",)),
    Example("rmcp-proxy --sse-port {port} -- npx -y @modelcontextprotocol/server-everything", ("sse",)),
    # supergateway 4.0.0
    Example('supergateway --stdio "uvx mcp-server-git" --port {port}', _BOTH, _GIT, says="without authentication"),
    Example(
        'supergateway --stdio "uvx mcp-server-git" --port {port} --logLevel none',
        _BOTH,
        _GIT,
        says="without authentication",
    ),  # fmt: skip
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
    Example(
        'supergateway --stdio "npx -y @modelcontextprotocol/server-filesystem ./my-folder" '
        "--port {port} --baseUrl http://localhost:{port} --ssePath /sse --messagePath /message",
        ("sse",),
        (*_FILES, "./my-folder"),
        told="http://localhost:{port}/message?",
    ),
    Example(
        'supergateway --stdio "npx -y @modelcontextprotocol/server-filesystem ./my-folder" '
        "--port {port} --outputTransport ws --messagePath /message",
        ("ws",),
        (*_FILES, "./my-folder"),
        paths={"ws": "/message"},
    ),
    Example(
        'supergateway --stdio "uvx mcp-server-git" --port {port} --ssePath /events --streamableHttpPath /tools/mcp '
        "--healthEndpoint /healthz --healthEndpoint /readyz",
        _BOTH,
        _GIT,
        paths={"sse": "/events", "http": "/tools/mcp", "health": "/readyz"},
        told="/message?",
    ),
    Example('supergateway --stdio "uvx mcp-server-git" --cors --port {port}', ("sse",), _GIT, says="any web page"),
    # punkpeye/mcp-proxy 6.7.19
    Example("mcp-proxy npx -y @anthropic/mcp-server-filesystem /path", _BOTH, _PATH, default_port=8080),
    Example("mcp-proxy --port {port} --shell -- tsx server.js", _BOTH, ("server.js",), says="without authentication"),
    Example("mcp-proxy -- python -u -m your_package.mcp_server", _BOTH, ("-u", "-m", "your_package.mcp_server")),
    Example(
        "punkpeye -- python -m your_package.mcp_server", _BOTH, ("-m", "your_package.mcp_server"), default_port=8080
    ),
    Example("punkpeye --port {port} --stateless -- tsx server.js", ("http",), ("server.js",)),
    Example(
        "mcp-proxy --port {port} --stateless --server stream -- tsx server.js",
        ("http",),
        ("server.js",),
        paths={"nothing": "/sse"},
    ),
    Example(
        "mcp-proxy --port {port} --server sse --endpoint /events -- tsx server.js",
        ("sse",),
        ("server.js",),
        paths={"sse": "/events", "nothing": "/mcp"},
    ),
    # mcp-remote 0.15.1
    Example("mcp-remote {sse}", ("stdio",)),
    Example("mcp-remote@latest {sse}", ("stdio",)),
    Example('mcp-remote {sse} --header "Authorization: Bearer ${{AUTH_TOKEN}}"', ("stdio",), env=_AUTH, sends=_SECRET),
    Example("mcp-remote {sse} --header 'Authorization:${{AUTH_HEADER}}'", ("stdio",), env=_AUTH, sends=_SECRET),
    Example("mcp-remote {sse} --header-file {headers}", ("stdio",), sends=_IN_FILE),
    Example("mcp-remote {sse} --allow-http", ("stdio",)),
    Example("mcp-remote {sse} --debug", ("stdio",)),
    Example("mcp-remote {sse} --silent", ("stdio",)),
    Example("mcp-remote {sse} --transport sse-only", ("stdio",)),
    Example("mcp-remote {http} --transport http-only", ("stdio",)),
    Example("mcp-remote {http} --disable-cookies", ("stdio",)),
    Example(
        "mcp-remote {http} 9696 --host 127.0.0.1 --auth-timeout 60 --authorize-param access_type=offline",
        ("stdio",),
    ),
    # srinugopi09/mcp-proxy: python mcp_proxy_server.py
    Example("fastmcp-proxy {http}", ("stdio",)),
    Example("fastmcp-proxy {http} --transport http --port {port}", ("http",)),
    Example('fastmcp-proxy {sse} --transport sse --port {port} --name "MyProxy"', ("sse",), says="--name MyProxy"),
    Example("fastmcp-proxy {sse} --transport-type sse", ("stdio",)),
    Example("fastmcp-proxy {http} --transport sse --port {port}", ("sse",)),
    # fastmcp-remote 4.1.4
    Example("fastmcp-remote {http}", ("stdio",)),
    Example(
        'fastmcp-remote {http} --header "Authorization: Bearer <token>" --header "X-Workspace: production" '
        '--header "X-Client-Name: My MCP Host" --header "X-Callback-Url: https://example.com/oauth/callback"',
        ("stdio",),
        sends=(
            "Authorization: Bearer <token>",
            "X-Client-Name: My MCP Host",
            "X-Callback-Url: https://example.com/oauth",
        ),
    ),
    Example("fastmcp-remote {http} --header 'Authorization:${{AUTH_HEADER}}'", ("stdio",), env=_AUTH, sends=_SECRET),
    Example("fastmcp-remote {http} --auth none", ("stdio",)),
    Example("fastmcp-remote {https}/mcp --verify {ca}", ("stdio",)),
    Example("fastmcp-remote {https}/mcp --verify false", ("stdio",), says="not verified"),
    Example("fastmcp-remote {https}/mcp", ("stdio",), env={"SSL_CERT_FILE": "{ca}"}),
    # dreygur/mcp-connect
    Example('mcp-connect test --endpoint "{http}"', ("report",), says="transport   Streamable HTTP"),
    Example('mcp-connect proxy --endpoint "{http}" --debug', ("stdio",)),
    Example('mcp-connect proxy --endpoint "{http}" --debug --log-level "debug"', ("stdio",)),
    Example(
        'mcp-connect proxy --endpoint "{http}" --auth-token "your-bearer-token" --debug',
        ("stdio",),
        sends=("Authorization: Bearer your-bearer-token",),
    ),
    Example(
        'mcp-connect proxy --endpoint "{http}" --api-key "your-api-key" --debug',
        ("stdio",),
        sends=("X-API-Key: your-api-key",),
    ),
    Example(
        'mcp-connect proxy --endpoint "{http}" --headers "Authorization:Bearer token123,X-Custom:value" --debug',
        ("stdio",),
        sends=("Authorization: Bearer token123", "X-Custom: value"),
    ),
    Example(
        'mcp-connect proxy --endpoint "{http}" --fallbacks "stdio,tcp" --timeout 30 --retry-attempts 3 '
        "--retry-delay 1000 --debug",
        ("stdio",),
        says="--fallbacks stdio:",
    ),
    Example(
        'mcp-connect load-balance --endpoints "{http},{http},{http}" --transport "http" --timeout 30 '
        '--retry-attempts 3 --auth-token "your-token" --debug',
        ("stdio",),
        sends=("Authorization: Bearer your-token",),
    ),
    Example(
        'mcp-connect test --endpoint "{http}" --transport "http" --auth-token "your-token"',
        ("report",),
        sends=("Authorization: Bearer your-token",),
        says="ok ",
    ),
    Example('mcp-connect test --endpoint "{tcp}" --transport "tcp"', ("report",), says="ok "),
    Example('mcp-connect test --endpoint "python my-server.py" --transport "stdio"', ("report",), says="ok "),
    Example("mcp-connect notification-demo --count 3", ("report",), says="Demo error message 3"),
    # IBM/mcp-context-forge: python3 -m mcpgateway.translate
    Example(
        'translate --stdio "docker run --rm -i ghcr.io/ibm/fast-time-server:latest -transport=stdio" --expose-sse '
        "--port {port}",
        ("sse",),
        ("run", "--rm", "-i", "ghcr.io/ibm/fast-time-server:latest", "-transport=stdio"),
    ),
    Example('translate --stdio "uvx mcp-server-git" --expose-sse --port {port}', ("sse",), _GIT),
    Example('translate --stdio "uvx mcp-server-git" --expose-sse --expose-streamable-http --port {port}', _BOTH, _GIT),
    Example('translate --stdio "uvx mcp-server-git" --port {port}', ("sse",), _GIT),
    Example(
        'translate --stdio "uvx mcp-server-git" --expose-streamable-http --port {port} --stateless --jsonResponse',
        ("http",),
        _GIT,
    ),
    Example(
        'translate --connect-streamable-http "{http}" --oauth2Bearer "your-token"',
        ("stdio",),
        sends=("Authorization: Bearer your-token",),
    ),
    Example('translate --connect-sse "{sse}"', ("stdio",)),
]

REFUSED = [
    Refused("mcp-proxy --config https://example.com/config.json", "-config"),
    Refused("mcp-proxy --config {tokens}", "authTokens"),
    Refused("mcp-proxy --config {filter}", "toolFilter"),
    Refused(
        "mcp-connect proxy --endpoint https://mcp.context7.com/mcp --headers '\"Authorization: Bearer token\"'",
        "is not a header name",
    ),
    Refused('translate --sse "https://example.com/sse" --stdioCommand "uvx mcp-client"', "--stdioCommand"),
    Refused('translate --streamableHttp "https://example.com/mcp" --oauth2Bearer "your-token"', "--streamableHttp"),
    Refused('supergateway --stdio "uvx mcp-server-git" --cors "/example\\.com$/"', "--cors"),
    Refused("mcp-remote https://remote.mcp.server/sse --callback-path /custom/callback", "--callback-path"),
    Refused(
        "mcp-remote https://remote.mcp.server/sse --auth-success-url https://app.example.com/cli-connected",
        "--auth-success-url",
    ),
    Refused("mcp-remote http://internal-service.vpc/sse", "--allow-http"),
    Refused("mcp-remote https://remote.mcp.server/sse --ignore-tool delete* --ignore-tool remove*", "--ignore-tool"),
    Refused("mcp-remote https://remote.mcp.server/sse --connect-timeout 30 --body-timeout 0", "--connect-timeout"),
    Refused("mcp-remote https://remote.mcp.server/sse --keep-alive --ping-interval 60", "--keep-alive"),
    Refused("mcp-remote https://remote.mcp.server/sse --ipv4", "--ipv4"),
    Refused("mcp-remote https://example.remote/mcp --protocol auto", "--protocol auto"),
    Refused("mcp-remote https://example.remote/server --use-id-token", "--use-id-token"),
    Refused("mcp-proxy --upstreamProtocol auto -- my-modern-mcp-server", "--upstreamProtocol"),
    Refused("mcp-proxy --port 8080 --tunnel -- tsx server.js", "--tunnel"),
    Refused("mcp-proxy --port 8080 --tunnel --tunnelSubdomain myapp -- tsx server.js", "--tunnel"),
    Refused(
        "mcp-proxy --port 8080 --corsAddAllowedHeader X-API-Key -- npx -y @modelcontextprotocol/server-filesystem /srv",
        "--corsAddAllowedHeader",
    ),
    Refused("fastmcp-proxy http://localhost:8000/mcp --transport http", "--port"),
    Refused("fastmcp-proxy --enable-registry --api-port 8080", "--enable-registry"),
    Refused("fastmcp-proxy --server-id weather-service-123 --transport http --port 8001", "--server-id"),
    Refused(
        'mcp-connect auth-proxy --endpoint "https://oauth-server.com/mcp" --client-id "your-client-id" --debug',
        "--auth-url, --token-url",
    ),
]
