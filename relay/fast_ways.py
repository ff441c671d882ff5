"""Whether the relay may take its fast ways: the same rules as the ordinary ways, reached sooner.

They are: an answer in the callback that read the request, requests over connections of our own pool, and frames that
go from one endpoint to the other without a task. ``MCP_RELAY_FAST=0`` does without them, to find out whether they are
to blame for a fault. The variable is read when a listener, a client or a pipe begins.
"""

from __future__ import annotations

import os

__all__ = ["may_be_taken"]

_SWITCH = "MCP_RELAY_FAST"


def may_be_taken() -> bool:
    """Tell whether the operator leaves the fast ways on, which is so by default."""
    return os.environ.get(_SWITCH) != "0"
