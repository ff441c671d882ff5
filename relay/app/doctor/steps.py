"""Ask a server everything that ``mcp-relay test`` reports, step by step, until something fails."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from relay import __version__
from relay.addresses import shown_address
from relay.app.doctor.advice import (
    CheckFailed,
    explain_command,
    explain_connection,
    explain_end,
    explain_error,
    explain_refusal,
    explain_silence,
)
from relay.app.doctor.client import Client, Echoed, Response
from relay.app.doctor.output import ChildOutput
from relay.app.doctor.report import KINDS, Found, Listing
from relay.app.doctor.settings import DoctorSettings
from relay.app.log.frames import FrameLog
from relay.app.run.child_target import ChildTarget
from relay.app.run.wiring import connect_with
from relay.app.specs import is_url
from relay.endpoints.base import Endpoint, SpeaksTransport
from relay.endpoints.core.dialling import DiallingOptions
from relay.endpoints.core.lazy import Lazy
from relay.endpoints.socket.tcp import TcpAddress, dial
from relay.errors import ConfigError, RelayError
from relay.mcp.errors import UNSUPPORTED_VERSION
from relay.mcp.handshake import INITIALIZED, initialize_params, modern_meta
from relay.mcp.revisions import MODERN_VERSION

__all__ = ["Examination"]

Json = dict[str, Any]

_CLIENT = {"name": "mcp-relay test", "version": __version__}

# MCP 2026-07-28, stdio, "Backward Compatibility": legacy servers may never answer what comes before `initialize`. A
# program that is only slow to start is not asked twice: its answer is taken when it comes.
_DISCOVERY_WAIT = 3.0
_MAX_PAGES = 100
_MAX_NAMES = 10_000
_TRANSPORTS = {
    "streamablehttp": "Streamable HTTP",
    "sse": "HTTP+SSE",
    "tcp": "TCP",
    "tls": "TCP with TLS",
    "unix": "Unix socket",
    "ws": "WebSocket",
    "wss": "WebSocket",
}


class Examination:
    """One look at one server."""

    def __init__(self, settings: DoctorSettings, output: ChildOutput) -> None:
        """Show ``output`` what a command says beside the protocol."""
        self._settings = settings
        self._timeout = settings.timeout
        self._url = settings.target if isinstance(settings.target, str) and is_url(settings.target) else None
        dialling = settings.dialling
        limits = dataclasses.replace(dialling.limits, connect=self._timeout, endpoint_wait=self._timeout)
        self._dialling = dataclasses.replace(dialling, limits=limits)
        self._frame_log = FrameLog(settings.secrets)
        self._child: ChildTarget | None = None
        self._output = output
        self._opened: Endpoint | None = None
        self._needs_connection = False
        self._refusal: Json = {}
        self._capabilities: Json = {}
        self._began = 0.0
        self._deadline = 0.0
        self.found = Found(shown_address(settings.target) if isinstance(settings.target, str) else settings.target[0])

    async def run(self) -> None:
        """Fill in ``found``. Raises CheckFailed where that ends, ConfigError if the target is no address."""
        try:
            await self._ask_everything()
        except CheckFailed as failure:
            failure.advice = await self._advice_of_port() or failure.advice
            raise
        finally:
            if self._child is not None:
                await self._child.aclose()

    async def _ask_everything(self) -> None:
        async with self._connected_client() as client:
            self._deadline = time.monotonic() + self._timeout
            if self._dialling.transport != "sse" and await self._discover(client):
                await self._ask_around(client, is_modern=True)
            elif not self._needs_connection:
                await self._initialize_or_be_late(client)
                await self._ask_around(client, is_modern=self.found.negotiated is None)
                return
        # A connection serves the era that it was opened in (2026-07-28, stdio): the other one is asked by another.
        if self.found.discovered:
            self._deadline = time.monotonic() + self._timeout
            with contextlib.suppress(CheckFailed):  # it is modern and works: nothing is wrong
                async with self._connected_client() as client:
                    await self._initialize(client)
            return
        self._output.forget()
        async with self._connected_client() as client:
            await self._initialize(client)
            await self._ask_around(client, is_modern=False)

    async def _advice_of_port(self) -> str:
        """Say what is behind a TCP address that is there and has answered nothing, if it is no bare TCP."""
        if self.found.revisions or self._opened is None or not self.found.target.startswith("tcp://"):
            return ""
        from relay.app.doctor.port import speaks_http, speaks_tls

        parts = urlsplit(self.found.target)
        assert parts.hostname is not None and parts.port is not None, "it was connected to"
        if await speaks_tls(parts.hostname, parts.port):
            return f"it speaks TLS: try tls://{parts.netloc} or https://{parts.netloc}/mcp"
        if await speaks_http(parts.hostname, parts.port):
            return f"it speaks HTTP: try http://{parts.netloc}/mcp"
        return ""

    # The connection.

    @contextlib.asynccontextmanager
    async def _connected_client(self) -> AsyncIterator[Client]:
        endpoint = self._endpoint()
        try:
            await self._connect(endpoint)
            yield Client(endpoint, self._frame_log)
        finally:
            self._note_transport()
            await endpoint.aclose()

    def _endpoint(self) -> Lazy:
        target = self._settings.target
        if isinstance(target, str):
            endpoint = connect_with(self._dialling, target)
        else:
            endpoint = self._child_endpoint(target)
        assert isinstance(endpoint, Lazy), "nothing is connected before it is used"
        return endpoint

    def _child_endpoint(self, target: Sequence[str]) -> Endpoint:
        settings = self._settings
        try:
            self._child = self._child or ChildTarget(
                target,
                env=settings.env,
                cwd=settings.cwd,
                limits=self._dialling.limits,
                stderr=self._output,
                may_refuse=False,
            )
        except ConfigError as exc:  # here it is what the test has found, and no mistake of the command line's
            raise explain_command(target[0], str(exc)) from exc
        self.found.transport = "stdio"
        return self._child.endpoint()

    async def _connect(self, endpoint: Lazy) -> None:
        """Connect, and note how long that took."""
        began = self._began = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                self._opened = await endpoint.open()
                took: float | None = time.monotonic() - began
                if self._url is not None:
                    took = await _try_connection(self._url, self._dialling)
        except ConfigError:
            raise
        except (RelayError, TimeoutError) as exc:
            if self._child is not None:
                raise CheckFailed(str(exc) or f"{endpoint.name}: cannot be started") from exc
            raise explain_connection(endpoint.name, exc, self._timeout) from exc
        finally:
            self.found.target = endpoint.name
        if took is not None:
            self.found.milliseconds.setdefault("connect", _milliseconds(took))

    def _note_transport(self) -> None:
        scheme = urlsplit(self.found.target).scheme
        if self._url is not None and isinstance(self._opened, SpeaksTransport):
            spoken: str = self._opened.transport
        else:
            spoken = scheme
        self.found.transport = self.found.transport or _TRANSPORTS.get(spoken)

    # The handshakes.

    async def _discover(self, client: Client, version: str = MODERN_VERSION) -> bool:
        """Ask in the modern way; return whether the server speaks it."""
        within = min(_DISCOVERY_WAIT, self._timeout / 2)
        try:
            answer = await client.ask("server/discover", {"_meta": modern_meta(version, _CLIENT)}, within)
        except TimeoutError:
            self._needs_connection = self._url is not None  # what is asked there must not wait behind this
            return False
        except RelayError:
            self._needs_connection = True  # it was too much for the server: only `initialize` for it, then
            return False
        supported = _strings(_members(answer.error.get("data")).get("supported"))
        newer = [one for one in supported if one > MODERN_VERSION]
        if answer.error.get("code") == UNSUPPORTED_VERSION and newer and version == MODERN_VERSION:
            return await self._discover(client, max(newer))
        return self._take_discovery(answer)

    def _take_discovery(self, answer: Response | None) -> bool:
        if answer is None:
            return False
        self._note_first_answer()
        self._refusal = answer.error
        supported = _strings((answer.result or {}).get("supportedVersions"))
        if answer.result is None or not supported:
            return False
        self.found.discovered = supported
        self.found.milliseconds["discover"] = _milliseconds(answer.seconds)
        info = _members(answer.result.get("_meta")).get("io.modelcontextprotocol/serverInfo")
        self._take_server(info or answer.result.get("serverInfo"), answer.result)
        return True

    async def _initialize_or_be_late(self, client: Client) -> None:
        """Ask in the old way, for what is left of the time; a late answer to ``server/discover`` is as good."""
        try:
            await self._initialize(client)
        except CheckFailed:
            if not self._take_discovery(client.first_answer()):
                raise
        else:
            self._take_discovery(client.first_answer())

    async def _initialize(self, client: Client) -> None:
        params = initialize_params(client=_CLIENT)
        answer = await self._ask(client, "initialize", params, max(self._deadline - time.monotonic(), 0.1))
        self._note_first_answer()
        version = (answer.result or {}).get("protocolVersion")
        if answer.result is None or not isinstance(version, str):
            raise self._explain_refusal(answer)
        self.found.negotiated = version
        self.found.milliseconds["initialize"] = _milliseconds(answer.seconds)
        self._take_server(answer.result.get("serverInfo"), answer.result)
        with self._explaining("notifications/initialized"):
            await client.tell(INITIALIZED, self._timeout)

    def _note_first_answer(self) -> None:
        self.found.milliseconds.setdefault("first_answer", _milliseconds(time.monotonic() - self._began))

    def _take_server(self, info: object, result: Json) -> None:
        if self.found.server is None and isinstance(info, dict):
            self.found.server = str(info.get("name", "?"))
            self.found.version = str(info["version"]) if "version" in info else None
        self._capabilities = _members(result.get("capabilities"))

    def _explain_refusal(self, answer: Response) -> CheckFailed:
        has_token = self._dialling.login is not None or any(
            name.lower() == "authorization" for name in self._dialling.headers
        )
        error = answer.error or {"message": "an answer without a protocolVersion"}
        if "status" in _members(self._refusal.get("data")) and "status" not in _members(error.get("data")):
            error = self._refusal  # what was said to POST is clearer than what was said to the GET of HTTP+SSE
        failure = explain_refusal(self.found.target, error, self._url, has_token=has_token)
        if self._url is not None and self._dialling.transport != "auto":
            failure.advice += f"{'; ' if failure.advice else ''}without --transport it is found out what it speaks"
        return failure

    # What it offers.

    async def _ask_around(self, client: Client, *, is_modern: bool) -> None:
        version = MODERN_VERSION if MODERN_VERSION in self.found.discovered else max(self.found.discovered, default="")
        params: Json = {"_meta": modern_meta(version, _CLIENT)} if is_modern else {}
        answer = await self._ask(client, "server/discover" if is_modern else "ping", params, self._timeout)
        self.found.milliseconds["round_trip"] = _milliseconds(answer.seconds)
        for kind in KINDS:
            listing = self.found.lists[kind] = Listing() if kind in self._capabilities else None
            if listing is not None:
                await self._list(client, kind, params, listing)

    async def _list(self, client: Client, kind: str, params: Json, listing: Listing) -> None:
        method = f"{kind}/list"
        until = time.monotonic() + self._timeout
        cursors: set[str] = set()
        while True:
            answer = await self._ask(client, method, params, max(until - time.monotonic(), 0.1))
            if answer.result is None:
                raise explain_error(self.found.target, method, answer.error)
            members = answer.result.get(kind)
            listing.names += [_name_of(one) for one in (members if isinstance(members, list) else [])]
            cursor = answer.result.get("nextCursor")
            if not isinstance(cursor, str):
                return
            if cursor in cursors or len(cursors) >= _MAX_PAGES or len(listing.names) >= _MAX_NAMES:
                listing.is_complete = False
                return
            cursors.add(cursor)
            params = {**params, "cursor": cursor}

    async def _ask(self, client: Client, method: str, params: Mapping[str, object], within: float) -> Response:
        with self._explaining(method):
            answer = await client.ask(method, params, within)
        return answer

    @contextlib.contextmanager
    def _explaining(self, method: str) -> Iterator[None]:
        """Turn an answer that does not come into what a person can do about it."""
        name, is_command = self.found.target, self._child is not None
        try:
            yield
        except Echoed as exc:
            raise CheckFailed(str(exc), "is it an MCP server?") from exc
        except TimeoutError as exc:
            waited = f"no answer to {method} within {self._timeout:g} s"
            raise explain_silence(f"{name}: {waited}", self._output.describe_noise(), is_command=is_command) from exc
        except RelayError as exc:
            raise explain_end(str(exc), method, self._output.describe_noise(), is_command=is_command) from exc


async def _try_connection(url: str, options: DiallingOptions) -> float | None:
    """Connect to where ``url`` is, and close; return how long that took. Raises EndpointUnavailable.

    An HTTP endpoint has no connection of its own that could be timed, and tells of its failures in words only. None
    where a proxy is in use: there it is the proxy that connects.
    """
    from relay.endpoints.http.address import read_url
    from relay.endpoints.http.client.proxy import proxy_for

    parts, _ = read_url(url)
    assert parts.raw_host is not None and parts.port is not None, "checked by the endpoint"
    if proxy_for(parts) is not None:
        return None
    limits = dataclasses.replace(options.limits, close_grace=0.1)
    began = time.monotonic()
    address = TcpAddress(parts.raw_host, parts.port, is_tls=parts.scheme == "https")
    connection = await dial(address, ssl_context=options.tls, limits=limits)
    took = time.monotonic() - began
    await connection.aclose()
    return took


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)


def _members(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _strings(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _name_of(member: object) -> str:
    found = member.get("name") or member.get("uri") if isinstance(member, dict) else None
    return str(found) if found is not None else "?"
