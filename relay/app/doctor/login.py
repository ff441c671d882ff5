"""Say which login a server wants, and how to log in there."""

from __future__ import annotations

from relay.app.doctor.advice import shown
from relay.auth.outbound.credentials import LoginFailed
from relay.auth.outbound.oauth.urls import UnusableUrl
from relay.endpoints.http.client.oauth.logins import OAuthLogins
from relay.errors import RelayError

__all__ = ["login_advice"]


async def login_advice(url: str, logins: object) -> str | None:
    """Return what to do about a 401, from the metadata of the server; None if it names no authorization server."""
    assert isinstance(logins, OAuthLogins), "the only login for all servers"
    try:
        needs = await logins.needs_of(url)
    except (LoginFailed, UnusableUrl, RelayError):
        return None
    if needs is None:
        return None
    scopes = f" with the scopes {shown(' '.join(needs.scopes))}" if needs.scopes else ""
    client = "" if needs.registers_clients or needs.accepts_documents else "; it registers no clients: give --client-id"
    return f"login needed: mcp-relay auth login {url} (at {shown(needs.issuer)}{scopes}{client})"
