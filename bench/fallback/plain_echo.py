"""An MCP server in Python that costs almost nothing, as native/echo.h does."""

import itertools
import json
import string
from collections.abc import Iterator
from typing import Any

_PERIOD = (string.ascii_uppercase + string.ascii_lowercase + string.ascii_uppercase)[:61]
TOOLS = [{"name": name, "description": name, "inputSchema": {"type": "object"}} for name in ("echo", "emit")]


def filling(length: int) -> str:
    """Return letters with a prime period, so that a lost piece shows."""
    return (_PERIOD * (length // len(_PERIOD) + 1))[:length]


def _result(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    match method:
        case "tools/call":
            given = params.get("arguments", {})
            text = f"{given.get('t', '')}:{len(given.get('pad', ''))}:{filling(given.get('n', 0))}"
            return {"content": [{"type": "text", "text": text}]}
        case "initialize":
            return {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}, "logging": {}},
                "serverInfo": {"name": "far-end", "version": "1"},
            }
        case "tools/list":
            return {"tools": TOOLS}
        case "ping" | "logging/setLevel":
            return {}
    return None


def answer_frame(frame: bytes) -> Iterator[bytes]:
    """Yield the answer, if `frame` wants one, and then the notifications that it asks for."""
    request = json.loads(frame)
    if "id" not in request or "method" not in request:
        return
    params = request.get("params") or {}
    result = _result(request["method"], params)
    answer = {"result": result} if result is not None else {"error": {"code": -32601, "message": "method not found"}}
    yield json.dumps({"jsonrpc": "2.0", "id": request["id"], **answer}).encode()
    if params.get("name") == "emit":
        for number in itertools.islice(itertools.count(), params["arguments"].get("count", 0)):
            data = {"level": "info", "data": f"n{number}"}
            yield json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": data}).encode()
