"""The arguments of ``mcp-proxy`` 0.43.2 of TBXark: servers by their names, from a file that also says where to listen.

``--named-server-config`` reads the servers from the same file. This module reads the settings of the proxy, and refuses
those that the relay cannot honour: it never silently drops a token that clients need, or a filter of tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from relay.app.config.document import Table, read_document
from relay.app.config.entry_keys import NOT_SUPPORTED
from relay.app.config.servers_file import PROXY_IS_READ
from relay.app.dropins.reader import EVERYWHERE, Native, ToolParser, Version
from relay.errors import ConfigError

__all__ = ["OWN_FLAGS", "read"]

OWN_FLAGS = frozenset(
    f"{dashes}{name}"
    for name in ("config", "expand-env", "http-headers", "http-timeout", "insecure")
    for dashes in ("-", "--")
)
"""Options that no other ``mcp-proxy`` has; Go takes one dash or two."""

_REFUSED = {
    "authTokens": "clients cannot be asked for a token yet; take it out and put a proxy with a login before it",
    "toolFilter": "messages pass as they are, lists of tools too",
}

_WITHOUT_EFFECT = ("panicIfInvalid", "logEnabled")


def read(name: str, args: Sequence[str]) -> Native:
    """Read the arguments and the file. Raises ConfigError."""
    parser = ToolParser(name, "Offer the servers that a file names, at /NAME/mcp and /NAME/sse.", "-config FILE")
    parser.add_argument("-config", "--config", default="config.json", metavar="FILE", help="default config.json")
    parser.add_argument("-expand-env", "--expand-env", nargs="?", const="true", default="true", help="true only")
    parser.add_argument("-help", action="help", help="the same")
    parser.add_argument("-version", action=Version, nargs=0, help="the same")
    parser.refuse("-http-headers", "--http-headers", "-http-timeout", "--http-timeout", why="the file is a local one")
    parser.refuse("-insecure", "--insecure", why="the file is a local one")
    options = parser.read(args)
    if options.config.startswith(("http://", "https://")):
        raise ConfigError("-config: a file from the network is not supported; fetch it first, and name it here")
    if options.expand_env.lower() not in ("1", "t", "true"):
        raise ConfigError("-expand-env=false is not supported: variables in the file are always put in")
    return _native(options.config, read_document(options.config).root())


def _native(path: str, root: Table) -> Native:
    proxy, servers = root.table("mcpProxy"), root.table("mcpServers")
    if proxy is None or servers is None:
        raise root.error("mcpProxy and mcpServers are both required; a file of the first version is not supported")
    for table in (
        proxy,
        *(
            servers.document.table((*servers.path, name), one)
            for name, one in servers.values.items()
            if isinstance(one, dict)
        ),
    ):
        _check_options(table)
    host, _, number = (proxy.text("addr") or "").rpartition(":")
    if not number.isdecimal():
        raise proxy.error("expected HOST:PORT or :PORT", "addr")
    native = Native()
    native.add("--log-level", "INFO")
    native.listen(host or EVERYWHERE, int(number))
    native.add("--servers-path", urlsplit(proxy.text("baseURL") or "").path.rstrip("/"))
    native.add("--pass-environment")
    native.add("--named-server-config", path)
    PROXY_IS_READ.add(path)
    if (options := proxy.table("options")) is not None:
        for key in _WITHOUT_EFFECT:
            if key in options.values:
                native.notes.append(f"{options.where(key)}: not supported: {NOT_SUPPORTED[key]}")
    return native


def _check_options(table: Table) -> None:
    options = table.table("options") if isinstance(table.values.get("options"), dict) else None
    for key, why in _REFUSED.items():
        if options is not None and options.values.get(key) and options.values.get("disabled") is not True:
            raise options.error(f"is not supported: {why}", key)
