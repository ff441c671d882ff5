"""Ask a server everything that ``mcp-relay test`` reports, step by step, until something fails."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from relay import __version__
from relay.addresses import shown_address
from relay.app.doctor.advice import (
    CheckFailed,
    explain_error,
    explain_refusal,
)
from relay.app.doctor.client import Client, Response
from relay.app.doctor.output import ChildOutput
from relay.app.doctor.report import KINDS, Found, Listing
from relay.app.doctor.server import Server, milliseconds
from relay.app.doctor.settings import DoctorSettings
from relay.errors import RelayError
from relay.mcp.errors import UNSUPPORTED_VERSION
from relay.mcp.handshake import INITIALIZED, initialize_params, modern_meta
from relay.mcp.revisions import MODERN_VERSION

__all__ = ["Examination"]

Json = dict[str, Any]

_CLIENT = {"name": "mcp-relay test", "version": __version__}

# MCP 2026-07-28, stdio, "Backward Compatibility": legacy servers may never answer what comes before `initialize`. A
# program that is only slow to start is not asked twice: its late answer counts.
_DISCOVERY_WAIT = 3.0
_MAX_PAGES = 100
_MAX_NAMES = 10_000


class Examination:
    """One test of one server."""

    def __init__(self, settings: DoctorSettings, output: ChildOutput) -> None:
        """Give ``output`` what a command writes beside the protocol."""
        self.found = Found(shown_address(settings.target) if isinstance(settings.target, str) else settings.target[0])
        self._settings = settings
        self._timeout = settings.timeout
        self._dialling = settings.dialling
        self._output = output
        self._server = Server(settings, output, self.found)
        self._needs_connection = False
        self._refusal: Json = {}
        self._capabilities: Json = {}
        self._deadline = 0.0

    async def run(self) -> None:
        """Fill in ``found``. Raises CheckFailed where that ends, ConfigError if the target is no address."""
        try:
            await self._ask_everything()
        except CheckFailed as failure:
            advice = await self._login_advice(failure.refused_upgrade) or await self._server.advice_of_port()
            failure.advice = advice or failure.advice
            raise
        finally:
            await self._server.aclose()

    async def _ask_everything(self) -> None:
        async with self._server.connected() as client:
            self._deadline = time.monotonic() + self._timeout
            if self._dialling.transport != "sse" and await self._discover(client):
                await self._ask_around(client, is_modern=True)
            elif not self._needs_connection:
                await self._initialize_or_be_late(client)
                await self._ask_around(client, is_modern=self.found.negotiated is None)
                if self.found.negotiated is not None:
                    return
        # A connection serves one era (2026-07-28, stdio): a second connection tests the other.
        if self.found.discovered:
            self._deadline = time.monotonic() + self._timeout
            with contextlib.suppress(CheckFailed):  # the server is modern and works: nothing is wrong
                async with self._server.connected() as client:
                    await self._initialize(client)
            return
        self._output.forget()
        async with self._server.connected() as client:
            await self._initialize(client)
            await self._ask_around(client, is_modern=False)

    # The handshakes.

    async def _discover(self, client: Client, version: str = MODERN_VERSION) -> bool:
        """Send ``server/discover``; return whether the server is modern."""
        within = min(_DISCOVERY_WAIT, self._timeout / 2)
        try:
            answer = await client.ask("server/discover", {"_meta": modern_meta(version, _CLIENT)}, within)
        except TimeoutError:
            self._needs_connection = self._server.url is not None  # the next request must not wait behind this one
            return False
        except RelayError:
            self._needs_connection = True  # the server cannot take it: send only `initialize`, then
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
        self.found.milliseconds["discover"] = milliseconds(answer.seconds)
        info = _members(answer.result.get("_meta")).get("io.modelcontextprotocol/serverInfo")
        self._take_server(info or answer.result.get("serverInfo"), answer.result)
        return True

    async def _initialize_or_be_late(self, client: Client) -> None:
        """Send ``initialize`` within the time left; a late answer to ``server/discover`` will do, too."""
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
            raise await self._explain_refusal(answer)
        self.found.negotiated = version
        self.found.milliseconds["initialize"] = milliseconds(answer.seconds)
        self._take_server(answer.result.get("serverInfo"), answer.result)
        with self._server.explaining("notifications/initialized"):
            await client.tell(INITIALIZED, self._timeout)

    def _note_first_answer(self) -> None:
        self.found.milliseconds.setdefault("first_answer", milliseconds(time.monotonic() - self._server.began))

    def _take_server(self, info: object, result: Json) -> None:
        if self.found.server is None and isinstance(info, dict):
            self.found.server = str(info.get("name", "?"))
            self.found.version = str(info["version"]) if "version" in info else None
        self._capabilities = _members(result.get("capabilities"))

    async def _explain_refusal(self, answer: Response) -> CheckFailed:
        has_token = self._has_header() or (self._dialling.login is not None and not self._dialling.logs_in_everywhere)
        error = answer.error or {"message": "an answer without a protocolVersion"}
        if "status" in _members(self._refusal.get("data")) and "status" not in _members(error.get("data")):
            error = self._refusal  # the answer to POST is clearer than the one to the GET of HTTP+SSE
        failure = explain_refusal(self.found.target, error, self._server.url, has_token=has_token)
        failure.advice = await self._login_advice(_members(error.get("data")).get("status")) or failure.advice
        if self._server.url is not None and self._dialling.transport != "auto":
            failure.advice += f"{'; ' if failure.advice else ''}without --transport it is found out what it speaks"
        return failure

    def _has_header(self) -> bool:
        return any(name.lower() == "authorization" for name in self._dialling.headers)

    async def _login_advice(self, status: object) -> str | None:
        """Return which login the server wants if it has answered with 401 to a relay that may log in."""
        target, dialling = self._settings.target, self._dialling
        if status != 401 or self._has_header() or not dialling.logs_in_everywhere or not isinstance(target, str):
            return None
        from relay.app.doctor.login import login_advice

        return await login_advice(target, dialling.login)

    # What it offers.

    async def _ask_around(self, client: Client, *, is_modern: bool) -> None:
        version = MODERN_VERSION if MODERN_VERSION in self.found.discovered else max(self.found.discovered, default="")
        params: Json = {"_meta": modern_meta(version, _CLIENT)} if is_modern else {}
        answer = await self._ask(client, "server/discover" if is_modern else "ping", params, self._timeout)
        self.found.milliseconds["round_trip"] = milliseconds(answer.seconds)
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
        with self._server.explaining(method):
            answer = await client.ask(method, params, within)
        return answer


def _members(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _strings(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _name_of(member: object) -> str:
    found = member.get("name") or member.get("uri") if isinstance(member, dict) else None
    return str(found) if found is not None else "?"
