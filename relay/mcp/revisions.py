"""The revisions of MCP that the relay knows, and what a session of each may do."""

from __future__ import annotations

import re

__all__ = ["LEGACY_VERSIONS", "MODERN_VERSION", "has_batches", "has_priming", "is_modern_version"]


MODERN_VERSION = "2026-07-28"
LEGACY_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""The session-based revisions."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def has_batches(version: str | None) -> bool:
    """Tell whether a session of this version may send batches: only of 2025-03-26, or without a version."""
    return version in (None, "2025-03-26")


def has_priming(version: str | None) -> bool:
    """Tell whether streams open with an empty event: from 2025-11-25 on. Earlier clients fail on empty data."""
    return version is not None and version >= "2025-11-25"


def is_modern_version(version: str | None) -> bool:
    """Tell whether a version is 2026-07-28 or later: without sessions and handshakes."""
    return version is not None and version >= "2026-07-28" and _DATE.fullmatch(version) is not None
