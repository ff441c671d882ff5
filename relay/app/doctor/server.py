"""The server that ``mcp-relay test`` looks at: connections to it, what they cost, and why they fail."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from urllib.parse import urlsplit

import msgspec

from relay.app.doctor.advice import (
    CheckFailed,
    explain_command,
    explain_connection,
    explain_end,
    explain_silence,
)
from relay.app.doctor.client import Client, Echoed
from relay.app.doctor.output import ChildOutput
from relay.app.doctor.report import Found
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

__all__ = ["Server", "milliseconds"]

_TRANSPORTS = {
    "streamablehttp": "Streamable HTTP",
    "sse": "HTTP+SSE",
    "tcp": "TCP",
    "tls": "TCP with TLS",
    "unix": "Unix socket",
    "ws": "WebSocket",
    "wss": "WebSocket",
}
_CLOSE_GRACE = 0.2  # seconds: the report must not wait for a server that does not answer


class Server:
    """One server, to which the test connects once or several times."""

    def __init__(self, settings: DoctorSettings, output: ChildOutput, found: Found) -> None:
        """Note in ``found`` what each connection shows; ``output`` takes what a command writes beside the protocol."""
        self.url = settings.target if isinstance(settings.target, str) and is_url(settings.target) else None
        """The address, if it is an HTTP URL."""
        self.began = 0.0
        """When the last connection began, by ``time.monotonic``."""
        self._settings = settings
        self._timeout = settings.timeout
        dialling = settings.dialling
        limits = dataclasses.replace(dialling.limits, connect=self._timeout, endpoint_wait=self._timeout)
        self._dialling = msgspec.structs.replace(dialling, limits=limits)
        self._frame_log = FrameLog(settings.secrets)
        self._output = output
        self._found = found
        self._child: ChildTarget | None = None
        self._opened: Endpoint | None = None

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Client]:
        """Connect while the block lasts, and yield a client. Raises CheckFailed, or ConfigError for no address."""
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
                limits=dataclasses.replace(self._dialling.limits, close_grace=_CLOSE_GRACE),
                stderr=self._output,
                may_refuse=False,
            )
        except ConfigError as exc:  # a finding of the test, not a mistake on the command line
            raise explain_command(target[0], str(exc)) from exc
        self._found.transport = "stdio"
        return self._child.endpoint()

    async def _connect(self, endpoint: Lazy) -> None:
        """Connect, and note how long that took."""
        began = self.began = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                self._opened = await endpoint.open()
                took: float | None = time.monotonic() - began
                if self.url is not None:
                    took = await _try_connection(self.url, self._dialling)
        except ConfigError:
            raise
        except (RelayError, TimeoutError) as exc:
            if self._child is not None:
                raise CheckFailed(str(exc) or f"{endpoint.name}: cannot be started") from exc
            raise explain_connection(endpoint.name, exc, self._timeout) from exc
        finally:
            self._found.target = endpoint.name
        if took is not None:
            self._found.milliseconds.setdefault("connect", milliseconds(took))

    def _note_transport(self) -> None:
        scheme = urlsplit(self._found.target).scheme
        if self.url is not None and isinstance(self._opened, SpeaksTransport):
            spoken: str = self._opened.transport
        else:
            spoken = scheme
        self._found.transport = self._found.transport or _TRANSPORTS.get(spoken)

    @contextlib.contextmanager
    def explaining(self, method: str) -> Iterator[None]:
        """Turn a missing answer into advice for a person."""
        name, is_command = self._found.target, self._child is not None
        try:
            yield
        except Echoed as exc:
            raise CheckFailed(str(exc), "is it an MCP server?") from exc
        except TimeoutError as exc:
            waited = f"no answer to {method} within {self._timeout:g} s"
            raise explain_silence(f"{name}: {waited}", self._output.describe_noise(), is_command=is_command) from exc
        except RelayError as exc:
            raise explain_end(str(exc), method, self._output.describe_noise(), is_command=is_command) from exc

    async def advice_of_port(self) -> str:
        """Return what a silent TCP port speaks, if that is not plain MCP."""
        if self._found.revisions or self._opened is None or not self._found.target.startswith("tcp://"):
            return ""
        from relay.app.doctor.port import speaks_http, speaks_tls

        parts = urlsplit(self._found.target)
        assert parts.hostname is not None and parts.port is not None, "it was connected to"
        if await speaks_tls(parts.hostname, parts.port):
            return f"it speaks TLS: try tls://{parts.netloc} or https://{parts.netloc}/mcp"
        if await speaks_http(parts.hostname, parts.port):
            return f"it speaks HTTP: try http://{parts.netloc}/mcp"
        return ""

    async def aclose(self) -> None:
        """Release the command."""
        if self._child is not None:
            await self._child.aclose()


async def _try_connection(url: str, options: DiallingOptions) -> float | None:
    """Connect to where ``url`` is, and close; return how long that took. Raises EndpointUnavailable.

    An HTTP endpoint has no connection of its own to time, and reports failures in words only. None behind a proxy,
    which makes the connection itself.
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


def milliseconds(seconds: float) -> float:
    """Return a time as the report has it."""
    return round(seconds * 1000, 2)
