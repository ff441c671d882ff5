"""What one run of ``mcp-relay test`` was asked to do, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from relay.endpoints.core.dialling import DEFAULT_DIALLING, DiallingOptions

__all__ = ["DoctorSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorSettings:
    """A look at a server: an address, or a command that is started for it."""

    target: str | Sequence[str] = field(repr=False)
    dialling: DiallingOptions = DEFAULT_DIALLING
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The child's whole environment."""
    cwd: str | None = None
    timeout: float = 10.0
    """How long the server may take for its handshake, and for each answer after that."""
    secrets: Sequence[str] = field(default=(), repr=False)
