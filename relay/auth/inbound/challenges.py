"""Write a challenge as the header ``WWW-Authenticate`` (RFC 6750 §3, RFC 9728 §5.1). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relay.auth.inbound.verdicts import Challenge

__all__ = ["www_authenticate"]


def www_authenticate(challenge: Challenge, metadata_url: str | None = None) -> str:
    """Return the header's value; ``metadata_url`` is where the client learns who issues tokens."""
    parameters = {
        "error": challenge.error,
        # RFC 6750 §3: without a token the challenge says nothing of errors.
        "error_description": challenge.message if challenge.error else "",
        "scope": challenge.scope,
        "resource_metadata": metadata_url or "",
    }
    said = ", ".join(f'{name}="{_escaped(value)}"' for name, value in parameters.items() if value)
    return f"Bearer {said}" if said else "Bearer"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
