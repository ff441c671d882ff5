"""List the private names of aiohttp that the relay uses, and check whether the installed version has them.

Private names may change with any version, so pyproject.toml bounds the version. If an operator installs another
version, the relay works without the missing names: slower, and within aiohttp's own bounds. The relay then logs one
warning. A test compares this table with the code.
"""

from __future__ import annotations

import functools
import importlib
import logging
from typing import Any, Literal

import aiohttp

__all__ = ["Part", "has", "missing_from", "websocket_mask"]

logger = logging.getLogger("relay")

try:
    _helpers: Any = importlib.import_module("aiohttp._websocket.helpers")
except ImportError:
    _helpers = None
websocket_mask: Any = getattr(_helpers, "websocket_mask", None)
"""Masks a bytearray in place, in C; None if this aiohttp does not have the function here."""

Part = Literal["listener", "client", "websocket"]

_HANDLER = (
    "_current_request", "_keepalive_handle", "_keepalive_timeout", "_loop", "_messages", "_next_keepalive_close_time",
    "_parser", "_paused", "_payload_parser", "_process_keepalive", "_request_count", "_request_in_progress",
    "_upgraded", "_waiter",
)  # fmt: skip
# The owner of the names, as MODULE:CLASS or MODULE text: a relay that only dials loads nothing of aiohttp's server.
_NAMES: dict[Part, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "listener": (
        ("aiohttp.web_protocol:RequestHandler", _HANDLER),
        ("aiohttp.web_protocol", ("_ErrInfo",)),
        ("aiohttp.streams:StreamReader", ("_buffer",)),
        ("aiohttp.web:BaseRequest", ("_prepare_hook",)),
        ("aiohttp.web:Server", ("_kwargs", "_loop")),
    ),
    "client": (
        ("aiohttp.client_proto:ResponseHandler", ("_loop", "_reading_paused")),
        ("aiohttp.streams:StreamReader", ("_buffer",)),
        ("aiohttp:TCPConnector", ("_conns", "_factory", "_keepalive_timeout", "_loop", "_release")),
    ),
    "websocket": (
        ("aiohttp.web_protocol:RequestHandler", (
            "_buffer_paused", "_message_tail", "_pause_reading_for_buffer", "_payload_parser",
            "_resume_reading_for_buffer",
        )),
        ("aiohttp.web:WebSocketResponse", ("_post_start", "_reader")),
        ("aiohttp.http:WebSocketWriter", ("_closing",)),
        ("aiohttp.client_proto:ResponseHandler", ("_drain_helper", "_paused")),
        ("aiohttp:ClientWebSocketResponse", ("_response", "_writer")),
        ("aiohttp._websocket.helpers", ("websocket_mask",)),
    ),
}  # fmt: skip


@functools.cache
def has(part: Part) -> bool:
    """Tell whether this aiohttp has every private name that ``part`` uses; if not, log one warning."""
    missing = missing_from(part)
    if missing:
        logger.warning(
            "aiohttp %s lacks %s, which the relay's fast ways use; %s takes the ordinary way; "
            "install a version that the relay was tested with",
            aiohttp.__version__, ", ".join(missing), _WORDS[part],
        )  # fmt: skip
    return not missing


_WORDS: dict[Part, str] = {"listener": "the HTTP listener", "client": "the HTTP client", "websocket": "WebSocket"}


def missing_from(part: Part) -> list[str]:
    """Return the names that ``part`` uses and this aiohttp lacks, as ``Class.name``."""
    return [
        f"{path.rpartition(':')[2]}.{name}"
        for path, names in _NAMES[part]
        for name in names
        if not _is_in(_owner(path), name)
    ]


def _owner(path: str) -> Any:
    """Return the class or module at ``path``; None if this aiohttp does not have it there."""
    module, _, name = path.partition(":")
    try:
        owner = importlib.import_module(module)
    except ImportError:
        return None
    return getattr(owner, name, None) if name else owner


def _is_in(owner: Any, name: str) -> bool:
    """Tell whether a class or module has an attribute, or whether the class or a base sets it in ``__init__``."""
    if hasattr(owner, name):
        return True
    makers = (getattr(base.__dict__.get("__init__"), "__code__", None) for base in getattr(owner, "__mro__", ()))
    return any(name in maker.co_names for maker in makers if maker is not None)
