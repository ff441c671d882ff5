"""Check that a POSTed body is one valid frame, and that a modern frame matches its headers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from multidict import MultiMapping

from relay.endpoints.http.decisions import Refused, not_a_message, too_large
from relay.endpoints.http.media import without_bom
from relay.frames import replies
from relay.frames.envelope import salvage_head
from relay.frames.faults import batch_fault
from relay.frames.frame import Frame
from relay.frames.head import Head, Kind, RequestId
from relay.frames.json_scan import TooMany
from relay.frames.lines import KEPT
from relay.frames.strictness import repeated_key
from relay.limits import Limits
from relay.mcp.errors import HEADER_MISMATCH, INVALID_PARAMS, METHOD_NOT_FOUND, UNSUPPORTED_VERSION
from relay.mcp.facts import RequestFacts, read_facts
from relay.mcp.headers import check_headers
from relay.mcp.profile import ServerProfile
from relay.mcp.revisions import has_batches

__all__ = ["FrameChecks", "check_facts"]


class FrameChecks:
    """The checks of a body, within the limits of one listener."""

    def __init__(self, limits: Limits) -> None:
        """Admit bodies within ``limits``."""
        self._limits = limits
        self.uncounted = min(limits.max_json_nodes, limits.max_json_values)
        """Bytes that cannot hold too many values."""

    def check(self, raw: bytes, version: str | None) -> Frame:
        """Return the frame in a body, without a byte order mark; ``version`` is that of its session.

        Raises Refused.
        """
        frame = Frame(without_bom(raw))
        self.check_counts(frame)
        for step in self.steps(version):
            step(frame)
        return frame

    def steps(self, version: str | None) -> Iterator[Callable[[Frame], object]]:
        """Yield the checks of a counted frame. Each reads the whole frame, and raises Refused if it fails."""
        yield _check_head
        yield _check_keys
        yield lambda frame: self._check_batch(frame.head, version)

    def check_counts(self, frame: Frame) -> None:
        """Raise Refused if a body holds more than the relay parses; nothing has read it yet."""
        if frame.size <= self.uncounted:
            return
        if fault := frame.excess(self._limits.max_json_nodes, self._limits.max_json_values):
            raise too_large(fault, request_id=_id_at_ends(frame.raw))

    def _check_batch(self, head: Head, version: str | None) -> None:
        if head.kind is not Kind.BATCH:
            return
        if not has_batches(version):
            raise Refused(400, f"batches are not part of {version}", code=replies.INVALID_REQUEST)
        most = self._limits.max_batch
        if len(head.members) > most:
            raise too_large(batch_fault(most))
        if any(member.method == "initialize" for member in head.members):
            raise Refused(400, "initialize must not be part of a batch", code=replies.INVALID_REQUEST)


def _check_head(frame: Frame) -> None:
    if (head := frame.read_whole()).kind is Kind.INVALID:
        raise not_a_message(head)


def _check_keys(frame: Frame) -> None:
    try:
        key = repeated_key(frame)
    except TooMany as exc:
        raise too_large(str(exc), request_id=frame.head.id) from exc
    if key is not None:
        raise Refused(400, f"the key {key!r} stands twice", code=replies.INVALID_REQUEST)


def _id_at_ends(raw: bytes) -> RequestId | None:
    """Return the id of an unread request, if the id stands near the start or the end of the request."""
    head = salvage_head(raw, raw[-KEPT:])
    return head.id if head.kind is Kind.REQUEST else None


def check_facts(headers: MultiMapping[str], frame: Frame, server: ServerProfile | None) -> RequestFacts | None:
    """Check that a request of 2026-07-28 is complete and matches its headers; return its facts.

    Check too that ``server`` supports its version, if that is known. Return None for a notification. Raises Refused.
    """
    head = frame.head
    if head.kind is Kind.NOTIFICATION:
        return None
    if head.kind is not Kind.REQUEST:
        raise Refused(400, "a POST is one request or notification", code=replies.INVALID_REQUEST)
    if head.method == "initialize":
        # The relay answers, not the server: a server of both eras could take this for a handshake of all its clients.
        fault = "2026-07-28 has no initialize; to begin a session of an earlier revision, omit its headers"
        raise Refused(404, fault, code=METHOD_NOT_FOUND, request_id=head.id)
    facts = read_facts(frame)
    if facts is None or facts.version is None:
        missing = "io.modelcontextprotocol/protocolVersion"
    elif not facts.has_capabilities:
        missing = "io.modelcontextprotocol/clientCapabilities"
    else:
        _check_mirrored(headers, frame, facts, server)
        return facts
    raise Refused(400, f"params._meta has no {missing!r}", code=INVALID_PARAMS, request_id=head.id)


def _check_mirrored(
    headers: MultiMapping[str], frame: Frame, facts: RequestFacts, server: ServerProfile | None
) -> None:
    request_id = frame.head.id
    fault = check_headers(headers, frame, facts, server.tools if server is not None else None)
    if fault is not None:
        raise Refused(400, fault, code=HEADER_MISMATCH, request_id=request_id)
    if server is not None and not server.supports(facts.version):
        data = {"supported": server.versions, "requested": facts.version}
        fault = "Unsupported protocol version"
        raise Refused(400, fault, code=UNSUPPORTED_VERSION, request_id=request_id, data=data)
