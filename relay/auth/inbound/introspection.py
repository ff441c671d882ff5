"""Ask an authorization server about each token (RFC 7662)."""

from __future__ import annotations

import asyncio
import logging
import time
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from urllib.parse import quote_plus, urlencode

from relay.addresses import shown_address
from relay.auth.inbound.claims import Expected, judge, refusal
from relay.auth.inbound.recent import Recent
from relay.auth.inbound.verdicts import Challenge, Pending, Principal, Verdict
from relay.auth.inbound.web import Web, read_object
from relay.errors import EndpointUnavailable
from relay.values import PrivateValue

__all__ = ["IntrospectionClient", "IntrospectionLogin"]

logger = logging.getLogger("relay")

_MAX_ANSWER = 64 * 1024
_REMEMBERED = 60.0  # seconds after which a token that was taken back is no longer good
_MOST_AT_ONCE = 64
_SECONDS = 10.0


class IntrospectionClient(PrivateValue, frozen=True):
    """Where the relay asks, and as whom."""

    url: str
    client_id: str
    client_secret: str


class IntrospectionLogin:
    """The tokens that an authorization server calls active, and that are for this relay."""

    def __init__(
        self, web: Web, expected: Expected, client: IntrospectionClient, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Accept tokens of which the server says what is ``expected``; ``clock`` returns seconds of the Unix epoch."""
        self._web = web
        self._expected = expected
        self._client = client
        self._clock = clock
        self._recent = Recent()
        self._asking: dict[bytes, asyncio.Task[Verdict]] = {}
        self._turns = asyncio.Semaphore(_MOST_AT_ONCE)
        self._is_failing = False

    def look(self, token: str, now: float) -> Verdict:
        """Return whose token this is, if that is known; Pending if the server must be asked."""
        return self._recent.find(token, now) or Pending(token)

    async def verify(self, token: str, now: float) -> Verdict:
        """Ask about a token, once for all requests that carry it now."""
        digest = sha256(token.encode("utf-8", "surrogateescape")).digest()
        task = self._asking.get(digest)
        if task is None:
            work = self._verify(token, now)
            task = self._asking[digest] = asyncio.get_running_loop().create_task(work, name="ask about a token")
            task.add_done_callback(lambda _: self._asking.pop(digest, None))
        return await asyncio.shield(task)

    async def _verify(self, token: str, now: float) -> Verdict:
        try:
            async with asyncio.timeout(_SECONDS), self._turns:
                answer = await self._ask(token)
        except (EndpointUnavailable, TimeoutError) as exc:
            if not self._is_failing:
                self._is_failing = True
                logger.warning("cannot ask about tokens: %s", str(exc) or f"no answer in {_SECONDS:g} s")
            fault = "the authorization server cannot be asked about the token now"
            return Challenge(status=503, message=fault, retry_after=5)
        self._is_failing = False
        if answer.get("active") is not True:
            return refusal("the token is not active")
        proof = judge(answer, self._expected, wall := self._clock(), must_end=False)
        if isinstance(proof, Challenge):
            return proof
        until = now + _REMEMBERED
        principal = Principal(proof.name, until if proof.ends is None else min(until, now + proof.ends - wall))
        self._recent.keep(token, principal, until)
        return principal

    async def _ask(self, token: str) -> dict[str, object]:
        client = self._client
        # RFC 6749, 2.3.1: both are form-encoded first.
        login = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
        headers = {
            "Authorization": f"Basic {b64encode(login.encode()).decode()}",
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        form = urlencode({"token": token, "token_type_hint": "access_token"}, errors="surrogateescape").encode()
        status, body = await self._web.post(client.url, headers, form, limit=_MAX_ANSWER)
        return read_object(status, body, shown_address(client.url))

    async def aclose(self) -> None:
        """End the requests that run."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
