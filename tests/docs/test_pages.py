"""What the pages say of files and figures is so, and the front page stays one screen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from relay.app.install.clients import CLIENTS, Machine
from relay.app.options.relay import parse
from relay.limits import DEFAULT_LIMITS
from tests.docs.blocks import PAGES, ROOT, named

README = (ROOT / "README.md").read_text(encoding="utf-8")
REPORT = (ROOT / "bench" / "results" / "report.md").read_text(encoding="utf-8").replace("**", "")


def test_the_front_page_is_one_screen() -> None:
    """What it is, how to install it and the lines to paste come first; the rest is in pages of its own."""
    assert len(README.encode()) <= 6000
    first = README.splitlines().index("```sh")
    assert first < 20


@pytest.mark.parametrize("page", ["README.md", "docs/performance.md"])
def test_the_figures_are_those_of_the_report(page: str) -> None:
    """Each figure of a table stands in the report, in the row of some bridge."""
    text = (ROOT / page).read_text(encoding="utf-8")
    cells = [cell.strip() for row in re.findall(r"^\|(.*)\|$", text, re.MULTILINE) for cell in row.split("|")]
    figures = [match[1] for cell in cells if (match := re.fullmatch(r"([\d.,]+k?)( us| ms| MiB)?", cell))]
    assert len(figures) >= 12
    # The table of medians, and thousands as the report writes them.
    known = set(re.findall(r"[\d.,]+k?", REPORT))
    known |= {f"{float(one[:-1]) * 1000:,.0f}" for one in known if re.fullmatch(r"[\d.]+k", one)}
    for figure in figures:
        number = figure.replace(",", "")
        near = number if "k" in number else f"{float(number) / 1000:.1f}k"
        assert figure in known or number in known or near in known, figure


def test_each_client_has_its_section() -> None:
    page = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    for client in CLIENTS.values():
        section = page[page.index(f"## {client.title}\n") :].partition("\n## ")[0]
        assert f'"{client.key}"' in section
        assert client.file(Machine(Path("/home/x"), {}, "linux")).name in section
        assert client.project_file is None or f"`{client.project_file}`" in section


def test_each_page_of_the_site_is_in_its_navigation() -> None:
    """And each entry of the navigation is a page."""
    text = re.sub(r"!!python/\S+", "", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named_pages = set(re.findall(r": ([\w/-]+\.md)$", text[text.index("\nnav:") :], re.MULTILINE))
    docs = {page.relative_to(ROOT / "docs").as_posix() for page in PAGES if page.is_relative_to(ROOT / "docs")}
    assert docs <= named_pages
    for name in named_pages - docs:
        assert (ROOT / ("README.md" if name == "index.md" else name)).is_file()


def test_every_code_and_status_is_in_the_reference() -> None:
    """Each code that the relay sends by itself, and each status of the gate."""
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    definitions = [ROOT / "relay" / "frames" / "replies.py", ROOT / "relay" / "mcp" / "errors.py"]
    codes = {
        code for file in definitions for code in re.findall(r"^[A-Z_]+.* = (-3\d{4})$", file.read_text(), re.MULTILINE)
    }
    assert len(codes) > 10
    assert {code for code in codes if not re.search(rf"^(?:### {code}$|\| {code} \|)", page, re.MULTILINE)} == set()
    gate = ROOT / "relay" / "endpoints" / "http"
    statuses = set(re.findall(r"Refused\((\d{3})", (gate / "steps.py").read_text() + (gate / "gate.py").read_text()))
    said = set(re.findall(r"\b[45]\d\d\b", page[page.index("## HTTP statuses") :]))
    assert statuses <= said


# Kubernetes.


def test_the_manifests_fit_the_image_and_the_relay() -> None:
    deployment, service = yaml.safe_load_all(named("docs/deploy/kubernetes.md", "yaml")[0])
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    options, target = parse(container["args"])
    assert target[0] == "npx"
    assert options.allowed_host == [service["metadata"]["name"]]
    assert {variable["name"] for variable in container["env"]} == {"MCP_RELAY_MAX_SESSIONS"}
    image = (ROOT / "deploy" / "Dockerfile").read_text()
    assert f"EXPOSE {container['ports'][0]['containerPort']}" in image
    assert f"USER {container['securityContext']['runAsUser']}" in image
    assert service["spec"]["selector"] == pod["metadata"]["labels"] == deployment["spec"]["selector"]["matchLabels"]
    assert {one["httpGet"]["path"] for one in (container["readinessProbe"], container["livenessProbe"])} == {"/health"}
    mounted = {volume["name"] for volume in pod["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == mounted


def test_the_pod_is_stopped_in_the_time_that_it_is_given() -> None:
    """The delay for balancers, the drain and the end; and no probe kills a relay that drains."""
    deployment, _ = yaml.safe_load_all(named("docs/deploy/kubernetes.md", "yaml")[0])
    pod = deployment["spec"]["template"]["spec"]
    (delay,) = re.findall(r"MCP_RELAY_DRAIN_DELAY=(\d+)", (ROOT / "deploy" / "Dockerfile").read_text())
    drains = int(delay) + DEFAULT_LIMITS.drain
    assert pod["terminationGracePeriodSeconds"] >= drains + 10
    probe = pod["containers"][0]["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > drains


# Security.


def test_the_tests_that_pages_name_exist() -> None:
    for page in ("guarantees", "security", "architecture"):
        text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
        for path in re.findall(r"`((?:tests|relay)/[\w/.]+)`", text):
            assert (ROOT / path).exists(), (page, path)


def test_the_supported_version_is_ours() -> None:
    (said,) = re.findall(r"latest minor version \((\d+\.\d+)\)", (ROOT / "SECURITY.md").read_text())
    (ours,) = re.findall(r'^version = "([^"]+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert ours.startswith(f"{said}.")
