"""The authorization request, with PKCE and state, and the checks of its response (RFC 6749, 7636, 8707, 9207)."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from secrets import token_urlsafe
from urllib.parse import parse_qsl, urlencode, urlsplit

from relay.auth.outbound.oauth.records import OpenWindow
from relay.auth.outbound.oauth.text import shown_text

__all__ = [
    "AuthorizationRefused",
    "ResponseIgnored",
    "authorization_url",
    "challenge_of",
    "code_in_response",
    "new_state",
    "new_verifier",
    "stable_port",
]

_FIRST_PORT, _LAST_PORT = 3335, 32767
"""Below the ports that systems give to outgoing connections: those of Linux begin at 32768."""
_MAX_PARAMETERS = 50


class ResponseIgnored(Exception):
    """A request to the callback that is not the response of this login: refuse it, and go on waiting."""


class AuthorizationRefused(Exception):
    """The response of this login has no code that may be used. The message says why, in one line."""


def new_state() -> str:
    """Return a state of 256 bits."""
    return token_urlsafe(32)


def new_verifier() -> str:
    """Return a code verifier: 64 characters (RFC 7636, 4.1: 43 to 128)."""
    return token_urlsafe(48)


def challenge_of(verifier: str) -> str:
    """Return the code challenge by the method S256 (RFC 7636, 4.2)."""
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")


def stable_port(url: str, profile: str, attempt: int) -> int:
    """Return the port of a server's callback. It stays the same, because the authorization server knows it."""
    seed = int.from_bytes(sha256(f"{profile}\n{url}".encode()).digest()[:8], "big")
    return _FIRST_PORT + (seed + attempt) % (_LAST_PORT - _FIRST_PORT + 1)


def authorization_url(
    endpoint: str,
    *,
    client_id: str,
    redirect_uri: str,
    state: str,
    verifier: str,
    resource: str | None,
    scope: str | None,
    asks_consent: bool = False,
    extra: Sequence[tuple[str, str]] = (),
) -> str:
    """Return the URL for the person. ``extra`` cannot replace a parameter of the relay's but ``prompt``."""
    params = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "code_challenge": challenge_of(verifier),
        "code_challenge_method": "S256",
        "state": state,
    }
    if resource is not None:
        params["resource"] = resource
    if scope is not None:
        params["scope"] = scope
    added = {"prompt": "consent"} if asks_consent else {}
    added |= {name: value for name, value in extra if name not in params}
    parts = urlsplit(endpoint)
    own = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in params]
    query = urlencode([*((name, value) for name, value in own if name not in added), *params.items(), *added.items()])
    return parts._replace(query=query, fragment="").geturl()


def code_in_response(query: str, window: OpenWindow) -> str:
    """Return the code of an authorization response, from the query of the callback.

    First the state, then the issuer, and only then anything else (RFC 9207, 2.4). Raises ResponseIgnored if it is not
    the response to this request, and AuthorizationRefused if it is one without a code that may be used.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS, errors="strict")
    except ValueError:
        raise ResponseIgnored from None
    states = [value for name, value in pairs if name == "state"]
    if len(states) != 1 or not hmac.compare_digest(states[0].encode(), window.state.encode()):
        raise ResponseIgnored
    params = dict(pairs)
    if any(sum(other == name for other, _ in pairs) > 1 for name in ("code", "iss", "error") if name in params):
        raise ResponseIgnored
    _check_issuer(params.get("iss"), window)
    if "error" in params:
        said = (shown_text(params["error"]), shown_text(params.get("error_description")))
        raise AuthorizationRefused(": ".join(one for one in said if one) or "no reason given")
    if not params.get("code"):
        raise ResponseIgnored
    return params["code"]


def _check_issuer(issuer: str | None, window: OpenWindow) -> None:
    if issuer is None:
        if window.is_iss_required:
            raise AuthorizationRefused(
                f"the response has no iss, which {window.issuer} promises to send: it may come from another server"
            )
        return
    if issuer != window.issuer:
        raise AuthorizationRefused(f"the response is not from {window.issuer}: its iss names another issuer")
