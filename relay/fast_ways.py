"""Decide whether the relay takes its fast ways, which follow the same rules as the ordinary ways in less time.

There are three fast ways:

- the callback that reads a request also answers it;
- requests go over connections of the relay's own pool;
- frames go from one endpoint to the other without a task.

``MCP_RELAY_FAST=0`` turns them off, to test whether they cause a fault. Each listener, client and pipe reads the
variable once, when it starts.
"""

from __future__ import annotations

import os

__all__ = ["may_be_taken"]

_SWITCH = "MCP_RELAY_FAST"


def may_be_taken() -> bool:
    """Tell whether the operator has left the fast ways on, as by default."""
    return os.environ.get(_SWITCH) != "0"
