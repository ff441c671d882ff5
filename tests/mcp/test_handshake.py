"""What the relay itself says to a server, and how it reads the answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import relay
from relay.frames.frame import Frame
from relay.frames.head import Kind
from relay.mcp.facts import RequestFacts, read_facts
from relay.mcp.handshake import (
    INITIALIZED,
    OWN_ID,
    initialize,
    is_refusal,
    modern_request,
    negotiated_version,
    ping,
)
from relay.mcp.headers import request_headers
from relay.mcp.revisions import LEGACY_VERSIONS, MODERN_VERSION


def test_initialize_names_the_newest_session_based_revision_unless_told_another() -> None:
    """2025-11-25, Lifecycle, "Initialization": version, capabilities and client are there."""
    for frame, version in ((initialize(), LEGACY_VERSIONS[-1]), (initialize("2024-11-05"), "2024-11-05")):
        assert (frame.head.kind, frame.head.id, frame.head.method) == (Kind.REQUEST, OWN_ID, "initialize")
        assert json.loads(frame.raw)["params"] == {
            "protocolVersion": version,
            "capabilities": {},
            "clientInfo": {"name": "mcp-relay", "version": "1"},
        }
        assert read_facts(frame) is None, "it is of the legacy era"


def test_the_other_words_of_the_legacy_era() -> None:
    """A notification and a request without params that matter."""
    assert (INITIALIZED.head.kind, INITIALIZED.head.method) == (Kind.NOTIFICATION, "notifications/initialized")
    assert (ping("x").head.kind, ping("x").head.id, ping("x").head.method) == (Kind.REQUEST, "x", "ping")


def test_a_modern_request_is_whole() -> None:
    """A listener of ours would take it: version and capabilities are in ``_meta``, its headers can be made."""
    frame = modern_request(0, "tools/list", {"cursor": "c"})
    facts = read_facts(frame)
    assert facts == RequestFacts(MODERN_VERSION, True)
    assert request_headers(frame, facts) == {"MCP-Protocol-Version": MODERN_VERSION, "Mcp-Method": "tools/list"}
    assert json.loads(frame.raw)["params"]["cursor"] == "c"


@pytest.mark.parametrize(
    ("answer", "version", "refuses"),
    [
        (b'{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18"}}', "2025-06-18", False),
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', "", False),
        (b'{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":7,"error":{}}}', None, False),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":""}}', None, True),
        (b'{"jsonrpc":"2.0","id":1,"result":', None, False),
    ],
)
def test_answers_to_initialize(answer: bytes, version: str | None, refuses: bool) -> None:
    """The version, empty if there is none; an error has begun no session."""
    assert negotiated_version(Frame(answer)) == version
    assert is_refusal(Frame(answer)) is refuses


def test_nothing_else_writes_a_handshake() -> None:
    """All that the relay says for itself is in one module; the demo is a client and a server of its own."""
    own = Path(relay.__file__).parent
    for path in sorted(own.rglob("*.py")):
        text = path.read_text()
        if path.parent.name != "demo" and path != own / "mcp" / "handshake.py":
            for words in ('"clientInfo"', "/clientInfo", '"method":"notifications/initialized"', '"ping", {'):
                assert words not in text, f"{path}: {words}"
