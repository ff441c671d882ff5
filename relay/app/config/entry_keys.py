"""The names of the keys of a server's entry, by editor, and the names of transports.

A key that this module does not know costs a warning, never the server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

__all__ = [
    "BUILT_IN",
    "COMMAND_KEYS",
    "ENTRY_KEYS",
    "Transport",
    "NOT_SUPPORTED",
    "OF_EDITORS",
    "OTHER_NAMES",
    "TRANSPORTS",
    "URL_KEYS",
    "VARIABLE_KEYS",
    "transport_named",
]

ENTRY_KEYS = (
    "command", "args", "env", "cwd", "url", "headers", "transport", "timeout", "enabled", "disabled",
)  # fmt: skip
"""The relay's own names; other names follow."""
OTHER_NAMES = {
    "serverUrl": "url",
    "serverURL": "url",
    "httpUrl": "url",
    "baseUrl": "url",
    "uri": "url",  # Goose
    "cmd": "command",  # Goose
    "environment": "env",  # opencode
    "envs": "env",  # Goose
    "working_directory": "cwd",  # Warp
    "workingDirectory": "cwd",
    "http_headers": "headers",  # Codex
    "type": "transport",
    "transportType": "transport",
    "transport_type": "transport",
    "tool_timeout_sec": "timeout",  # Codex
    "isActive": "enabled",  # Cherry Studio
    "active": "enabled",  # Jan
}
VARIABLE_KEYS = (
    "env_vars", "env_keys", "bearer_token", "bearer_token_env_var", "env_http_headers", "requestOptions",
    "customUserVars",
)  # fmt: skip
"""Keys of Codex, Goose, Continue and LibreChat for variables and headers, beside ``env`` and ``headers``."""
OF_EDITORS = (
    "alwaysAllow", "alwaysLoad", "anythingllm", "autoApprove", "bundled", "capabilities", "chatMenu",
    "connectionTimeout", "default_tools_approval_mode", "description", "dev", "display_name",
    "experimental_environment", "extensionName", "faviconUrl", "gallery", "icon", "iconPath", "iconUrl", "id",
    "initTimeout", "isDefaultServer", "logoUrl", "name", "note", "provider", "providerUrl", "registryUrl", "remark",
    "required", "schema", "serverInstructions", "settings", "source", "sourcePath", "start_on_launch", "startup",
    "startup_timeout_ms", "startup_timeout_sec", "supports_parallel_tool_calls", "tags", "title", "trust", "version",
    "watchPaths",
)  # fmt: skip
"""Keys that only concern the editor: what it shows, what it asks, how long it waits."""
_ALL_TOOLS = "all of the server's tools are offered"
_TOKEN = "put the token into headers, as ${VAR} if it is a secret"
NOT_SUPPORTED = {
    **dict.fromkeys(
        (
            "available_tools", "disabledTools", "disabled_tools", "enabledTools", "enabled_tools", "excludeTools",
            "includeTools", "toolFilter", "tools",
        ),
        _ALL_TOOLS,
    ),
    **dict.fromkeys(
        ("apiKey", "auth", "authProviderType", "oauth", "oauthScopes", "oauth_resource", "headersHelper", "scopes"),
        _TOKEN,
    ),
    "requiresOAuth": _TOKEN,
    "authTokens": "clients are not asked for them",
    "envFile": "put the variables into env",
    "logEnabled": "--log-level is for all servers",
    "options": "",
    "panicIfInvalid": "a server that does not start keeps none of the others from starting",
    **dict.fromkeys(("sandbox", "sandboxEnabled"), "the server is started with all that the relay may do"),
}  # fmt: skip
"""Keys that the relay does not support, and what that means."""

Transport = Literal["stdio", "auto", "sse", "streamablehttp"]
BUILT_IN = ("builtin", "frontend", "inlinepython", "inmemory", "platform")
"""Kinds of servers that are part of the editor."""
TRANSPORTS: Mapping[str, Transport] = {
    "stdio": "stdio",
    "local": "stdio",
    "command": "stdio",
    "process": "stdio",
    "auto": "auto",
    "http": "auto",
    "https": "auto",
    "remote": "auto",
    "url": "auto",
    "tcp": "auto",
    "unix": "auto",
    "ws": "auto",
    "wss": "auto",
    "websocket": "auto",
    "sse": "sse",
    "httpsse": "sse",
    "httpstream": "streamablehttp",
    "shttp": "streamablehttp",
    "streamable": "streamablehttp",
    "streamablehttp": "streamablehttp",
    "streamablehttps": "streamablehttp",
}
"""By name, as ``transport_named`` writes it. Editors, too, fall back from ``http`` to SSE."""

COMMAND_KEYS = ("command", *(other for other, ours in OTHER_NAMES.items() if ours == "command"))
URL_KEYS = ("url", *(other for other, ours in OTHER_NAMES.items() if ours == "url"))


def transport_named(text: str) -> str:
    """Return a transport's name in lower case, without separators."""
    return re.sub(r"[-_+ ]", "", text.lower())
