"""Static tokens, each with the name of its principal. Pure."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from hashlib import sha256

__all__ = ["StaticTokens"]


class StaticTokens:
    """The tokens that the operator has given out. It keeps their hashes only."""

    def __init__(self, tokens: Iterable[tuple[str, str]] = ()) -> None:
        """Accept ``tokens``: pairs of a principal's name and a token. Several tokens may have the same name."""
        self._known: list[tuple[bytes, str]] = []
        self.replace(tokens)

    def __len__(self) -> int:
        """Count the tokens."""
        return len(self._known)

    def replace(self, tokens: Iterable[tuple[str, str]]) -> None:
        """Accept these tokens from now on, and no others."""
        self._known = [(_digest(token), name) for name, token in tokens]

    def name_of(self, token: str) -> str | None:
        """Return the name of the principal whose token this is; None if it is nobody's.

        The time that this takes does not depend on the token: it compares hashes, in constant time, and all of them.
        """
        digest, found = _digest(token), None
        for known, name in self._known:
            if hmac.compare_digest(known, digest):
                found = name
        return found


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()
