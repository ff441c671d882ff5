"""A server that a configuration names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["NamedServer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedServer:
    """A server that a configuration names: a command, or a URL."""

    name: str
    command: Sequence[str] = field(default=(), repr=False)
    """Empty if it is a URL."""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables added to the child's environment."""
    cwd: str | None = None
    url: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    transport: Literal["auto", "sse", "streamablehttp"] = "auto"
    timeout: float | None = None
    """Seconds that an answer may take, from its last progress; None: no limit."""
    is_enabled: bool = True
    problem: str | None = None
    """Why it cannot run, such as a ``${VAR}`` that is not set; None if it can."""
    mistakes: Sequence[str] = ()
    """Mistakes in its description, each with the file, the line and the key; ``problem`` has them, too."""
    secrets: Sequence[str] = field(default=(), repr=False)
    """Values in the fields above that logs mask."""
    where: str = ""
    """The file, line and key that describe it, for messages."""
