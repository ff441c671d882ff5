"""A stdio server whose every twentieth answer is wrong in a chosen way, which the benchmark must not count."""

from __future__ import annotations

import json
import sys

from bench.fallback.plain_echo import filling


def answer(asked: dict[str, object], kind: str, number: int) -> bytes:
    """Return the right answer, or the wrong one of this kind."""
    params = asked.get("params")
    if asked["method"] == "initialize" or not isinstance(params, dict):
        result: dict[str, object] = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {}}
        return json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode()
    arguments = params["arguments"]
    text = f"{arguments['t']}:{len(arguments.get('pad', ''))}:" + filling(arguments["n"])
    result = {"content": [{"type": "text", "text": text}]}
    message = {"jsonrpc": "2.0", "id": asked["id"], "result": result}
    if number % 20 == 0:
        if kind == "is an error":
            result["isError"] = True
        elif kind == "more content":
            result["content"] = [{"type": "text", "text": text}, {"type": "text", "text": ""}]
        elif kind == "result and error":
            message["error"] = {"code": -1, "message": "no"}
        elif kind == "another JSON-RPC":
            message["jsonrpc"] = "1.0"
    line = json.dumps(message).encode()
    return line[:-1] if kind == "cut short" and number % 20 == 0 else line


for number, line in enumerate(sys.stdin.buffer):
    asked = json.loads(line)
    if "id" in asked:
        sys.stdout.buffer.write(answer(asked, sys.argv[1], number) + b"\n")
        sys.stdout.buffer.flush()
