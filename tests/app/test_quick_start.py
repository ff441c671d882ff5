"""aiohttp is imported without loading the system's certificates, and the trick leaves no trace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


def test_the_systems_types_of_files_are_not_read(tmp_path: Path) -> None:
    """The relay serves no files; elsewhere aiohttp's server reads them when it is imported."""
    types = tmp_path / "mime.types"
    types.write_text("text/x-ours ours\n")
    code = f"""
import mimetypes
mimetypes.knownfiles = [{str(types)!r}]
if {{quickly}}:
    from relay.app.run.quick_start import import_aiohttp
    import_aiohttp()
import aiohttp.web
print(mimetypes.types_map.get(".ours"))
"""
    words = [[sys.executable, "-c", code.replace("{quickly}", one)] for one in ("False", "True")]
    assert [subprocess.check_output(one, text=True).strip() for one in words] == ["text/x-ours", "None"]
