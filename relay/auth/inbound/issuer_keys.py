"""Keep the public keys with which an authorization server signs (RFC 7517).

They come from the configured issuer, or from the configured address, and never from where a token says. Keys that are
known stay good for an hour while their server cannot be reached.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from joserfc import jwk
from joserfc.errors import JoseError

from relay.addresses import shown_address
from relay.auth.inbound.web import Web, read_object
from relay.auth.outbound.oauth.discovery import server_metadata_urls
from relay.auth.outbound.oauth.urls import UnusableUrl, check_endpoint
from relay.errors import EndpointUnavailable

__all__ = ["ALGORITHMS", "IssuerKeys", "SigningKey", "read_keys"]

logger = logging.getLogger("relay")

ALGORITHMS = frozenset(("RS256", "PS256", "ES256", "EdDSA", "Ed25519"))
"""Signatures of public keys only: a relay that took HMAC, or none, could be given tokens of anybody's making."""
_ED25519 = frozenset(("EdDSA", "Ed25519"))  # two names of one algorithm (RFC 9864)
_RSA_BITS = range(2048, 8193)
_MAX_DOCUMENT = 256 * 1024
_MOST_KEYS = 100
_FRESH = 600.0  # seconds
_STALE = 3600.0
_BETWEEN = 60.0  # seconds between two fetches because of unknown keys
_AFTER_FAILURE = 5.0
_SECONDS = 10.0


class SigningKey(msgspec.Struct, frozen=True, eq=False):
    """A public key, its id, and the algorithms for which it may be used."""

    kid: str | None
    algorithms: frozenset[str]
    key: Any
    text: str
    """The key as JSON, for comparison."""


class IssuerKeys:
    """The keys of one issuer."""

    def __init__(self, web: Web, issuer: str, url: str | None, on_change: Callable[[], None]) -> None:
        """Get keys from ``url``, or from where the issuer's metadata says; call ``on_change`` when keys disappear."""
        self._web = web
        self._issuer = issuer
        self._url = url
        self._on_change = on_change
        self._keys: list[SigningKey] = []
        self._fetched = self._tried = self._asked = -float("inf")
        self._fetching: asyncio.Task[None] | None = None
        self._is_failing = False

    def find(self, kid: str | None, algorithm: str, now: float) -> list[SigningKey]:
        """Return the keys that may have signed a token, at ``now`` by the loop's clock."""
        if now - self._fetched > _STALE:
            return []
        if now - self._fetched > _FRESH and now - self._tried > _BETWEEN:
            self._begin(now)  # nobody waits for it
        fit = [key for key in self._keys if algorithm in key.algorithms]
        return fit if kid is None else [key for key in fit if key.kid == kid]

    def may_ask(self, now: float) -> bool:
        """Tell whether a token with an unknown key is a reason to fetch the keys now: at once, then once a minute."""
        if self._is_fetching:
            return True
        if now - self._fetched > _STALE:
            return now - self._tried >= _AFTER_FAILURE
        return now - self._asked >= _BETWEEN

    @property
    def _is_fetching(self) -> bool:
        return self._fetching is not None and not self._fetching.done()

    @property
    def is_missing(self) -> bool:
        """Whether the last attempt to get the keys failed."""
        return self._is_failing

    async def fetch(self, now: float) -> None:
        """Fetch the keys, once for all that wait."""
        if not self._is_fetching and self._keys:
            self._asked = now
        await asyncio.shield(self._begin(now))

    def _begin(self, now: float) -> asyncio.Task[None]:
        """Return the fetch that runs, or begin one."""
        if self._fetching is None or self._fetching.done():
            self._tried = now
            work = self._fetch()
            self._fetching = asyncio.get_running_loop().create_task(work, name="keys of the authorization server")
            self._fetching.add_done_callback(self._done)
        return self._fetching

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (exc := task.exception()) is not None:
            logger.error("the keys of %s: unexpected %s", self._issuer, type(exc).__name__, exc_info=exc)

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                url = self._url or await self._discover()
                found = read_keys(read_object(*await self._web.get(url, limit=_MAX_DOCUMENT), shown_address(url)))
                if not found:
                    raise EndpointUnavailable(f"{shown_address(url)}: no key for {', '.join(sorted(ALGORITHMS))}")
        except (EndpointUnavailable, TimeoutError) as exc:
            if not self._is_failing:
                self._is_failing = True
                logger.warning(
                    "cannot get the keys of %s: %s", self._issuer, str(exc) or f"no answer in {_SECONDS:g} s"
                )
            return
        if self._is_failing:
            logger.info("got the keys of %s again", self._issuer)
        self._is_failing = False
        before, self._keys = {key.text for key in self._keys}, found
        self._fetched = self._tried
        if before - {key.text for key in found}:
            self._on_change()

    async def _discover(self) -> str:
        """Return the address of the keys from the issuer's metadata. Raises EndpointUnavailable."""
        for url in server_metadata_urls(self._issuer):
            status, body = await self._web.get(url, limit=_MAX_DOCUMENT)
            if 400 <= status < 500:
                continue
            document = read_object(status, body, url)
            if document.get("issuer") != self._issuer:
                raise EndpointUnavailable(f"{url}: its issuer is not {self._issuer!r}")
            try:
                return check_endpoint(str(document.get("jwks_uri")))
            except UnusableUrl:
                raise EndpointUnavailable(f"{url}: its jwks_uri must begin with https://") from None
        raise EndpointUnavailable(f"{self._issuer}: it has no metadata; name its keys with --jwks-url")

    async def aclose(self) -> None:
        """End a fetch that runs."""
        if (task := self._fetching) is not None:
            task.cancel()
            await asyncio.wait([task])


def read_keys(document: Mapping[str, Any]) -> list[SigningKey]:
    """Return the keys of a key set that may sign tokens, without those that the relay cannot use."""
    keys = document.get("keys")
    if not isinstance(keys, list):
        return []
    found = (_read_key(one) for one in keys[:_MOST_KEYS] if isinstance(one, dict))
    return [key for key in found if key is not None]


_MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}


def _read_key(given: Mapping[str, Any]) -> SigningKey | None:
    kid, kind, use, operations = (given.get(name) for name in ("kid", "kty", "use", "key_ops"))
    members = _MEMBERS.get(kind) if isinstance(kind, str) else None
    is_for_more = use not in (None, "sig") or not (operations is None or "verify" in operations)
    if members is None or is_for_more or not (kid is None or isinstance(kid, str)):
        return None
    public: dict[str, Any] = {"kty": kind, **{name: given.get(name) for name in members}}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of keys that are too short, which do not pass here
            key = jwk.import_key(public)
            algorithms = _algorithms_of(key, public)
    except (JoseError, ValueError, TypeError):
        return None
    if (algorithm := given.get("alg")) is not None:
        algorithms &= _ED25519 if algorithm in _ED25519 else {algorithm}
    text = msgspec.json.encode((kid, sorted(algorithms), public)).decode()
    return SigningKey(kid, frozenset(algorithms), key, text) if algorithms else None


def _algorithms_of(key: Any, public: Mapping[str, Any]) -> set[str]:
    if public["kty"] == "RSA":
        return {"RS256", "PS256"} if key.public_key.key_size in _RSA_BITS else set()
    curve = {"P-256": {"ES256"}, "Ed25519": set(_ED25519)}
    return curve.get(public["crv"], set())
