"""Take a POST through the gate in a task, and carry out the gate's decisions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from relay.endpoints.core.turns import LARGE, let_others_go_on
from relay.endpoints.http.decisions import (
    Accept,
    AnswerWanted,
    HandOn,
    Refused,
    RoomWanted,
    SessionWanted,
    VerificationWanted,
)
from relay.endpoints.http.media import without_bom
from relay.frames.frame import Frame
from relay.frames.ids import look_for_token
from relay.mcp.facts import read_facts

if TYPE_CHECKING:
    from relay.endpoints.http.gate import Gate
    from relay.endpoints.http.server.mount import Mount
    from relay.endpoints.http.walk import Walk

__all__ = ["carry", "check_in_turns", "verify"]


async def carry(gate: Gate, walk: Walk, mount: Mount, body: bytes | None) -> Accept | HandOn:
    """Ask the gate about a POST until the gate accepts or forwards the POST. Raises Refused.

    ``body`` is None if the walk has its frame already.
    """
    if walk.frame is None:
        walk.body = body
    clock = asyncio.get_running_loop().time
    refused: Refused | None = None
    decision: object = None
    if body is not None and walk.frame is None and len(body) > LARGE:
        refused = await check_in_turns(gate, walk)
    while refused is None:
        decision = gate.decide(walk, clock())
        if isinstance(decision, Accept | HandOn):
            return decision
        if isinstance(decision, SessionWanted):
            walk.session = mount.begin(decision, walk.headers)
        elif isinstance(decision, AnswerWanted):
            await decision.session.find_out(decision.method, decision.facts)
            walk.has_asked, walk.facts = True, None  # the facts may have changed
        elif isinstance(decision, VerificationWanted):
            await verify(gate, walk, decision)
        elif isinstance(decision, RoomWanted):
            walk.has_waited = True
            await let_others_go_on(decision.frame)
            await decision.session.wait_for_room(decision.frame)
        else:
            assert isinstance(decision, Refused), "the body is here"
            refused = decision
    session = walk.session
    if refused.is_of_frame and body is not None and session is not None and session.speaks != "modern":
        # The refused body may hold an answer for which the server waits.
        await session.take_refused(refused.frame or Frame(body))
    gate.let_go(walk)
    try:
        raise refused
    finally:
        del refused, decision, body  # a cycle of this frame and the exception would keep the body


async def verify(gate: Gate, walk: Walk, wanted: VerificationWanted) -> None:
    """Ask the authorization server about the client's token."""
    assert gate.login is not None, "it wants to ask"
    walk.verdict = await gate.login.verify(wanted.pending, walk.request.remote, walk.now)


async def check_in_turns(gate: Gate, walk: Walk) -> Refused | None:
    """Check a large body step by step, and give way to other clients after each step; return the refusal, if any."""
    assert walk.body is not None, "here"
    frame = Frame(without_bom(walk.body))
    walk.body = None
    version = None if walk.session is None else walk.session.version
    try:
        gate.frames.check_counts(frame)
        await let_others_go_on(frame)
        for _ in frame.steps(is_whole=True):
            await let_others_go_on(frame)
        for step in (*gate.frames.steps(version), read_facts, *((look_for_token,) if walk.is_modern else ())):
            step(frame)
            await let_others_go_on(frame)
    except Refused as exc:
        refused = gate.refusal_of_frame(walk, exc)
        refused.frame = frame
        return refused
    walk.take_frame(frame)
    return None
