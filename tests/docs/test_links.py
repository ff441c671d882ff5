"""Every link of the documents leads somewhere, in the repository and in the site; none needs the network."""

from __future__ import annotations

import functools
import posixpath
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest

from docs.hooks.addresses import rewrite_links, site_path
from docs.hooks.reference import PARTS
from tests.docs.blocks import PAGES, ROOT

LINK = re.compile(r"(?<!!)\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
ELSEWHERE = re.compile(r"https?://|mailto:")


@functools.cache
def text_of(path: Path) -> str:
    """Return a page without its fenced blocks and spans of code, and with what is generated."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"<!-- generated: ([\w ]+) -->", lambda match: PARTS[match[1]](), text)
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def links_of(path: Path) -> Iterator[str]:
    for match in LINK.finditer(re.sub(r"(?<!\[)`[^`\n]*`(?!\])", "", text_of(path))):
        yield unescape(match[1] or match[2])


@functools.cache
def anchors_of(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site make them, and those that it names itself."""
    found: set[str] = set()
    for line in text_of(path).splitlines():
        if match := re.match(r"#+ (.*?)(?: \{ #([\w-]+) \})?$", line):
            plain = re.sub(r"[`*\\]|\]\([^)]*\)|\[", "", match[1]).lower()
            found.add(match[2] or re.sub(r" +", "-", re.sub(r"[^\w\- ]", "", plain).strip()))
        elif match := re.search(r"\{ #([\w-]+) \}$", line):
            found.add(match[1])
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_each_link_leads_somewhere(page: Path) -> None:
    """To a file of the repository and, with a fragment, to a heading in it."""
    for link in links_of(page):
        if ELSEWHERE.match(link):
            continue
        target, _, fragment = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{page.name}: {link}"
        if fragment and file.suffix == ".md":
            assert fragment in anchors_of(file), f"{page.name}: {link}: no such heading"


def test_links_out_of_docs_are_in_the_site() -> None:
    """The site has each file outside docs/ that a page of it links to."""
    for page in PAGES:
        path = page.relative_to(ROOT).as_posix()
        here = site_path(path)
        if here is None:
            continue
        for link in links_of(page):
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link.partition("#")[0]))
            if not ELSEWHERE.match(link) and link[0] != "#" and not target.startswith((".github", "relay/")):
                assert site_path(target) is not None, f"{path}: {link}"


def test_a_link_keeps_its_target_in_the_site() -> None:
    """The pages of the repository move when the site is built, and their links with them."""
    for path, link, there in (
        ("README.md", "docs/tls.md#dialling", "tls.md#dialling"),
        ("README.md", "bench/results/report.md", "bench/results/report.md"),
        ("docs/deploy/systemd.md", "../../deploy/mcp-relay.socket", "mcp-relay.socket"),
        ("docs/deploy/systemd.md", "../tls.md", "../tls.md"),
        ("docs/performance.md", "../bench/README.md", "bench/README.md"),
        ("bench/README.md", "../README.md", "../index.md"),
        ("docs/index.md", "https://host/x", "https://host/x"),
    ):
        assert rewrite_links(f"[x]({link})", path) == f"[x]({there})"


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A page\n\n[x](nothing.md) and [y](#a-page) and `[z](neither.md)`\n")
    assert list(links_of(page)) == ["nothing.md", "#a-page"]
    assert anchors_of(page) == {"a-page"}


def test_pages_load_nothing_from_elsewhere() -> None:
    """Pictures, styles and scripts are in the repository: a reader without a network sees the same."""
    for page in PAGES:
        for source in re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text_of(page)):
            assert not ELSEWHERE.match("".join(source)), f"{page.name}: {source}"
    configuration = (ROOT / "mkdocs.yml").read_text()
    assert "font: false" in configuration
    assert "http" not in re.sub(r"#.*", "", configuration)
