"""The options that say at which paths of a port a server is offered."""

from __future__ import annotations

import argparse
import re
from typing import Any

from relay.addresses import shown_address
from relay.endpoints.http.paths import MCP, MESSAGES, SERVERS, SSE, HttpPaths
from relay.errors import ConfigError

__all__ = ["OF_PATHS", "add_path_options", "paths_of"]

OF_PATHS = {
    "mcp_path": "--mcp-path",
    "sse_path": "--sse-path",
    "message_path": "--message-path",
    "servers_path": "--servers-path",
    "health_path": "--health-path",
    "base_url": "--base-url",
}
"""By their attribute."""


_PATH = re.compile(r"(/[\w.~%!$&'()*+,;=:@-]+)+/?", re.ASCII)
_OWN = ("/status", "/health")


def add_path_options(group: Any) -> None:
    """Add the path of each service; an empty path turns it off."""
    group.add_argument(
        "--mcp-path", default=MCP, metavar="PATH", help=f"of Streamable HTTP (default {MCP}); '' for none"
    )
    group.add_argument("--sse-path", default=SSE, metavar="PATH", help=f"of HTTP+SSE (default {SSE}); '' for none")
    group.add_argument(
        "--message-path", default=MESSAGES, metavar="PATH",
        help=f"where clients of HTTP+SSE are told to POST (default {MESSAGES})",
    )  # fmt: skip
    group.add_argument(
        "--servers-path", default=SERVERS, metavar="PATH",
        help=f"below which servers with names are (default {SERVERS}); '' for the root",
    )  # fmt: skip
    group.add_argument(
        "--health-path",
        action="append",
        default=[],
        metavar="PATH",
        help="says ok, as text, to a probe by whatever name (repeatable)",
    )
    group.add_argument(
        "--base-url", default="", metavar="URL", help="what stands before --message-path in what clients are told"
    )


def paths_of(options: argparse.Namespace) -> HttpPaths:
    """Return the paths. Raises ConfigError if one is none, or two are the same."""
    given = [("--mcp-path", options.mcp_path), ("--sse-path", options.sse_path)]
    given = [(flag, path) for flag, path in given if path]
    if not given:
        raise ConfigError("--mcp-path and --sse-path are both empty: nothing would be offered")
    given += [("--message-path", options.message_path), *(("--health-path", path) for path in options.health_path)]
    seen: dict[str, str] = {}
    for flag, path in given:
        if (flag, path) != ("--health-path", "/"):
            _check(flag, path)
        bare = path.removesuffix("/")
        if bare in _OWN and (flag, bare) != ("--health-path", "/health"):
            raise ConfigError(f"{flag}: {path!r} is taken: the relay itself answers there")
        if bare in seen:
            raise ConfigError(f"{flag}: {path!r} is {seen[bare]} already")
        if options.servers_path and bare.startswith(options.servers_path.rstrip("/") + "/"):
            raise ConfigError(f"{flag}: {path!r} is below {options.servers_path}, where servers with names are")
        seen[bare] = flag
    if options.servers_path:
        _check("--servers-path", options.servers_path)
    if options.base_url and not re.fullmatch(r"https?://[^\s?#]+", options.base_url):
        raise ConfigError(
            f"--base-url: {shown_address(options.base_url)!r} is not a URL such as https://example.com/tools"
        )
    return HttpPaths(
        mcp=options.mcp_path.rstrip("/"),
        sse=options.sse_path,
        messages=options.message_path,
        servers=options.servers_path.rstrip("/"),
        health=tuple(options.health_path),
        base_url=options.base_url.rstrip("/"),
    )


def _check(flag: str, path: str) -> None:
    if not _PATH.fullmatch(path):
        raise ConfigError(f"{flag}: {path!r} is not a path such as /mcp")
