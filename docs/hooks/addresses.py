"""Where a file of the repository is in the site: the same links work in the repository and in the site."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["ROOT", "files_outside", "rewrite_links", "site_path"]

ROOT = Path(__file__).parents[2]

_PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "LICENSE")
_FOLDERS = {"bench": ("README.md",), "bench/results": ("*.md", "*.svg"), "client": ("README.md",), "deploy": ("*",)}
_LINK = re.compile(r"(\]\(|\b(?:src|href|srcset)=\")([^)\"#\s]+)(#[^)\"\s]*)?")


def files_outside() -> Iterator[str]:
    """Yield the files outside docs/ that the site shows, as paths in the repository."""
    yield from (name for name in _PAGES if (ROOT / name).exists())
    for folder, patterns in _FOLDERS.items():
        for pattern in patterns:
            yield from sorted(f"{folder}/{file.name}" for file in (ROOT / folder).glob(pattern) if file.is_file())


def site_path(path: str) -> str | None:
    """Return where a file of the repository is in the site's sources, or None if the site does not have it."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path == "README.md":
        return "index.md"
    return path if path in set(files_outside()) else None


def rewrite_links(markdown: str, path: str) -> str:
    """Return a page of the repository whose relative links lead to the same files in the site."""
    here = posixpath.dirname(site_path(path) or path)

    def rewritten(match: re.Match[str]) -> str:
        before, target, fragment = match[1], match[2], match[3] or ""
        if re.match(r"[a-z][a-z0-9+.-]*:", target) or target.startswith("/"):
            return match[0]
        there = site_path(posixpath.normpath(posixpath.join(posixpath.dirname(path), target)))
        return match[0] if there is None else f"{before}{posixpath.relpath(there, here or '.')}{fragment}"

    return _LINK.sub(rewritten, markdown)
