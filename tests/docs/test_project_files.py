"""The files for contributors and for the forge: they parse, and what they name exists."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml

from tests.docs.blocks import ROOT
from tests.release import notes_of

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def load(path: Any) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_what_exists(path: Any) -> None:
    """Its targets of make, its files and its tests; each job has few rights and says what it runs on."""
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for job in workflow["jobs"].values():
        assert job["runs-on"]
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            for line in step.get("run", "").splitlines():
                for found in re.findall(r"(?<!\S)(?:tests|deploy|\.ci)/[\w/.]+", line):
                    assert (ROOT / found).exists(), found
                if match := re.match(r"make ([a-z -]+)", line):
                    assert set(match[1].split()) <= targets


def test_every_supported_python_is_tested() -> None:
    classified = {one.rpartition(" ")[2] for one in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", one)}
    jobs = load(ROOT / ".github" / "workflows" / "tests.yml")["jobs"]
    assert classified <= set(jobs["python"]["strategy"]["matrix"]["python"])


def test_issue_forms_are_forms() -> None:
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = load(path)
        if path.stem != "config":
            assert form["name"] and form["description"]
            assert all(part["attributes"]["label"] for part in form["body"])


def test_dependabot_looks_where_dependencies_are() -> None:
    files = {
        "pip": "pyproject.toml",
        "docker": "Dockerfile",
        "npm": "package.json",
        "github-actions": ".github/workflows",
    }
    for update in load(ROOT / ".github" / "dependabot.yml")["updates"]:
        assert (ROOT / update["directory"].lstrip("/") / files[update["package-ecosystem"]]).exists()


def test_pre_commit_runs_programs_of_the_environment() -> None:
    (repository,) = load(ROOT / ".pre-commit-config.yaml")["repos"]
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")
        for found in re.findall(r"tests/[\w/.]+", hook["entry"]):
            assert (ROOT / found).exists()


def test_the_changelog_has_a_section_for_this_version() -> None:
    """Sections under version numbers, newest first, each with a date; ours is the newest of them."""
    sections = re.findall(r"^## \[?([^\]\s]+)\]?(?: - (\S+))?$", CHANGELOG, re.MULTILINE)
    assert sections[0][0] == "Unreleased"
    versions = [name for name, date in sections[1:] if re.fullmatch(r"\d{4}-\d\d-\d\d", date)]
    assert len(versions) == len(sections) - 1
    assert versions[0] == PROJECT["version"]
    assert versions == sorted(versions, key=lambda text: [int(part) for part in text.split(".")], reverse=True)


def test_a_release_has_the_notes_of_its_version() -> None:
    assert (notes_of(CHANGELOG, PROJECT["version"]) or "").count("\n- ") > 3
    assert notes_of(CHANGELOG, "9.9.9") is None
    assert notes_of("## [1.0.0] - 2026-01-01\n\n## [0.9.0] - 2025-01-01\n- x\n", "1.0.0") is None
