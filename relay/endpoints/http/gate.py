"""The checks an HTTP request must pass before it is a frame in a session: one set of rules for every way in.

Each check raises Refused, which says the status and the JSON-RPC error of the answer. Host and Origin come first, the
media types next, the body within its bounds (bodies.py), and last whether it is a message that may come here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from multidict import MultiMapping

from relay.auth.origin import OriginPolicy
from relay.endpoints.core.turns import LARGE, let_others_go_on
from relay.endpoints.http.media import EVENT_STREAM, JSON, accepts, listed, media_type, without_bom
from relay.frames import replies
from relay.frames.envelope import salvage_head
from relay.frames.frame import Frame
from relay.frames.head import BATCH, Head, Kind, RequestId
from relay.frames.json_cost import is_utf8
from relay.frames.json_scan import TooMany
from relay.frames.lines import KEPT
from relay.frames.strictness import repeated_key
from relay.limits import Limits
from relay.mcp.errors import HEADER_MISMATCH, INVALID_PARAMS, METHOD_NOT_FOUND, UNSUPPORTED_VERSION
from relay.mcp.facts import RequestFacts, read_facts
from relay.mcp.headers import LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID, check_headers
from relay.mcp.profile import ServerProfile
from relay.mcp.revisions import LEGACY_VERSIONS, has_batches, is_modern_version

__all__ = ["Checks", "Refused", "check_single"]

_SINGLE = ("Origin", "Authorization", SESSION_ID, LAST_EVENT_ID)
_SUBSCRIBE = "subscriptions/listen"


class Refused(Exception):
    """A request that is answered with a 4xx or 5xx status and a JSON-RPC error."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: int = replies.REFUSED,
        request_id: str | int | None = None,
        headers: Mapping[str, str] | None = None,
        data: Mapping[str, object] | None = None,
    ) -> None:
        """Say ``message`` to the client, with ``data``, for the request with this id if one is known."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.request_id = request_id
        self.headers = dict(headers or {})
        self.data: dict[str, Any] = dict(data or {})
        self.frame: Frame | None = None
        """What was refused, if it is large and was read."""


def check_single(headers: MultiMapping[str], name: str) -> None:
    """Refuse a header that has one value and comes with two: whoever reads the other would see another request."""
    if len(headers.getall(name, ())) > 1:
        raise Refused(400, f"the {name} header stands twice")


class Checks:
    """The rules of one listener."""

    def __init__(self, limits: Limits, policy: OriginPolicy) -> None:
        """Admit what ``policy`` admits, within ``limits``."""
        self._limits = limits
        self._policy = policy
        self._uncounted = min(limits.max_json_nodes, limits.max_json_values)
        """Bytes that cannot hold too many values."""

    def check_source(self, headers: MultiMapping[str]) -> None:
        """Refuse what a web page sent, or a name that is not ours, before anything else is looked at."""
        for name in _SINGLE:
            check_single(headers, name)
        if not self.is_modern(headers):  # those of 2026-07-28 are held against the body
            check_single(headers, PROTOCOL_VERSION)
        host = headers.get("Host")
        if not self._policy.admits_host(host):
            raise Refused(421, f"host {host!r} is not served here; --allowed-host adds one")
        self.check_origin(headers)

    def check_origin(self, headers: Mapping[str, str]) -> None:
        """Refuse what a web page of another origin sent."""
        origin = headers.get("Origin")
        if not self._policy.admits_origin(origin, headers.get("Sec-Fetch-Site")):
            raise Refused(403, f"origin {origin!r} may not use this server; --allow-origin adds one")

    def check_content(self, headers: MultiMapping[str]) -> None:
        """Refuse a body that is not plain JSON: a form of a web page never is."""
        content_type = headers.get("Content-Type")
        if media_type(content_type) != JSON:
            raise Refused(415, f"content type {content_type!r} is not {JSON}")
        encoding = listed(headers, "Content-Encoding")
        if encoding is not None and any(one.strip().lower() != "identity" for one in encoding.split(",")):
            raise Refused(415, f"content encoding {encoding!r} is not identity")

    def check_accept(self, headers: MultiMapping[str], wanted: str) -> None:
        """Refuse a client that would not take the media type that its answer has, or may have."""
        accept = listed(headers, "Accept")
        if not accepts(accept, wanted):
            raise Refused(406, f"accept {accept!r} must list {wanted}")

    def check_post(self, headers: MultiMapping[str]) -> None:
        """Check a POST of Streamable HTTP by its headers; see ``takes_streams``, too."""
        self.check_content(headers)
        self.check_accept(headers, JSON)

    def takes_streams(self, headers: MultiMapping[str]) -> bool:
        """Tell whether the answer to a POST may become a stream; else it is plain JSON, however long that takes."""
        return accepts(listed(headers, "Accept"), EVENT_STREAM)

    def check_streamed(self, headers: MultiMapping[str], head: Head) -> None:
        """Refuse a request whose answer can be nothing but a stream, to who takes none."""
        if head.method == _SUBSCRIBE and not self.takes_streams(headers):
            accept = listed(headers, "Accept")
            raise Refused(406, f"accept {accept!r} must list {EVENT_STREAM} for {_SUBSCRIBE}", request_id=head.id)

    def check_version(self, headers: Mapping[str, str], version: str | None) -> None:
        """Refuse a protocol version that is neither the session's nor any we know."""
        said = headers.get(PROTOCOL_VERSION)
        if said is not None and said != version and said not in LEGACY_VERSIONS:
            known = ", ".join(LEGACY_VERSIONS)
            raise Refused(400, f"{PROTOCOL_VERSION} {said!r} is neither the session's {version!r} nor one of {known}")

    def is_modern(self, headers: Mapping[str, str]) -> bool:
        """Tell whether a POST says by its headers that it is of 2026-07-28 or later.

        A session id is ignored then ("Earlier Streamable HTTP Revisions"); an unknown version that names a session is
        a matter of that session's era.
        """
        return is_modern_version(headers.get(PROTOCOL_VERSION))

    def check_modern(
        self, headers: MultiMapping[str], frame: Frame, server: ServerProfile | None
    ) -> RequestFacts | None:
        """See that a request of 2026-07-28 is whole and that its headers say what its body says; return its facts.

        Also that ``server`` supports its version, as far as is known. None for a notification. Raises Refused.
        """
        head = frame.head
        if head.kind is Kind.NOTIFICATION:
            return None
        if head.kind is not Kind.REQUEST:
            raise Refused(400, "a POST is one request or notification", code=replies.INVALID_REQUEST)
        if head.method == "initialize":
            # Not for the server to say: one that serves both eras could take it for a handshake of all its clients.
            fault = "there is no initialize in 2026-07-28; a session of an earlier revision begins without its headers"
            raise Refused(404, fault, code=METHOD_NOT_FOUND, request_id=head.id)
        facts = read_facts(frame)
        if facts is None or facts.version is None:
            missing = "io.modelcontextprotocol/protocolVersion"
        elif not facts.has_capabilities:
            missing = "io.modelcontextprotocol/clientCapabilities"
        else:
            self._check_mirrored(headers, frame, facts, server)
            return facts
        raise Refused(400, f"params._meta has no {missing!r}", code=INVALID_PARAMS, request_id=head.id)

    def _check_mirrored(
        self, headers: MultiMapping[str], frame: Frame, facts: RequestFacts, server: ServerProfile | None
    ) -> None:
        request_id = frame.head.id
        fault = check_headers(headers, frame, facts, server.tools if server is not None else None)
        if fault is not None:
            raise Refused(400, fault, code=HEADER_MISMATCH, request_id=request_id)
        if server is not None and not server.supports(facts.version):
            data = {"supported": server.versions, "requested": facts.version}
            raise Refused(
                400, "Unsupported protocol version", code=UNSUPPORTED_VERSION, request_id=request_id, data=data
            )

    def is_modern_frame(self, headers: Mapping[str, str], frame: Frame) -> bool:
        """Tell whether a request without a session says by its body that it is of 2026-07-28, or of no version known.

        Its headers may not say so, or contradict it: that is for ``check_modern`` to refuse.
        """
        head = frame.head
        is_candidate = head.kind is Kind.REQUEST and head.method != "initialize" and SESSION_ID not in headers
        return is_candidate and read_facts(frame) is not None

    def check_frame(self, raw: bytes, version: str | None) -> Frame:
        """See that a body is one frame that may come here, and leave a byte order mark out. Raises Refused."""
        raw = without_bom(raw)
        frame = Frame(raw)
        # The conditions stand here because the calls would add 0.3 us to the 2.4 that a small frame costs.
        if len(raw) > self._uncounted:
            self._check_counts(frame)
        if not raw.isascii():
            self._check_text(frame)
        head = frame.read_whole()
        if head.kind is Kind.INVALID:
            self._refuse_invalid(head)
        self._check_keys(frame)
        if head.kind is BATCH:
            self._check_batch(head, version)
        return frame

    async def check_frame_in_turns(self, raw: bytes, version: str | None) -> Frame:
        """Do the same; between the steps over a large body, and after the last, others go on. Raises Refused."""
        if len(raw) <= LARGE:
            return self.check_frame(raw, version)
        frame = Frame(without_bom(raw))
        del raw
        try:
            for step in (self._check_counts, self._check_text, self._check_head, self._check_keys, read_facts):
                step(frame)
                await let_others_go_on(frame)
            if frame.head.kind is Kind.BATCH:
                self._check_batch(frame.head, version)
        except Refused as exc:
            exc.frame = frame
            raise
        return frame

    def _check_counts(self, frame: Frame) -> None:
        if fault := frame.excess(self._limits.max_json_nodes, self._limits.max_json_values):
            raise Refused(413, fault, code=replies.TOO_LARGE, request_id=_id_at_ends(frame.raw))

    def _check_text(self, frame: Frame) -> None:
        if not is_utf8(frame.raw):
            raise Refused(400, "the body is not UTF-8", code=replies.PARSE_ERROR)

    def _check_head(self, frame: Frame) -> None:
        if (head := frame.read_whole()).kind is Kind.INVALID:
            self._refuse_invalid(head)

    def _refuse_invalid(self, head: Head) -> NoReturn:
        status = 413 if head.is_excessive else 400
        raise Refused(status, f"not a JSON-RPC message: {head.fault}", code=replies.code_of(head), request_id=head.id)

    def _check_keys(self, frame: Frame) -> None:
        try:
            key = repeated_key(frame)
        except TooMany as exc:
            raise Refused(413, str(exc), code=replies.TOO_LARGE, request_id=frame.head.id) from exc
        if key is not None:
            raise Refused(400, f"the key {key!r} stands twice", code=replies.INVALID_REQUEST)

    def _check_batch(self, head: Head, version: str | None) -> None:
        if not has_batches(version):
            raise Refused(400, f"batches are not part of {version}", code=replies.INVALID_REQUEST)
        if len(head.members) > self._limits.max_batch:
            raise Refused(
                413, f"a batch of {len(head.members)}; at most {self._limits.max_batch}", code=replies.TOO_LARGE
            )
        if any(member.method == "initialize" for member in head.members):
            raise Refused(400, "initialize must not be part of a batch", code=replies.INVALID_REQUEST)


def _id_at_ends(raw: bytes) -> RequestId | None:
    """Return the id of a request that is not read, if it is at one of its ends."""
    head = salvage_head(raw, raw[-KEPT:])
    return head.id if head.kind is Kind.REQUEST else None
