"""The store: private whatever the umask, whole whatever dies, and bound to issuers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import platformdirs
import pytest

from relay.auth.outbound.oauth.records import Client, OpenWindow, ServerEntry, Tokens
from relay.endpoints.http.client.oauth import keyring_store, store, stores
from relay.endpoints.http.client.oauth.files import PrivateFileRefused, read_private, write_private
from relay.endpoints.http.client.oauth.keyring_store import KeyringStore
from relay.endpoints.http.client.oauth.store import LockBusy, Store, store_directory
from relay.endpoints.http.client.oauth.stores import MemoryStore, open_store
from relay.errors import ConfigError

pytestmark = pytest.mark.only_loop("uvloop")
URL = "https://mcp.example/mcp"


def tokens(**fields: Any) -> Tokens:
    made: dict[str, Any] = {
        "issuer": "https://as.example",
        "resource": URL,
        "profile": "",
        "client": Client(client_id="c", client_secret="canary-secret", auth_method="client_secret_basic"),
        "token_endpoint": "https://as.example/token",
        "access_token": "canary-access",
        "refresh_token": "canary-refresh",
        "is_refreshable": True,
        **fields,
    }
    return Tokens(**made)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes")
async def test_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    """O-40: directory 0700, files 0600, also the locks."""
    before = os.umask(0)
    try:
        kept = Store(tmp_path / "deep" / "auth")
        await kept.save_tokens(URL, tokens())
        kept.save_window(window())
        async with kept.lock("a", 1):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE(kept.directory.stat().st_mode) == 0o700
    files = list(kept.directory.iterdir())
    assert len(files) >= 3 and {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def window(**fields: Any) -> OpenWindow:
    made: dict[str, Any] = {
        "url": URL, "profile": "", "issuer": "i", "resource": URL, "client": Client(client_id="c"),
        "token_endpoint": "t", "created": 1.0, "shown_url": "u",
    }  # fmt: skip
    return OpenWindow(**{**made, **fields})


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes")
def test_what_others_may_read_or_replace_is_refused(tmp_path: Path) -> None:
    """O-40, O-41: a link, a file and a directory that are open to others; the message says how to mend it."""
    folder = tmp_path / "auth"
    write_private(folder / "a.json", b"{}")
    (folder / "link.json").symlink_to(folder / "a.json")
    with pytest.raises(PrivateFileRefused, match=r"link\.json"):
        read_private(folder / "link.json")
    with pytest.raises(PrivateFileRefused, match="is a link"):
        write_private(folder / "link.json", b"{}")
    (folder / "a.json").chmod(0o640)
    with pytest.raises(PrivateFileRefused, match="chmod 600"):
        read_private(folder / "a.json")
    folder.chmod(0o755)
    with pytest.raises(PrivateFileRefused, match="chmod 700"):
        write_private(folder / "b.json", b"{}")
    assert not (folder / "b.json").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(PrivateFileRefused, match="no directory"):
        write_private(tmp_path / "file" / "a.json", b"{}")


_WRITER = """
import itertools, sys
from pathlib import Path
from relay.endpoints.http.client.oauth.files import write_private
path = Path(sys.argv[1])
print("ready", flush=True)
for number in itertools.count():
    write_private(path, b'{"number":%d,"padding":"%s"}' % (number, b"x" * (number % 5000)))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_a_writer_that_is_killed_leaves_a_whole_file(tmp_path: Path) -> None:
    """O-40: kill -9 at random points, while another reads; the file always parses."""
    path = tmp_path / "auth" / "a.json"
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None and writer.stdout.readline()
            for _ in range(random.randrange(1, 60)):
                content = read_private(path)
                assert content is None or "number" in msgspec.json.decode(content)
            writer.send_signal(signal.SIGKILL)
        content = read_private(path)
        assert content is None or "number" in msgspec.json.decode(content)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """O-40: a full disk."""
    path = tmp_path / "auth" / "a.json"
    write_private(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_private(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == ["a.json"]


async def test_a_login_is_found_under_its_issuer_only(tmp_path: Path) -> None:
    """O-42: the issuer is part of the name, and stands inside; a file under a false name is no login."""
    kept = Store(tmp_path / "auth")
    names = {tokens(**change).key for change in (
        {}, {"issuer": "https://as.example/"}, {"resource": URL + "/"}, {"profile": "x"},
        {"client": Client(client_id="d")},
    )}  # fmt: skip
    assert len(names) == 5
    await kept.save_tokens(URL, tokens())
    entry = kept.entry(URL, "")
    assert kept.tokens_of(entry) == tokens() and kept.entry(URL, "x").token_key is None
    foreign = tokens(issuer="https://evil.example")
    kept._write(tokens().key, msgspec.json.encode(foreign))
    assert kept.tokens_of(entry) is None
    kept._write(tokens().key, b"not json")
    assert kept.tokens_of(entry) is None
    assert kept.tokens_of(ServerEntry(url=URL, profile="")) is None


async def test_a_lock_excludes_tasks_and_ends_with_them(tmp_path: Path) -> None:
    """O-43."""
    for kept in (Store(tmp_path / "auth"), MemoryStore()):
        async with kept.lock("a", 1), kept.lock("b", 1):
            with pytest.raises(LockBusy):
                async with kept.lock("a", 0.01):
                    raise AssertionError("two hold it")
        order: list[int] = []

        async def hold(number: int, kept: Store = kept, order: list[int] = order) -> None:
            async with kept.lock("a", 20):
                order.append(number)
                await asyncio.sleep(0)
                order.append(number)

        await asyncio.gather(*map(hold, range(5)))
        assert order[::2] == order[1::2]


def test_the_directory_is_where_the_system_keeps_a_users_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """O-40: platformdirs is the oracle, which a start does not import on Linux."""
    monkeypatch.delenv("MCP_RELAY_AUTH_DIR", raising=False)
    for data in ("", str(tmp_path)):
        monkeypatch.setenv("XDG_DATA_HOME", data)
        assert store_directory() == platformdirs.user_data_path("mcp-relay", appauthor=False) / "auth"
    monkeypatch.setenv("MCP_RELAY_AUTH_DIR", str(tmp_path / "mine"))
    assert store_directory() == tmp_path / "mine"
    assert store_directory(str(tmp_path / "given")) == tmp_path / "given"


class FakeKeyring:
    """A keyring in memory, under the functions of the package."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self.answers = threading.Event()
        self.answers.set()

    def get_password(self, service: str, name: str) -> str | None:
        self.answers.wait()
        return self.kept.get((service, name))

    def set_password(self, service: str, name: str, text: str) -> None:
        self.kept[service, name] = text

    def delete_password(self, service: str, name: str) -> None:
        import keyring.errors

        if self.kept.pop((service, name), None) is None:
            raise keyring.errors.PasswordDeleteError


@pytest.fixture
def fake_keyring(monkeypatch: pytest.MonkeyPatch) -> FakeKeyring:
    import keyring

    made = FakeKeyring()
    for name in ("get_password", "set_password", "delete_password"):
        monkeypatch.setattr(keyring, name, getattr(made, name))
    return made


async def test_a_keyring_keeps_what_lasts(tmp_path: Path, fake_keyring: FakeKeyring) -> None:
    """O-44: refresh token and client secret are in no file; a start needs no keyring."""
    kept = KeyringStore(tmp_path / "auth")
    await kept.save_tokens(URL, tokens())
    client = Client(client_id="c", client_secret="canary-secret", auth_method="client_secret_post", redirect_uri="r")
    await kept.save_client("i", client)
    text = "".join(file.read_text() for file in kept.directory.iterdir())
    assert "canary-access" in text and "canary-refresh" not in text and "canary-secret" not in text
    entry = kept.entry(URL, "")
    assert entry.kept_in == "keyring"
    found = Store(kept.directory).tokens_of(entry)
    assert found is not None and found.is_refreshable and found.refresh_token is None
    assert await kept.load_tokens(entry) == tokens()
    assert await kept.client("i", "r") == client
    await kept.delete_tokens(tokens())
    await kept.delete_client("i", client)
    assert not fake_keyring.kept and await kept.load_tokens(entry) is None


async def test_a_keyring_that_does_not_answer_is_an_error(
    tmp_path: Path, fake_keyring: FakeKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """O-44: after 5 s."""
    monkeypatch.setattr(keyring_store, "_SECONDS", 0.01)
    kept = KeyringStore(tmp_path / "auth")
    await kept.save_tokens(URL, tokens())
    fake_keyring.answers.clear()
    with pytest.raises(ConfigError, match="--token-store file"):
        await kept.load_tokens(kept.entry(URL, ""))
    fake_keyring.answers.set()


def test_auto_falls_back_to_files_with_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """O-44: keyring without a keyring is an error; auto is not."""
    warned: list[str] = []
    monkeypatch.setattr(stores, "fault_of_keyring", lambda: "this system has no keyring")
    found = open_store("auto", str(tmp_path), warn=warned.append)
    assert type(found) is Store and len(warned) == 1 and "no keyring" in warned[0]
    with pytest.raises(ConfigError, match="--token-store file"):
        open_store("keyring", str(tmp_path))
    monkeypatch.setattr(stores, "fault_of_keyring", lambda: None)
    assert type(open_store("auto", str(tmp_path))) is KeyringStore
    assert type(open_store("memory", None)) is MemoryStore


def test_this_machines_keyring_is_judged() -> None:
    """O-44: whatever it is, there is an answer, and no traceback."""
    assert keyring_store.fault_of_keyring() is None or "keyring" in str(keyring_store.fault_of_keyring())


async def test_memory_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """O-44."""
    monkeypatch.chdir(tmp_path)
    kept = MemoryStore()
    await kept.save_tokens(URL, tokens())
    assert kept.tokens_of(kept.entry(URL, "")) == tokens() and list(kept.entries())
    with contextlib.suppress(FileNotFoundError):
        assert not list(tmp_path.iterdir())
    assert store.Store(tmp_path / "none").entry(URL, "").token_key is None
