"""Where logins are kept. A start looks only whether that directory exists."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["store_directory"]


def store_directory(configured: str | None = None) -> Path:
    """Return the directory of the store: as configured, ``MCP_RELAY_AUTH_DIR``, or below the user's data."""
    named = configured or os.environ.get("MCP_RELAY_AUTH_DIR")
    if named:
        return Path(named).expanduser()
    if sys.platform not in ("win32", "darwin"):  # as platformdirs does, without the milliseconds of its import
        data = os.environ.get("XDG_DATA_HOME", "").strip()
        return (Path(data) if data else Path("~/.local/share").expanduser()) / "mcp-relay" / "auth"
    from platformdirs import user_data_path

    return user_data_path("mcp-relay", appauthor=False) / "auth"
