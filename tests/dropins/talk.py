"""One client for each transport: a handshake, a call, the answer. Nothing here uses the relay's own code."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

from websockets.sync.client import connect
from websockets.typing import Subprotocol

VERSION = "2025-06-18"
TIMEOUT = 20.0

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": VERSION,
        "capabilities": {},
        "clientInfo": {"name": "example", "version": "1"},
    },
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
TEXT = "grüße: 0.10, 12345678901234567890"


def call(method: str = "tools/call", **params: Any) -> dict[str, Any]:
    """Return the request that everything is about."""
    return {
        "jsonrpc": "2.0",
        "id": 2,
        "method": method,
        "params": params or {"name": "echo", "arguments": {"text": TEXT, "message": TEXT}},
    }


def stdio(process: subprocess.Popen[bytes], request: dict[str, Any]) -> dict[str, Any]:
    """Talk to a program on its stdin and stdout; the end of its stdin is the end of it."""
    assert process.stdin is not None and process.stdout is not None, "pipes"
    lines = (line.decode() for line in process.stdout)
    for message in (INITIALIZE, INITIALIZED, request):
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()
        if message is not INITIALIZED:
            result = _answer(lines, message)
    return result


def streamable(url: str, request: dict[str, Any]) -> dict[str, Any]:
    """Talk to a URL by Streamable HTTP, with a session if there is one."""
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    result: dict[str, Any] = {}
    for message in (INITIALIZE, INITIALIZED, request):
        connection = _connection(url)
        connection.request("POST", urlsplit(url).path, json.dumps(message), headers)
        response = connection.getresponse()
        assert response.status == (202 if message is INITIALIZED else 200), (response.status, response.read())
        if (session := response.headers.get("Mcp-Session-Id")) is not None:
            headers["Mcp-Session-Id"] = session
        headers["MCP-Protocol-Version"] = VERSION
        if message is not INITIALIZED:
            kind = response.headers.get_content_type()
            is_stream = kind == "text/event-stream"
            bodies = (data for _, data in _events(response)) if is_stream else iter([response.read().decode()])
            result = _answer(bodies, message)
        response.close()
        connection.close()
    return result


def sse(url: str, request: dict[str, Any]) -> dict[str, Any]:
    """Talk to a URL by HTTP+SSE of 2024-11-05."""
    stream = _connection(url)
    stream.request("GET", urlsplit(url).path, headers={"Accept": "text/event-stream"})
    response = stream.getresponse()
    assert response.status == 200, response.status
    events = _events(response)
    kind, address = next(events)
    assert kind == "endpoint", kind
    where = urlsplit(urljoin(url, address))
    said = (data for _, data in events)
    result: dict[str, Any] = {}
    for message in (INITIALIZE, INITIALIZED, request):
        posting = _connection(url)
        body = json.dumps(message)
        posting.request("POST", f"{where.path}?{where.query}", body, {"Content-Type": "application/json"})
        accepted = posting.getresponse()
        assert accepted.status == 202, (accepted.status, accepted.read())
        accepted.close()
        posting.close()
        if message is not INITIALIZED:
            result = _answer(said, message)
    response.close()
    stream.close()
    return result | {"_endpoint": address}


def websocket(url: str, request: dict[str, Any]) -> dict[str, Any]:
    """Talk to a URL by WebSocket."""
    subprotocols = [Subprotocol("mcp")]
    with connect(url.replace("http", "ws", 1), subprotocols=subprotocols, open_timeout=TIMEOUT) as socket:
        said = (str(message) for message in socket)
        for message in (INITIALIZE, INITIALIZED, request):
            socket.send(json.dumps(message))
            if message is not INITIALIZED:
                result = _answer(said, message)
    return result


def get(url: str, headers: dict[str, str] | None = None) -> tuple[int, str, dict[str, str]]:
    """Return status, body and headers of a GET."""
    connection = _connection(url)
    connection.request("GET", urlsplit(url).path, headers=headers or {})
    response = connection.getresponse()
    found = response.status, response.read().decode(), {name.lower(): value for name, value in response.headers.items()}
    connection.close()
    return found


def _connection(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT)


def _events(response: http.client.HTTPResponse) -> Iterator[tuple[str, str]]:
    """Yield the name and the data of each event that has some."""
    kind, data = "message", ""
    while line := response.readline().decode():
        name, _, value = line.rstrip("\r\n").partition(":")
        if name == "event":
            kind = value.strip()
        elif name == "data":
            data += value.removeprefix(" ")
        elif not line.strip() and data:
            yield kind, data
            kind, data = "message", ""


def _answer(said: Iterator[str], request: dict[str, Any]) -> dict[str, Any]:
    """Return the result for a request; notifications may come before."""
    for text in said:
        message = json.loads(text)
        if "id" in message and "method" not in message:
            assert message["id"] == request["id"] and "result" in message, message
            result: dict[str, Any] = message["result"]
            return result
    raise AssertionError(f"the server ended without an answer to {request}")
