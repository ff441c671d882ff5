"""What the runner's checks mean: laws on made-up checks, without the runner."""

from __future__ import annotations

from typing import Any

import pytest

from .verdicts import ALLOWED, NOTHING_HAPPENED, judge, lost


def check(name: str, status: str) -> dict[str, Any]:
    return {"id": name, "name": name, "status": status, "errorMessage": f"{name} went wrong"}


@pytest.mark.parametrize("statuses", [(), ("SKIPPED",), ("INFO", "WARNING")])
def test_what_passed_because_nothing_happened_has_failed(statuses: tuple[str, ...]) -> None:
    """Without a success of its own a scenario fails, be the wire schema valid or not."""
    verdict = judge([check("wire-schema-valid", "SUCCESS"), *(check(f"own-{one}", one) for one in statuses)])
    assert not verdict.passed
    assert verdict.reason == NOTHING_HAPPENED


def test_one_failure_fails_a_scenario() -> None:
    """A check that failed once has not succeeded, however often it did."""
    verdict = judge([check("a", "SUCCESS"), check("b", "SUCCESS"), check("b", "FAILURE")])
    assert not verdict.passed
    assert verdict.succeeded == {"a"}
    assert verdict.reason == "b: b went wrong"


def test_a_runner_that_was_not_content_fails_a_scenario() -> None:
    """A client that ended with an error fails although every check succeeded."""
    assert judge([check("a", "SUCCESS")], "CLIENT EXITED WITH ERROR").reason == "CLIENT EXITED WITH ERROR"


@pytest.mark.parametrize("status", ["SKIPPED", "WARNING", "INFO", None])
def test_a_success_that_comes_only_direct_is_lost(status: str | None) -> None:
    """What succeeded direct succeeds relayed: skipped, warned of, noted or missing is less."""
    direct = judge([check("a", "SUCCESS"), check("b", "SUCCESS")])
    relayed = judge([check("a", "SUCCESS"), *([check("b", status)] if status else [])])
    assert relayed.passed
    assert lost(direct, relayed) == "succeeded only direct: b"
    assert lost(direct, direct) == ""


def test_what_fails_direct_fails_no_otherwise_through_the_relay() -> None:
    """The same failing checks are no loss, a further one is."""
    direct = judge([check("a", "SUCCESS"), check("b", "FAILURE")])
    assert lost(direct, direct) == ""
    worse = judge([check("a", "FAILURE"), check("b", "FAILURE")])
    assert lost(direct, worse) == "fails otherwise than direct: a: a went wrong"


def test_only_a_note_is_allowed_in_place_of_what_http_leaves_to_the_relay() -> None:
    """The checks of ALLOWED may be notes, and nothing less."""
    [check_id, name] = next(iter(ALLOWED)).removesuffix(")").split(" (")
    direct, noted, skipped = (
        judge([check("a", "SUCCESS"), {"id": check_id, "name": name, "status": status}])
        for status in ("SUCCESS", "INFO", "SKIPPED")
    )
    assert lost(direct, noted) == ""
    assert lost(direct, skipped) == f"succeeded only direct: {check_id} ({name})"
