"""What variables and a configuration file say beside the values of options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from relay.app.named_server import NamedServer

__all__ = ["Configured"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """What variables and a configuration file say, beside the values of options."""

    file: str | None = None
    target: Sequence[str] = ()
    """A URL, or a command and its arguments; the command line's own comes first."""
    servers: Mapping[str, NamedServer] = field(default_factory=dict)
    secrets: Sequence[str] = ()
    warnings: Sequence[str] = ()
    """What is to be said of the servers."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Where the value of an option comes from, by each of its flags; not if it comes from the command line."""
