"""aiohttp is imported without loading the system's certificates, and the trick leaves no trace."""

from __future__ import annotations

import os

import pytest

from relay.app.run.quick_start import _no_certificates


def test_the_environment_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that was set is set again, one that was not is gone, after a failure too."""
    monkeypatch.setenv("SSL_CERT_FILE", "/some/where.pem")
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    with pytest.raises(ImportError), _no_certificates():
        assert os.environ["SSL_CERT_FILE"] == os.environ["SSL_CERT_DIR"] == os.devnull
        raise ImportError
    assert os.environ["SSL_CERT_FILE"] == "/some/where.pem"
    assert "SSL_CERT_DIR" not in os.environ
