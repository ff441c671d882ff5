"""Sign what shows who the relay is in place of a secret: ``private_key_jwt`` (RFC 7523, extra ``jwt``)."""

from __future__ import annotations

import time
from secrets import token_urlsafe
from typing import Any

from relay.auth.outbound.oauth.options import OAuthOptions
from relay.errors import ConfigError

__all__ = ["client_assertion", "read_key"]

_SECONDS = 240  # of validity: clocks differ, and servers accept at most 300
_ALGORITHMS = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}  # else RS256


def read_key(text: str) -> Any:
    """Return a private key from its PEM or JWK text. Raises ConfigError."""
    try:
        from joserfc import jwk
    except ImportError:
        raise ConfigError("--client-assertion-key needs joserfc (pip install 'mcp-frame-relay[jwt]')") from None
    text = text.strip()
    for kind in (jwk.ECKey, jwk.RSAKey):
        try:
            key = kind.import_key(_document(text) if text.startswith("{") else text)
        except Exception:
            continue
        if key.is_private:
            return key
    raise ConfigError("--client-assertion-key: not a private key of the kind EC or RSA, as PEM or JWK")


def _document(text: str) -> Any:
    import msgspec

    return msgspec.json.decode(text)


def client_assertion(options: OAuthOptions, client_id: str, issuer: str) -> str:
    """Return a signed assertion for one request. Its audience is the issuer. Raises ConfigError."""
    key = read_key(options.client_assertion_key or "")
    from joserfc import jwt
    from joserfc.jws import JWSRegistry

    fields = key.as_dict(private=False)
    algorithm = fields.get("alg") or _ALGORITHMS.get(fields.get("crv", ""), "RS256")
    header = {"alg": algorithm, "typ": "JWT", **({"kid": fields["kid"]} if "kid" in fields else {})}
    now = int(time.time())
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": options.client_assertion_audience or issuer,
        "iat": now,
        "exp": now + _SECONDS,
        "jti": token_urlsafe(16),
    }
    return jwt.encode(header, claims, key, registry=JWSRegistry(algorithms=[algorithm]))
