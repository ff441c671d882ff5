"""A client for the runner's scenarios of authorization: it starts a bridge on stdio and makes the same calls each time.

The bridge logs in, so the client knows nothing of that. What it demands is an answer for each of its requests, whether
the login succeeds or not. `BRIDGE` says which bridge; the runner names the scenario, the revision and what is
registered in the environment, and the server in the last argument.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SCENARIO = os.environ["MCP_CONFORMANCE_SCENARIO"]
VERSION = os.environ["MCP_CONFORMANCE_PROTOCOL_VERSION"]
GIVEN: dict[str, Any] = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
BRIDGE: list[str] = json.loads(os.environ["BRIDGE"])
IS_REMOTE = os.environ["BRIDGE_WORDS"] == "mcp-remote"
IS_MODERN = VERSION >= "2026-07-28" and os.environ["BRIDGE_SPEAKS"] == "both"
DOCUMENT = "https://conformance-test.local/client-metadata.json"
ROUNDS = {"auth/authorization-server-migration": 2}
INFO = {"name": "conformance-login", "version": "1.0.0"}


def options() -> list[str]:
    """Return what a person would write on the bridge's command line for this scenario."""
    if SCENARIO == "auth/basic-cimd":
        return ["--client-metadata-url", DOCUMENT]
    if "client_id" not in GIVEN:
        return []
    is_machine = SCENARIO.startswith("auth/client-credentials")
    if IS_REMOTE:
        named = {name: GIVEN[name] for name in ("client_id", "client_secret") if name in GIVEN}
        words = ["--static-oauth-client-info", json.dumps(named)]
        return [*words, *(["--client-credentials"] if is_machine else [])]
    words = ["--client-id", GIVEN["client_id"]]
    words += ["--oauth-issuer", GIVEN["issuer"]] if "issuer" in GIVEN else ["--pin-first-issuer"]
    if "client_secret" in GIVEN:
        words += ["--client-secret", GIVEN["client_secret"]]
    if "private_key_pem" in GIVEN:
        words += ["--client-assertion-key", "env:CONFORMANCE_KEY"]
        os.environ["CONFORMANCE_KEY"] = GIVEN["private_key_pem"]
    return [*words, *(["--client-credentials"] if is_machine else [])]


def calls() -> list[tuple[str, dict[str, Any]]]:
    """Return the requests to make, in order."""
    first = "server/discover" if IS_MODERN else "initialize"
    tool = ("tools/call", {"name": "test-tool", "arguments": {}})
    return [(first, {}), ("tools/list", {}), *[tool] * ROUNDS.get(SCENARIO, 1)]


def message(method: str, params: dict[str, Any], number: int | None) -> bytes:
    """Return one frame."""
    if method == "initialize":
        params = {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": INFO}
    elif IS_MODERN:
        meta = {"protocolVersion": VERSION, "clientInfo": INFO, "clientCapabilities": {}}
        params = {**params, "_meta": {f"io.modelcontextprotocol/{name}": value for name, value in meta.items()}}
    made = {"jsonrpc": "2.0", "method": method, **({"params": params} if params else {})}
    return json.dumps(made if number is None else {**made, "id": number}).encode() + b"\n"


def run(url: str, home: str) -> int:
    """Make the calls; return 0 if each request has been answered."""
    given = options()
    for name in ("xdg-open", "gio", "x-www-browser", "sensible-browser"):  # mcp-remote runs the first that works
        opener = Path(home, name)
        opener.write_text(f'#!/bin/sh\nexec {os.environ["CONFORMANCE_BROWSER"].replace("%s", "")} "$@"\n')
        opener.chmod(0o755)
    environment = os.environ | {
        "MCP_RELAY_AUTH_DIR": f"{home}/auth",
        "MCP_REMOTE_CONFIG_DIR": f"{home}/remote",
        "BROWSER": os.environ["CONFORMANCE_BROWSER"],
        "PATH": f"{home}:{os.environ['PATH']}",
    }
    if VERSION >= "2026-07-28" and not IS_MODERN:
        given += ["--protocol", "auto"]  # the server is modern, and this bridge translates
    words = [*BRIDGE, url, *given, "--auth-timeout", "5"] if IS_REMOTE else [*BRIDGE, *given, url]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as bridge:
        assert bridge.stdin is not None and bridge.stdout is not None, "pipes"
        for number, (method, params) in enumerate(calls(), 1):
            bridge.stdin.write(message(method, params, number))
            bridge.stdin.flush()
            answer = read_answer(bridge.stdout, number)
            sys.stderr.write(f"{method}: {json.dumps(answer)[:400]}\n")
            if answer is None:
                return 1
            if method == "initialize" and "result" in answer:
                bridge.stdin.write(message("notifications/initialized", {}, None))
                bridge.stdin.flush()
        bridge.stdin.close()
        try:
            bridge.wait(timeout=5)
        except subprocess.TimeoutExpired:
            bridge.terminate()
    return 0


def read_answer(stdout: Any, number: int) -> dict[str, Any] | None:
    """Read until the answer to a request; None if the bridge ended without one."""
    for line in stdout:
        read = json.loads(line)
        if read.get("id") == number and "method" not in read:
            return dict(read)
    return None


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="login-") as folder:
        sys.exit(run(sys.argv[-1], folder))
