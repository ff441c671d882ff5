"""What variables and a configuration file say beside the values of options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from relay.app.named_server import NamedServer

__all__ = ["Configured"]


class Configured(msgspec.Struct, frozen=True, kw_only=True):
    """What variables and a configuration file say, beside the values of options."""

    file: str | None = None
    target: Sequence[str] = ()
    """A URL, or a command and its arguments; the command line's wins."""
    servers: Mapping[str, NamedServer] = {}
    secrets: Sequence[str] = ()
    warnings: Sequence[str] = ()
    """Warnings about the servers."""
    origins: Mapping[str, str] = {}
    """The origin of an option's value, by each of its flags, unless it is the command line."""
