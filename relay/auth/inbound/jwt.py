"""Judge JSON Web Tokens of one issuer by their signature and their claims (RFC 7519, RFC 9068)."""

from __future__ import annotations

import time
import warnings
from base64 import urlsafe_b64decode
from collections.abc import Callable
from typing import Any

import msgspec
from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jws import JWSRegistry

from relay.auth.inbound.claims import Expected, judge, refusal
from relay.auth.inbound.issuer_keys import ALGORITHMS, IssuerKeys
from relay.auth.inbound.recent import Recent
from relay.auth.inbound.verdicts import Challenge, Pending, Principal, Verdict
from relay.auth.inbound.web import Web

__all__ = ["JwtLogin"]

_TYPES = ("", "jwt", "at+jwt", "application/at+jwt")
_MOST_HEADER = 4096
_REMEMBERED = 60.0  # seconds for which a signature is not checked again
_ADMITTED = 600.0  # seconds after which a connection asks again, so that a key that is gone counts
_UNKNOWN_KEY = refusal("the token is signed with an unknown key")
_MALFORMED = refusal("the token is not a signed JSON Web Token")


class _Header(msgspec.Struct):
    alg: str = ""
    kid: str | None = None
    typ: str = ""
    crit: object = None
    b64: object = None


_read_header = msgspec.json.Decoder(_Header).decode
_read_claims = msgspec.json.Decoder(dict[str, Any]).decode


class JwtLogin:
    """The tokens of one issuer for this relay."""

    def __init__(
        self,
        web: Web,
        expected: Expected,
        jwks_url: str | None,
        on_change: Callable[[], None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Accept tokens that say what is ``expected``; call ``on_change`` when keys disappear.

        ``clock`` returns seconds of the Unix epoch.
        """
        self._expected = expected
        self._clock = clock
        self._on_change = on_change
        self._recent = Recent()
        self.keys = IssuerKeys(web, expected.issuer, jwks_url, self._keys_changed)

    def _keys_changed(self) -> None:
        self._recent.clear()
        self._on_change()

    def look(self, token: str, now: float) -> Verdict:
        """Return whose token this is, at ``now`` by the loop's clock; Pending if its key must be fetched first."""
        if (known := self._recent.find(token, now)) is not None:
            return known
        header = _header_of(token)
        if isinstance(header, Challenge):
            return header
        keys = self.keys.find(header.kid, header.alg, now)
        if not keys:
            return Pending(token) if self.keys.may_ask(now) else self._unknown_key()
        if header.kid is None and len(keys) > 1:
            return refusal("the token does not name its key, and the issuer has several")
        for one in keys:
            if (payload := _verified(token, one.key, header.alg)) is not None:
                return self._judge(token, payload, now)
        return refusal("the signature of the token is wrong")

    def _unknown_key(self) -> Challenge:
        if self.keys.is_missing:
            fault = "the keys of the authorization server cannot be fetched now"
            return Challenge(status=503, message=fault, retry_after=5)
        return _UNKNOWN_KEY

    def _judge(self, token: str, payload: bytes, now: float) -> Verdict:
        try:
            claims = _read_claims(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return _MALFORMED
        proof = judge(claims, self._expected, wall := self._clock(), must_end=True)
        if isinstance(proof, Challenge):
            return proof
        assert proof.ends is not None, "it must end"
        principal = Principal(proof.name, min(now + _ADMITTED, now + proof.ends - wall))
        self._recent.keep(token, principal, now + _REMEMBERED)
        return principal

    async def verify(self, token: str, now: float) -> Verdict:
        """Fetch the issuer's keys, and judge a token by them."""
        await self.keys.fetch(now)
        verdict = self.look(token, now)
        return self._unknown_key() if isinstance(verdict, Pending) else verdict

    async def aclose(self) -> None:
        """End a fetch that runs."""
        await self.keys.aclose()


def _header_of(token: str) -> _Header | Challenge:
    text, _, rest = token.partition(".")
    if rest.count(".") != 1 or len(text) > _MOST_HEADER or not token.isascii():
        return _MALFORMED
    try:
        header = _read_header(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, msgspec.MsgspecError):
        return _MALFORMED
    if header.alg not in ALGORITHMS:
        return refusal(f"the token is not signed with one of {', '.join(sorted(ALGORITHMS))}")
    if header.typ.lower() not in _TYPES or header.crit is not None or header.b64 is not None:
        return refusal("the token is of another type than an access token")
    return header


def _verified(token: str, key: Any, algorithm: str) -> bytes | None:
    """Return the payload of a token that this key has signed; None if it has not."""
    registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    registry.max_header_length = _MOST_HEADER
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # of the name EdDSA, whose keys here are Ed25519 only
            return jws.deserialize_compact(token, key, algorithms=[algorithm], registry=registry).payload
    except (JoseError, ValueError):
        return None
