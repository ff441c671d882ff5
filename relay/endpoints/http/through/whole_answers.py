"""Build the answers that a client gets in one piece: JSON, refusals, and streams for a client that accepts none."""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import web

from relay.endpoints.core.turns import let_others_go_on, read_in_turn
from relay.endpoints.http.client.aiohttp_dial import Dial, Response
from relay.endpoints.http.decisions import Refused
from relay.endpoints.http.media import JSON, media_type, without_bom
from relay.endpoints.http.through.collapsed_stream import CollapsedStream
from relay.endpoints.http.through.forwarded import (
    INITIALIZE,
    Forwarded,
    NotStreamable,
    failure,
    homeward,
    is_framed,
    session_of,
    set_patience,
)
from relay.endpoints.http.through.stream_watch import once_each
from relay.endpoints.http.through.taking import asked_in, take_each
from relay.errors import EndpointBroken
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import REQUEST, RESPONSE, Head, Kind
from relay.frames.repair import StandIn, respelled
from relay.limits import Limits
from relay.mcp.errors import is_modern_error
from relay.mcp.headers import PROTOCOL_VERSION
from relay.mcp.revisions import is_modern_version
from relay.routing.matching import alike

__all__ = ["WholeAnswers", "answer_in"]


class WholeAnswers:
    """Turns a server's answers to forwarded requests into answers to the clients."""

    def __init__(self, dial: Dial, limits: Limits) -> None:
        """Read answers through ``dial``, within ``limits``."""
        self._dial = dial
        self._limits = limits
        self.is_elsewhere = False
        """Whether the server refused a client's first POST, and so may speak HTTP+SSE."""

    async def whole(self, forwarded: Forwarded, response: Response) -> web.Response:
        """Return the client's answer from a server's answer that is no stream. Raises Refused, NotStreamable."""
        head, cors, status = forwarded.head, forwarded.cors, response.status
        if status >= 400:
            body = await self._dial.read_error_body(response)
            return self._refusal(forwarded, response, body)
        if not 200 <= status < 300:
            said = self._dial.describe_error_body(await self._dial.read_error_body(response))
            fault = f"{self._dial.name}: HTTP {status}{': ' if said else ''}{said}"
            return failure(
                head, cors, replies.UPSTREAM_STATUS, fault, replies.delivered_by(status), upstream_status=status
            )
        kind = media_type(response.headers.get("Content-Type"))
        body = await (self._dial.read_body if kind == JSON else self._dial.read_error_body)(response)
        if kind == JSON:
            body = without_bom(body)
            await let_others_go_on(body)
            body = once_each(body)
        if head is not None and head.asks:
            frame = Frame(body.strip())
            await read_in_turn(frame)
            answer = answer_in(head, body, response, frame) if kind == JSON else None
            if answer is None:
                said = self._dial.describe_error_body(body) if kind != JSON else ""
                seen = f"answered with content type {kind or 'none'!r} {said}".rstrip()
                seen = seen if kind != JSON else "the answer does not match this request"
                return failure(head, cors, replies.UPSTREAM_STATUS, f"{self._dial.name}: {seen}", "unknown")
            body = answer
        headers = homeward(response, cors)
        if kind != JSON or not body:
            return web.Response(status=status, headers=headers)  # 202 has no page, and a page could be a script
        return web.Response(status=status, body=body, content_type=JSON, headers=headers)

    async def collapsed(self, forwarded: Forwarded, response: Response) -> web.Response:
        """Read a stream until its answer arrives, for a client that accepts no streams. Raises EndpointBroken."""
        assert forwarded.head is not None, "a request was answered"
        stream = CollapsedStream(forwarded.head, self._limits.max_frame_bytes)
        body: bytes | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as patience:
                async for chunk in self._dial.chunks(response):
                    if (body := stream.feed(chunk)) is not None:
                        break
                    set_patience(patience, self._limits, is_doubtful=stream.is_doubtful)
        if body is None and (body := stream.last_resort()) is None:
            raise EndpointBroken(f"{self._dial.name}: the stream ended without an answer")
        return web.Response(
            status=response.status, body=body, content_type=JSON, headers=homeward(response, forwarded.cors)
        )

    def _refusal(self, forwarded: Forwarded, response: Response, body: bytes) -> web.Response:
        """Forward a refusal that is JSON-RPC, and turn any other refusal into a JSON-RPC error.

        Raises NotStreamable if the server may speak HTTP+SSE, and Refused if the client must begin a session anew.
        """
        request, head, slot, status = forwarded.request, forwarded.head, forwarded.slot, response.status
        frame = Frame(body.strip())
        is_error = frame.head.kind is Kind.RESPONSE
        # 405 with an error that does not answer this request: the server refuses POST, not the request.
        is_no_post = status == 405 and (not is_error or frame.head.id is None) and not is_modern_error(frame)
        is_begun = session_of(request, head) is not None
        is_legacy = not is_modern_version(request.headers.get(PROTOCOL_VERSION))  # modern clients probe on their own
        if head is not None and is_legacy and not is_begun and slot is not None and slot.frame is not None:
            is_first = head.method == INITIALIZE
            if is_no_post or (is_first and status in (400, 404) and not is_error):
                self.is_elsewhere = self.is_elsewhere or is_first
                raise NotStreamable
        if head is not None and is_no_post and is_begun:
            raise Refused(404, "no such session: begin a new one with initialize", request_id=head.id)
        headers = homeward(response, forwarded.cors)
        if status in (401, 407):  # the server challenges the relay, and never gets the client's token
            fault = f"{self._dial.name}: HTTP {status}: the server does not accept this relay's credentials"
            return failure(head, forwarded.cors, replies.UPSTREAM_STATUS, fault, "no", upstream_status=status)
        if is_error:
            if head is not None and head.id is not None and frame.head.id is None:
                body = (respelled(frame, head.id) or frame).raw
            return web.Response(status=status, body=body, content_type=JSON, headers=headers)
        said = self._dial.describe_error_body(body)
        fault = f"{self._dial.name}: HTTP {status}{': ' if said else ''}{said}"
        delivered = replies.delivered_by(status)
        return failure(head, headers, replies.UPSTREAM_STATUS, fault, delivered, status, upstream_status=status)


def answer_in(head: Head, body: bytes, response: Response, frame: Frame | None = None) -> bytes | None:
    """Return a body that answers every request under its id; None if ``body`` does not.

    ``frame`` is the frame in ``body``, if the caller has read it already.
    """
    frame = frame or Frame(body.strip())
    answer = frame.head
    if answer.kind is RESPONSE and answer.id == head.id and head.kind is REQUEST and is_framed(response):
        return body  # nearly every answer
    is_readable = answer.kind is not Kind.INVALID
    answers = (frame.read_whole() if is_readable and not is_framed(response) else frame.head).messages
    asked = {one.id: None for one in head.messages if one.kind is Kind.REQUEST and one.id is not None}
    answered = {one.id for one in answers if one.kind is Kind.RESPONSE}
    is_plain = answered.issuperset(asked) and all(one in asked or alike(one, asked) is None for one in answered)
    return body if is_plain else _odd_answer_in(frame, head)


def _odd_answer_in(frame: Frame, head: Head) -> bytes | None:
    found: list[bytes] = []
    asked = asked_in(head)
    for one, fate in take_each(frame, asked, is_whole=True):
        if not isinstance(one, StandIn) and fate != "again":
            found.append(one.raw)
        elif fate == "answers":
            return None  # in HTTP, the status tells the client that there is no answer
    if asked or not found:
        return None
    return b"[" + b",".join(found) + b"]" if head.kind is Kind.BATCH or len(found) > 1 else found[0]
