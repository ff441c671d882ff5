"""The servers behind an offer: a URL, or another address, to which the relay connects for each session."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from typing import Protocol, runtime_checkable

from relay.app.run.wiring import connect_with
from relay.endpoints.base import Endpoint
from relay.endpoints.core.dialling import DiallingOptions
from relay.endpoints.core.lazy import Lazy
from relay.endpoints.core.refusing import Refusing
from relay.errors import EndpointUnavailable

__all__ = ["AddressTarget", "KeepsSpare", "RemoteTarget", "Target"]

_MOST_UNANSWERED = 64
_PERIOD = 0.02  # seconds between two checks of those


class Target(Protocol):
    """The server behind an offer."""

    @property
    def name(self) -> str:
        """Its name in logs and errors."""

    def endpoint(self, *, is_shared: bool = False) -> Endpoint:
        """Return an endpoint for one session, or for all clients that share one."""

    def forget(self, endpoint: Endpoint) -> None:
        """Forget an endpoint whose pipe has ended."""

    def status(self) -> dict[str, object]:
        """Return its entry in ``/status``, without secrets."""

    async def aclose(self) -> None:
        """Release its resources; the sessions have ended."""


@runtime_checkable
class KeepsSpare(Protocol):
    """A target that can start its server before anybody uses it."""

    async def keep_spare(self) -> None:
        """Start it now, and again whenever a session has taken it."""


class RemoteTarget:
    """A URL to which the relay connects for each session."""

    def __init__(self, url: str, options: DiallingOptions) -> None:
        """Check that it is a URL. Raises ConfigError."""
        from relay.endpoints.http.client.aiohttp_dial import Dial

        self._url = url
        self._options = options
        self.dial = Dial(url, options)
        self.name = self.dial.name
        self.open: weakref.WeakSet[Endpoint] = weakref.WeakSet()
        self.started = 0

    def endpoint(self, *, is_shared: bool = False) -> Endpoint:
        """Return an endpoint that connects when first used; many clients may have requests open if they share it."""
        from relay.endpoints.http.client.remote import Remote

        options = self._options.for_many_clients() if is_shared else self._options
        endpoint = Remote(self._url, options)
        self.open.add(endpoint)
        self.started += 1
        return endpoint

    def forget(self, endpoint: Endpoint) -> None:
        """Forget an endpoint whose pipe has ended."""
        self.open.discard(endpoint)

    @property
    def passes_requests(self) -> bool:
        """Whether requests can be forwarded as they come: not to HTTP+SSE, whose framing differs."""
        return self._options.transport != "sse"

    def status(self) -> dict[str, object]:
        """Return its entry in ``/status``, without headers and query."""
        fault = self.dial.hub.fault
        state = "failing" if fault is not None else "running" if self.open else "idle"
        connections = {"connections": len(self.open), "started": self.started}
        return {"state": state, "last_error": fault, "url": self.name, **connections}

    async def aclose(self) -> None:
        """Close the connections of forwarded requests."""
        await self.dial.aclose()


@runtime_checkable
class _MayBeSilent(Endpoint, Protocol):
    """A connection that knows whether its peer ever answered: TCP and Unix sockets, whose peer is unknown."""

    @property
    def is_unheard(self) -> bool: ...

    @property
    def owes_answers(self) -> bool: ...


class AddressTarget:
    """A WebSocket, TCP, TLS or Unix address to which the relay connects for each session; or own stdio, for one."""

    def __init__(self, address: str, options: DiallingOptions) -> None:
        """Check that it is an address. Raises ConfigError."""
        self._address = address
        self._options = options
        self.name = connect_with(options, address).name
        self.started = 0
        self.fault: str | None = None
        """Why the last connection could not be made; None if it could."""
        self._unheard: set[_MayBeSilent] = set()

    def endpoint(self, *, is_shared: bool = False) -> Endpoint:
        """Return an endpoint that connects when first used."""
        self.started += 1
        if self.is_there_once and self.started > 1:
            return Lazy(self.name, self._refuse)
        return Lazy(self.name, self._connect)

    @property
    def is_there_once(self) -> bool:
        """Whether the relay can connect to it only once."""
        return self._address == "stdio:"

    async def _connect(self) -> Endpoint:
        """Connect, or return an endpoint that refuses every request with the reason."""
        if not await self._has_turn():
            self.fault = (
                f"{self.name}: {_MOST_UNANSWERED} connections to it wait for their first answer: "
                "does it lead back to this relay?"
            )
            return Refusing(self.name, self.fault)
        endpoint = connect_with(self._options, self._address)
        assert isinstance(endpoint, Lazy), "nothing is connected before it is used"
        try:
            opened = await endpoint.open()
        except EndpointUnavailable as exc:
            self.fault = str(exc)
            return Refusing(self.name, self.fault)
        self.fault = None
        if isinstance(opened, _MayBeSilent):
            self._unheard.add(opened)
        return opened

    async def _has_turn(self) -> bool:
        """Wait while too many connections are unanswered: in a relay that leads back to itself, all of them are."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._options.limits.find_out):
                while True:
                    self._unheard = {one for one in self._unheard if one.is_unheard}
                    if sum(one.owes_answers for one in self._unheard) < _MOST_UNANSWERED:
                        return True
                    await asyncio.sleep(_PERIOD)
        return False

    async def _refuse(self) -> Endpoint:
        raise EndpointUnavailable("the server on stdio has a client already; --share shared lets others join it")

    def forget(self, endpoint: Endpoint) -> None:
        """Do nothing: an endpoint leaves no trace here."""

    def status(self) -> dict[str, object]:
        """Return its entry in ``/status``."""
        state = {"state": "failing" if self.fault is not None else "idle", "last_error": self.fault}
        return {**state, "address": self.name, "started": self.started}

    async def aclose(self) -> None:
        """Release nothing."""
