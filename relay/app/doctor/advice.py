"""Turn a failure into one line that says what a person can do about it."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from relay.app.specs import address_meant
from relay.endpoints.core.tls import explain_tls
from relay.endpoints.socket.tcp import describe
from relay.frames.replies import LOST, METHOD_NOT_FOUND

__all__ = [
    "SEE_STDERR",
    "CheckFailed",
    "explain_command",
    "explain_connection",
    "explain_end",
    "explain_error",
    "explain_refusal",
    "explain_silence",
    "shown",
]

SEE_STDERR = "the end of its stderr is above"

_STATUS = re.compile(r"\bHTTP (\d{3})\b")
# The endpoint gives this advice without knowing what else was tried.
_OWN_ADVICE = re.compile(r"[;:] the server (requires a login|does not accept this login).*")
_WITH_TLS = ("https://", "wss://", "tls://")
_MAYBE_CERTIFICATE = "it may demand a client certificate: --client-cert FILE; else look into its log"
_FIRST = ("initialize", "server/discover")
_PATHS = ("/mcp", "/sse")


class CheckFailed(Exception):
    """Something does not work: what the test saw, and what to try next."""

    def __init__(self, reason: str, advice: str = "", *, refused_upgrade: int | None = None) -> None:
        """Take the HTTP status with which a server refused the upgrade to WebSocket, if it did."""
        super().__init__(reason)
        self.reason = reason
        self.advice = advice
        self.refused_upgrade = refused_upgrade

    def __str__(self) -> str:
        """Return both in one line."""
        return f"{self.reason}; {self.advice}" if self.advice else self.reason


def explain_connection(name: str, failure: Exception, timeout: float) -> CheckFailed:
    """Explain why there is no connection to ``name``, from the failure or its cause."""
    for exc in reversed(list(_causes(failure))):
        if isinstance(exc, TimeoutError):
            advice = "check the address, and whether a firewall is in between"
            return CheckFailed(f"{name}: cannot connect: no answer within {timeout:g} s", advice)
        if isinstance(exc, ssl.SSLError):
            seen, advice = explain_tls(exc, _without_tls(name))
            return CheckFailed(f"{name}: cannot connect: {seen}", advice)
        if isinstance(exc, (OSError, UnicodeError)):
            return CheckFailed(f"{name}: cannot connect: {describe(exc)}", _advice_for(exc))
    status = getattr(failure.__cause__, "status", None)  # from an HTTP server that refuses the upgrade to WebSocket
    if status:
        advice = _advice_for_status(status, name, has_token=False)
        return CheckFailed(str(failure), advice, refused_upgrade=status)
    is_left = name.startswith(_WITH_TLS) and "closed the connection" in str(failure)
    return CheckFailed(str(failure), _MAYBE_CERTIFICATE if is_left else "")


def _causes(failure: BaseException | None) -> Iterator[BaseException]:
    while failure is not None:
        yield failure
        failure = failure.__cause__


def _without_tls(name: str) -> str:
    scheme = name.partition("://")[0]
    return {"https": "http", "wss": "ws", "tls": "tcp"}.get(scheme, scheme) + "://"


def _advice_for(exc: OSError | UnicodeError) -> str:
    if isinstance(exc, (socket.gaierror, UnicodeError)):
        return "check the name of the host"
    if isinstance(exc, (ConnectionRefusedError, FileNotFoundError)):
        return "start the server, or check its address"
    return "check the address"


def explain_command(name: str, fault: str) -> CheckFailed:
    """Explain why a command cannot start; ``fault`` may end with what to do about it."""
    if (address := address_meant(name)) is not None:
        over_tcp = "" if "/" in name else f"tcp://{name} or "
        return CheckFailed(f"{name}: there is no such command", f"a server's address is {over_tcp}{address}")
    seen, _, advice = fault.rpartition("; ")
    return CheckFailed(seen, advice) if seen else CheckFailed(fault)


def explain_refusal(name: str, error: dict[str, Any], url: str | None, *, has_token: bool) -> CheckFailed:
    """Explain why the server, or the relay's endpoint, refused the handshake."""
    message = str(error.get("message", ""))
    status = status_in(error)
    if url is None or status is None:
        seen = message if name in message else f"{name}: refused initialize: {_describe_error(error)}"
        if error.get("code") == METHOD_NOT_FOUND:
            return CheckFailed(seen, "it answers, but serves no MCP: is it an MCP server?")
        return CheckFailed(seen, _advice_for_lost(url or "") if error.get("code") == LOST else "")
    reason = _OWN_ADVICE.sub("", message)
    if re.search(rf"HTTP {status}$", reason):
        reason += f" {_phrase(status)}"
    if "content type" in reason:
        return CheckFailed(reason, f"this is no MCP server; {_other_paths(url)}")
    return CheckFailed(reason, _advice_for_status(status, url, has_token=has_token))


def _advice_for_lost(url: str) -> str:
    """Explain why a server may close the connection before its first answer."""
    if url.lower().startswith("http:"):
        return "if it speaks TLS, its address begins with https://"
    # In TLS 1.3 a server rejects a client without a certificate after the client has finished the handshake.
    return _MAYBE_CERTIFICATE if url.lower().startswith(_WITH_TLS) else ""


def explain_silence(seen: str, noise: str, *, is_command: bool) -> CheckFailed:
    """Explain why a connected server may not answer; ``noise`` is what it printed."""
    if noise:
        return CheckFailed(f"{seen}; on stdout it wrote {noise}", "only messages may be there: let it log to stderr")
    if is_command:
        return CheckFailed(seen, "does it speak MCP on stdio? if it only starts slowly, --timeout gives it longer")
    return CheckFailed(seen, "look into the server's log, or give it longer with --timeout")


def explain_end(seen: str, method: str, noise: str, *, is_command: bool) -> CheckFailed:
    """Explain why a server may end before it answers."""
    if not is_command:
        advice = _MAYBE_CERTIFICATE if seen.startswith(_WITH_TLS) and method in _FIRST else "look into the server's log"
        return CheckFailed(f"{seen}, without an answer to {method}", advice)
    if noise:
        advice = "does it speak MCP on stdio? it may want other arguments"
        return CheckFailed(f"{seen} without an answer to {method}; on stdout it wrote {noise}", advice)
    return CheckFailed(f"{seen} without an answer to {method}", SEE_STDERR)


def explain_error(name: str, method: str, error: dict[str, Any]) -> CheckFailed:
    """Explain that a server refuses what its capabilities promise, or that its answer was lost."""
    seen = f"{name}: {method}: {_describe_error(error)}"
    if _is_ours(error):
        return CheckFailed(seen, "look into the server's log")
    return CheckFailed(seen, f"its capabilities name {method.partition('/')[0]}: look into its log")


def _is_ours(error: dict[str, Any]) -> bool:
    """Tell whether a relay made an error: its errors say whether the request was delivered."""
    data = error.get("data")
    return isinstance(data, dict) and "delivered" in data


def status_in(error: dict[str, Any]) -> int | None:
    """Return the HTTP status in an error that the relay's endpoints made."""
    data = error.get("data")
    if isinstance(data, dict) and isinstance(data.get("status"), int):
        return int(data["status"])
    found = _STATUS.search(str(error.get("message", "")))
    return int(found[1]) if found else None


def _describe_error(error: dict[str, Any]) -> str:
    code = f"error {error['code']}: " if isinstance(error.get("code"), int) else ""
    return f"{code}{shown(str(error.get('message')), 300)}"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _advice_for_status(status: int, url: str, *, has_token: bool) -> str:
    if status in (404, 405, 410):
        return f"nothing for MCP at this path; {_other_paths(url)}"
    if status == 401 and not has_token:
        return "the server requires a token: API_ACCESS_TOKEN=…, or -H Authorization 'Bearer …'"
    if status == 401:
        return (
            "the server does not accept this login: check API_ACCESS_TOKEN, -H Authorization, --username or --client-id"
        )
    if status == 403:
        return "access is refused: check the token's rights, and whether the server allows this host name"
    if status == 421:
        return "call the server by a host name that it knows"
    if status == 429:
        return "too many requests: wait and try again"
    if status >= 500:
        return "the server, or a gateway before it, has failed: look into its log"
    return ""  # the message of a redirect says it


def _other_paths(url: str) -> str:
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    paths = _PATHS[:1] if parts.scheme in ("ws", "wss") else _PATHS  # /sse is for HTTP only
    others = [origin + path for path in paths if path != parts.path.rstrip("/")]
    return "try " + " or ".join(others) if others else "check the address"


def shown(text: str, longest: int = 120) -> str:
    """Return a peer's text for a terminal: shortened, without control characters."""
    text = text if len(text) <= longest else text[:longest] + "…"
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
