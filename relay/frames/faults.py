"""Describe why the relay rejects a frame, in the same words for every transport. ``replies`` has the codes."""

from __future__ import annotations

__all__ = ["batch_fault", "message_fault", "size_fault"]


def size_fault(
    size: int, limit: int, what: str = "a frame", *, is_cut: bool = False, most: str = "--max-frame-bytes"
) -> str:
    """Describe ``what``, which has ``size`` bytes where ``limit`` are allowed.

    ``is_cut``: it may have more than ``size``. ``most``: the name of the limit.
    """
    return f"{what} of {size} bytes{' or more' if is_cut else ''}; {most} is {limit}"


def batch_fault(most: int) -> str:
    """Describe a batch of more than ``most`` messages."""
    return f"a batch of more than {most} messages"


def message_fault(fault: str) -> str:
    """Describe something that is no JSON-RPC message; ``fault`` is the reason, as in ``Head.fault``."""
    return f"not a JSON-RPC message: {fault}"
