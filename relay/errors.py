"""The errors the relay raises; who is at fault is in the type.

    RelayError
    ├── ConfigError           the operator: a flag, a spec or a file is wrong
    ├── FrameError            a peer: bytes that are not an acceptable JSON-RPC frame
    │   └── FrameTooLarge     a peer: a frame beyond ``Limits.max_frame_bytes``
    ├── EndpointUnavailable   a peer that cannot be reached; nothing was sent to it
    ├── EndpointBroken        a peer that failed after it had been reached
    │   └── ServerLeftOut     one of several servers that is not asked any more; said once for all its sessions
    ├── EndpointClosed        this program: the endpoint was closed on our side
    └── EndpointBusy          this program: two tasks receive from one endpoint

Foreign errors (``OSError``, aiohttp's) stop at the endpoint that saw them and are raised on as one of these.
"""

__all__ = [
    "ConfigError",
    "EndpointBroken",
    "EndpointBusy",
    "EndpointClosed",
    "EndpointUnavailable",
    "FrameError",
    "FrameTooLarge",
    "RelayError",
    "ServerLeftOut",
]


class RelayError(Exception):
    """Anything the relay raises on purpose."""


class ConfigError(RelayError):
    """The operator asked for something that cannot be: one line on stderr, exit code 2."""


class FrameError(RelayError):
    """Bytes that are not an acceptable JSON-RPC frame."""


class FrameTooLarge(FrameError):
    """A frame larger than ``Limits.max_frame_bytes``."""


class EndpointUnavailable(RelayError):
    """The peer cannot be reached; no byte was sent to it."""


class EndpointBroken(RelayError):
    """The peer failed after it had been reached: requests in flight may have been executed."""


class ServerLeftOut(EndpointBroken):
    """The end of a session whose server is not asked any more; the log has that of the server already."""


class EndpointClosed(RelayError):
    """The endpoint was used after it had been closed on our side."""


class EndpointBusy(RelayError):
    """A second task wants to receive from an endpoint that has one receiver."""
