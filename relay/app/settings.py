"""What one run of the program was asked to do, checked: the command line's words as values."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from relay.app.specs import ListenSpec
from relay.endpoints.combined.pool import Retry
from relay.endpoints.http.paths import DEFAULT_PATHS, HttpPaths
from relay.limits import DEFAULT_LIMITS, Limits
from relay.routing.schedule import Strategy

if TYPE_CHECKING:
    from relay.app.config.servers_source import ServersSource
    from relay.auth.outbound import Login

__all__ = ["BridgeSettings", "CheckSettings", "ChoiceSettings", "LogTo", "ServeSettings", "Share"]

LogTo = Literal["stderr", "client"]
Share = Literal["session", "shared", "request", "stateless"]
"""A server for each session, one for all, or one for each request; or one for all, to requests without a session."""


@dataclass(frozen=True, slots=True)
class ChoiceSettings:
    """Several servers that stand in for one another: addresses, and commands as lists of words."""

    targets: Sequence[str | Sequence[str]] = field(repr=False)
    strategy: Strategy
    retry: Retry


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeSettings:
    """Own stdio to a URL."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    login: Login | None = None
    transport: Literal["auto", "sse", "streamablehttp"] = "auto"
    dial_tls: ssl.SSLContext | None = None
    """How to speak TLS to the server; None: as by default."""
    secrets: Sequence[str] = field(default=(), repr=False)
    limits: Limits = DEFAULT_LIMITS
    log_to: LogTo = "stderr"
    """Who is told of the relay's own warnings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """A command, or an address, offered wherever clients may come from."""

    command: Sequence[str] = field(repr=False)
    """Empty if an address is served, or several servers."""
    name: str
    choice: ChoiceSettings | None = None
    env: Mapping[str, str] = field(repr=False)
    """The child's whole environment."""
    url: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    login: Login | None = None
    transport: Literal["auto", "sse", "streamablehttp"] = "auto"
    dial_tls: ssl.SSLContext | None = None
    """How to speak TLS to servers; None: as by default."""
    share: Share | None = None
    """What clients share; None: legacy sessions nothing, clients of 2026-07-28 one server."""
    cwd: str | None = None
    listen: Sequence[ListenSpec] = (ListenSpec("http"),)
    listen_tls: ssl.SSLContext | None = None
    """The certificate of those that have TLS."""
    paths: HttpPaths = DEFAULT_PATHS
    """Where on an HTTP port the server is offered."""
    allowed_hosts: Sequence[str] = ()
    allowed_origins: Sequence[str] = ()
    exposed_headers: Sequence[str] = ()
    secrets: Sequence[str] = field(default=(), repr=False)
    warnings: Sequence[str] = field(default=(), repr=False)
    """Said once the relay listens: what this configuration exposes."""
    log_to: LogTo = "stderr"
    """Who is told of the relay's own warnings, where own stdio is all that clients come by."""
    named: ServersSource | None = None
    """Servers with names beside the command or address, or instead of both."""
    pass_environment: bool = False
    """Whether named servers get our whole environment."""
    is_eager: bool = False
    """Whether the servers are started before anybody uses them."""
    limits: Limits = DEFAULT_LIMITS

    @property
    def has_default(self) -> bool:
        """Whether there is a server without a name."""
        return bool(self.command) or self.url is not None or self.choice is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSettings:
    """A look at a server: an address, or a command that is started for it."""

    target: str | Sequence[str] = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    login: Login | None = None
    transport: Literal["auto", "sse", "streamablehttp"] = "auto"
    dial_tls: ssl.SSLContext | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The child's whole environment."""
    cwd: str | None = None
    timeout: float = 10.0
    """How long the server may take for its handshake, and for each answer after that."""
    secrets: Sequence[str] = field(default=(), repr=False)
