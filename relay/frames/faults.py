"""The words for a frame that the relay does not take, whichever way it came. ``replies`` has the codes."""

from __future__ import annotations

__all__ = ["batch_fault", "message_fault", "size_fault"]


def size_fault(
    size: int, limit: int, what: str = "a frame", *, is_cut: bool = False, most: str = "--max-frame-bytes"
) -> str:
    """Say that ``what`` has ``size`` bytes where ``limit`` are admitted.

    ``is_cut``: it may have more than ``size``. ``most``: the name of the limit.
    """
    return f"{what} of {size} bytes{' or more' if is_cut else ''}; {most} is {limit}"


def batch_fault(most: int) -> str:
    """Say that a batch has more than ``most`` messages."""
    return f"a batch of more than {most} messages"


def message_fault(fault: str) -> str:
    """Say that something is no message of JSON-RPC; ``fault`` is the reason, as ``Head.fault``."""
    return f"not a JSON-RPC message: {fault}"
