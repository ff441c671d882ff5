"""What one run of the program was asked to do, checked: the command line as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from relay.app.specs import ListenSpec
from relay.endpoints.combined.pool import Retry
from relay.endpoints.core.dialling import DEFAULT_DIALLING, DiallingOptions
from relay.endpoints.http.listening import DEFAULT_LISTENING, ListeningOptions
from relay.limits import Limits
from relay.routing.schedule import Strategy
from relay.values import PrivateValue

if TYPE_CHECKING:
    from relay.app.config.servers_source import ServersSource
    from relay.auth.egress import EgressRules

__all__ = ["BridgeSettings", "GatewaySettings", "PoolSettings", "LogTo", "ServeSettings", "Share"]

LogTo = Literal["stderr", "client"]
Share = Literal["session", "shared", "request", "stateless"]
"""A server for each session, one for all, or one for each request; or one for all, to requests without a session."""


class PoolSettings(PrivateValue, frozen=True):
    """Several servers that stand in for one another: addresses, and commands as lists of words."""

    targets: Sequence[str | Sequence[str]]
    strategy: Strategy
    retry: Retry


class BridgeSettings(PrivateValue, frozen=True, kw_only=True):
    """Own stdio to a URL."""

    url: str
    dialling: DiallingOptions = DEFAULT_DIALLING
    secrets: Sequence[str] = ()
    log_to: LogTo = "stderr"
    """Where the relay's own warnings go."""


class GatewaySettings(PrivateValue, frozen=True, kw_only=True):
    """What web pages may do with servers that they name."""

    rules: EgressRules
    proxy: str | None
    """The URL of an HTTP proxy that connects to servers; it may have a login."""
    within: float
    """Seconds that an answer may take."""
    session_idle: float
    """Seconds without a call after which a session with a server ends."""


class ServeSettings(PrivateValue, frozen=True, kw_only=True):
    """A command, or an address, offered to clients of listeners."""

    command: Sequence[str]
    """Empty if an address is served, or several servers."""
    name: str
    pool: PoolSettings | None = None
    env: Mapping[str, str]
    """The child's whole environment."""
    url: str | None = None
    dialling: DiallingOptions = DEFAULT_DIALLING
    """How to reach the server at the URL, or each of several servers."""
    share: Share | None = None
    """What clients share; None: each legacy session has its own server, clients of 2026-07-28 share one."""
    cwd: str | None = None
    listen: Sequence[ListenSpec] = (ListenSpec("http"),)
    listening: ListeningOptions = DEFAULT_LISTENING
    """What all listeners have in common; the certificate is for those addresses that have TLS."""
    secrets: Sequence[str] = ()
    warnings: Sequence[str] = ()
    """Printed once the relay listens: what this configuration exposes."""
    log_to: LogTo = "stderr"
    """Where the relay's own warnings go, if own stdio is the only listener."""
    named: ServersSource | None = None
    """Servers with names beside the command or address, or instead of both."""
    pass_environment: bool = False
    """Whether named servers get the relay's whole environment."""
    withheld: Sequence[str] = ()
    """Variables that they do not get in any case, because they hold tokens of clients."""
    gateway: GatewaySettings | None = None
    """Serve web pages, and no server of the relay's own."""
    is_eager: bool = False
    """Whether commands start before the first session."""

    @property
    def limits(self) -> Limits:
        """What the relay holds and waits for."""
        return self.listening.limits

    @property
    def has_default(self) -> bool:
        """Whether there is a server without a name."""
        return bool(self.command) or self.url is not None or self.pool is not None
