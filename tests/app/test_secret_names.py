"""Which names and values count as secrets."""

from __future__ import annotations

from argparse import Namespace

import pytest

from relay.app.config.values import options_of
from relay.app.configured import Configured
from relay.app.options.relay import build_parser
from relay.app.options.secrets import secrets_of
from relay.app.secrets.names import is_secret_name
from relay.app.secrets.text import mask_secrets


@pytest.mark.parametrize(
    "name",
    ["PAT", "GH_PAT", "GITHUB_PAT", "JWT", "MYSQL_PWD", "SSH_PASSPHRASE", "SESSION", "SENTRY_DSN", "--dsn", "X-Access"],
)
def test_secret_names(name: str) -> None:
    """Names that have been seen on secrets."""
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["PATH", "PATTERN", "PWD", "OLDPWD", "DESKTOP_SESSION", "XDG_SESSION_ID", "ACCESSIBLE"]
)
def test_other_names(name: str) -> None:
    """Names that only look so."""
    assert not is_secret_name(name)


def test_our_own_options_stay_readable() -> None:
    """``config show`` masks few of our options: those that hold a secret, or where one is."""
    named = {key for key in options_of(build_parser()) if is_secret_name(key)}
    assert {"password", "client-secret"} <= named
    assert not {key for key in named if "session" in key or "path" in key}


def test_what_logs_do_not_show_of_variables() -> None:
    """Values of names that nobody knows, unless they are short, numbers, truth values, or paths that exist."""
    env = [
        ("PLAINX", "SECRETP"),
        ("GREETING", "good morning"),
        ("NODE_ENV", "production"),
        ("PLACE", "/"),
        ("N", "1234567"),
        ("ROOT", __file__),
        ("YES", "true"),
        ("MODE", "quick"),
        ("GH_PAT", "abcd"),
    ]
    options = Namespace(env=env, pass_variable=[], configured=Configured())
    assert {"SECRETP", "good morning", "abcd"} == set(secrets_of(options, {}, None))


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("got ghp_0a1b2c3d4e5f, and", "got ***, and"),
        ("sent Bearer abc123-456.x=, and", "sent Bearer ***, and"),
        ("a Basic login, a Bearer token", "a Basic login, a Bearer token"),
        ("sk-learn and secret_sharing and task-1234567890", "sk-learn and secret_sharing and task-1234567890"),
    ],
)
def test_tokens_in_logs(text: str, masked: str) -> None:
    """They are masked by their looks; plain words stay."""
    assert mask_secrets(text, ()) == masked


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text", ["sk-" * 50_000, "secret_" * 30_000, "eyJ" * 50_000, "Bearer " * 30_000, "ghp_." * 30_000]
)
def test_no_line_holds_anybody_up(text: str) -> None:
    """A hostile line takes no longer than another."""
    assert mask_secrets(text, ()) == text or "***" in mask_secrets(text, ())
