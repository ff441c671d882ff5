"""Values that may hold secrets."""

from __future__ import annotations

import msgspec

__all__ = ["PrivateValue"]


class PrivateValue(msgspec.Struct, frozen=True):
    """A value whose text shows no field: commands, URLs, headers and variables may hold secrets."""

    def __repr__(self) -> str:
        """Return the name of its class."""
        return f"<{type(self).__name__}>"
