"""A small forwarding proxy: tunnels for CONNECT, requests in absolute form, a login if it wants one.

It knows names that nobody else does, so what asks for them has surely come this way.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(slots=True)
class Asked:
    """One request that came to the proxy itself."""

    method: str
    target: str
    headers: dict[str, str]


@dataclass(slots=True)
class ForwardProxy:
    """A listening proxy; ``ForwardProxy.running`` makes one."""

    hosts: dict[str, int]
    """The ports on this machine that stand behind names."""
    login: str | None = None
    refusal: int | None = None
    """The status that every request gets."""
    is_silent: bool = False
    scheme: str = "http"
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    _open: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls,
        *,
        tls: ssl.SSLContext | None = None,
        login: str | None = None,
        refusal: int | None = None,
        is_silent: bool = False,
        **hosts: int,
    ) -> AsyncIterator[ForwardProxy]:
        """Listen while the block lasts; ``mcp=80`` stands for ``mcp.example``."""
        names = {f"{name}.example": port for name, port in hosts.items()}
        self = cls(names, login, refusal, is_silent, "http" if tls is None else "https")
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task, writer in list(self._open.items()):
                writer.transport.abort()
                task.cancel()
            if self._open:
                await asyncio.wait(self._open)

    def environment(self, *names: str, login: str | None = None) -> dict[str, str]:
        """Return variables of these names that lead here."""
        return dict.fromkeys(names, f"{self.scheme}://{f'{login}@' if login else ''}127.0.0.1:{self.port}")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "runs in one"
        self._open[task] = writer
        try:
            # asyncio's callback would take a cancelled handler for a failed one.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._connection(reader, writer)
        finally:
            writer.transport.abort()
            del self._open[task]

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await self._read_head(reader)
        if self.is_silent:
            await reader.read()
            return
        status = self._refused(asked)
        port = self.hosts.get(urlsplit(asked.target if "://" in asked.target else f"//{asked.target}").hostname or "")
        if status is None and port is None:
            status = 502
        if status is not None:
            writer.write(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
            await writer.drain()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.TaskGroup() as group:
                homeward = group.create_task(_copy(far_reader, writer))
                if asked.method == "CONNECT":
                    writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
                    await _copy(reader, far_writer)
                else:
                    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                        await self._forward(asked, reader, far_writer)
                homeward.cancel()
        finally:
            far_writer.transport.abort()

    async def _read_head(self, reader: asyncio.StreamReader) -> Asked:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        asked = Asked(method, target, {})
        for line in filter(None, head[1:]):
            name, _, value = line.partition(":")
            asked.headers[name.lower()] = value.strip()
        self.asked.append(asked)
        return asked

    def _refused(self, asked: Asked) -> int | None:
        if self.login is not None:
            wanted = f"Basic {base64.b64encode(self.login.encode()).decode()}"
            if asked.headers.get("proxy-authorization") != wanted:
                return 407
        return self.refusal

    async def _forward(self, asked: Asked, reader: asyncio.StreamReader, far: asyncio.StreamWriter) -> None:
        """Send requests on in the form for an origin, one after another."""
        while self._refused(asked) is None:
            parts = urlsplit(asked.target)
            assert parts.scheme == "http", "in absolute form"
            lines = [f"{asked.method} {parts.path}{f'?{parts.query}' if parts.query else ''} HTTP/1.1"]
            lines += [f"{name}: {value}" for name, value in asked.headers.items() if not name.startswith("proxy-")]
            far.write("\r\n".join([*lines, "", ""]).encode())
            far.write(await reader.readexactly(int(asked.headers.get("content-length", 0))))
            if "upgrade" in asked.headers:
                await _copy(reader, far)
                return
            asked = await self._read_head(reader)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.transport.abort() if sink.is_closing() else sink.close()
