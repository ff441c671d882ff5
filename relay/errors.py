"""The errors that the relay raises; the type says who is at fault.

    RelayError
    ├── ConfigError           the operator: a flag, a spec or a file is wrong
    │   ├── ConfigErrors      the operator: several of them
    │   └── CommandNotFound   the operator: the command of a server is no program
    ├── FrameError            a peer: bytes that are not an acceptable JSON-RPC frame
    │   └── FrameTooLarge     a peer: a frame larger than ``Limits.max_frame_bytes``
    ├── EndpointUnavailable   a peer that the relay cannot reach; it has sent nothing to the peer
    │   └── LoginRefused      a server that wants a login, which failed; it has executed nothing
    ├── EndpointBroken        a peer that failed after the relay had reached it
    │   └── ServerLeftOut     one of several servers, now out of service; logged once for all its sessions
    ├── EndpointClosed        this program: it used an endpoint that it had closed
    └── EndpointBusy          this program: two tasks receive from one endpoint

Foreign errors (``OSError``, aiohttp's) stop at the endpoint that meets them, which raises one of these instead.
"""

from collections.abc import Sequence

__all__ = [
    "CommandNotFound",
    "ConfigError",
    "ConfigErrors",
    "EndpointBroken",
    "EndpointBusy",
    "EndpointClosed",
    "EndpointUnavailable",
    "FrameError",
    "FrameTooLarge",
    "LoginRefused",
    "RelayError",
    "ServerLeftOut",
]


class RelayError(Exception):
    """The base of every error that the relay raises on purpose."""


class ConfigError(RelayError):
    """The operator asked for something impossible: one line on stderr, exit code 2."""


class ConfigErrors(ConfigError):
    """The operator made several mistakes: a line for each on stderr, so that one run names all of them."""

    def __init__(self, faults: Sequence[str]) -> None:
        """Name the mistakes, each in a sentence."""
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


class CommandNotFound(ConfigError):
    """The command of a server is not a program that can be run here."""

    def __init__(self, program: str, remedy: str) -> None:
        """Name the program, and say what to do."""
        super().__init__(f"command {program!r} was not found or cannot be run; {remedy}")
        self.program = program


class FrameError(RelayError):
    """Bytes that are not an acceptable JSON-RPC frame."""


class FrameTooLarge(FrameError):
    """A frame larger than ``Limits.max_frame_bytes``."""


class EndpointUnavailable(RelayError):
    """The relay cannot reach the peer, and has sent no byte to it."""


class LoginRefused(EndpointUnavailable):
    """A server answered with ``status`` that it wants a login, and the login failed. The server itself is well."""

    status = 401


class EndpointBroken(RelayError):
    """The peer failed after the relay had reached it, and may have executed the requests in flight."""


class ServerLeftOut(EndpointBroken):
    """A session ended because its server is out of service; the log already names that server."""


class EndpointClosed(RelayError):
    """The program used an endpoint after it had closed it."""


class EndpointBusy(RelayError):
    """A second task receives from an endpoint, which allows only one receiver."""
