"""A wrong certificate or key file is one line that names the file and the fault, before the relay listens."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from relay import cli
from relay.app.options.certificates import dialling_context, listening_context
from relay.errors import ConfigError
from tests.e2e.authority import Authority

URL = "https://127.0.0.1:9/mcp"
LISTENING = [
    (["--tls-cert", "{nowhere}"], "--tls-cert: '{nowhere}' cannot be read: No such file or directory"),
    (["--tls-cert", "{folder}"], "--tls-cert: '{folder}' cannot be read: Is a directory"),
    (["--tls-cert", "{text}"], "--tls-cert: '{text}' is not a PEM file: it has no line -----BEGIN CERTIFICATE-----"),
    (["--tls-cert", "{broken}", "--tls-key", "{server-key}"], "--tls-cert: '{broken}' cannot be used: "),
    (["--tls-cert", "{server-key}"], "--tls-cert: '{server-key}' does not hold a certificate"),
    (["--tls-cert", "{server-cert}"], "does not hold a private key; --tls-key FILE names another file"),
    (["--tls-cert", "{server-cert}", "--tls-key", "{nowhere}"], "--tls-key: '{nowhere}' cannot be read: No such file"),
    (["--tls-cert", "{server-cert}", "--tls-key", "{text}"], "--tls-key: '{text}' is not a PEM file"),
    (["--tls-cert", "{server-cert}", "--tls-key", "{client-key}"], "is not that of the certificate in '{server-cert}'"),
    (["--tls-cert", "{server}", "--tls-client-ca", "{nowhere}"], "--tls-client-ca: '{nowhere}' cannot be read"),
    (["--tls-cert", "{server}", "--tls-client-ca", "{client-key}"], "'{client-key}' does not hold a certificate"),
    (["--tls-key", "{server-key}"], "--tls-key has no effect without --tls-cert FILE"),
    (["--tls-client-ca", "{ca}"], "--tls-client-ca has no effect without --tls-cert FILE"),
    (["--listen", "https://127.0.0.1:0/mcp"], "--listen https://127.0.0.1:0: TLS needs a certificate: --tls-cert FILE"),
    (["--listen", "wss://127.0.0.1:0/mcp"], "TLS needs a certificate: --tls-cert FILE"),
    (["--listen", "tls://[::1]:0"], "--listen tls://[::1]:0: TLS needs a certificate: --tls-cert FILE"),
    (["--tls-cert", "{server}", "--listen", "https://0.0.0.0:0"], "demand certificates with --tls-client-ca"),
]
DIALLING = [
    (["--ca-file", "{nowhere}", URL], "--ca-file: '{nowhere}' cannot be read: No such file or directory"),
    (["--ca-file", "{text}", URL], "--ca-file: '{text}' is not a PEM file"),
    (["--verify-ssl", "{server-key}", URL], "--verify-ssl: '{server-key}' does not hold a certificate"),
    (["--verify-ssl", "perhaps", URL], "--verify-ssl: 'perhaps': expected true, false or a PEM file; there is no such"),
    (["--verify-ssl", URL], f"'{URL}' is an address: put it before --verify-ssl, or write --verify-ssl=true"),
    (["--client-cert", "{client-cert}", URL], "does not hold a private key; --client-key FILE names another file"),
    (["--client-cert", "{client-cert}", "--client-key", "{server-key}", URL], "is not that of the certificate in"),
    (["--client-key", "{client-key}", URL], "--client-key has no effect without --client-cert"),
    (["--ca-file", "{ca}", "--no-verify-ssl", URL], "--ca-file and --verify-ssl contradict each other: leave one out"),
    (["--ca-file", "{ca}", "--verify-ssl", "{other-ca}", URL], "--ca-file and --verify-ssl contradict each other"),
]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Certificates of an authority, beside files that are none."""
    authority = Authority.made(tmp_path_factory.mktemp("certificates"))
    Path(authority["text"]).write_text("no certificate\n")
    Path(authority["broken"]).write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    return authority


def filled(text: str, authority: Authority) -> str:
    """Put paths where names in braces stand."""
    for name in ("nowhere", "text", "broken", "ca", "other-ca", "server", "server-cert", "server-key", "client-key"):
        text = text.replace(f"{{{name}}}", authority[name])
    return text.replace("{client-cert}", authority["client-cert"]).replace("{folder}", str(authority.folder))


@pytest.mark.parametrize(("words", "message"), LISTENING)
def test_wrong_files_to_listen_with(
    words: list[str], message: str, authority: Authority, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line, exit code 2, and nothing has listened."""
    assert cli.main([*(filled(word, authority) for word in words), "--", "true"]) == 2
    said = capfd.readouterr().err
    assert filled(message, authority) in said
    assert said.count("\n") == 1 and "listening" not in said


@pytest.mark.parametrize("command", ["", "test", "proxy", "load-balance"])
@pytest.mark.parametrize(("words", "message"), DIALLING)
def test_wrong_files_to_dial_with(
    words: list[str], message: str, command: str, authority: Authority, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every command that dials says the same of them."""
    given = [filled(word, authority) for word in words]
    if command in ("proxy", "load-balance") and given[0] != "--verify-ssl":
        given[-1:] = ["--endpoint" if command == "proxy" else "--endpoints", URL]
    elif command in ("proxy", "load-balance"):
        given = [
            "--endpoint" if command == "proxy" else "--endpoints",
            URL,
            *(given if given[1:2] == [URL] else given[:-1]),
        ]
    assert cli.main([command, *given] if command else given) == 2
    said = capfd.readouterr().err
    assert filled(message, authority) in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("style", ["pkey", "ec"])
def test_an_encrypted_key_is_not_asked_for(style: str, authority: Authority, tmp_path: Path) -> None:
    """OpenSSL would ask the terminal for the password, and hold up everything meanwhile."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to encrypt a key with")
    key = tmp_path / "encrypted.pem"
    command = ["openssl", style, "-in", authority["server-key"], "-aes128", "-passout", "pass:word", "-out", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(ConfigError, match=r"^--tls-key: the key in '.*' is encrypted; .*: openssl pkey -in FILE"):
        listening_context(authority["server-cert"], str(key), None)


def test_what_the_contexts_demand(authority: Authority) -> None:
    """TLS 1.2 at least; a client's certificate if an authority for it is named; only the authorities that are named."""
    plain = listening_context(authority["server"], None, None)
    demanding = listening_context(authority["server-cert"], authority["server-key"], authority["ca"])
    assert (plain.verify_mode, demanding.verify_mode) == (ssl.CERT_NONE, ssl.CERT_REQUIRED)
    dialling = dialling_context(authority["ca"], "--ca-file", None, None)
    assert dialling.verify_mode is ssl.CERT_REQUIRED and dialling.check_hostname
    assert len(dialling.get_ca_certs()) == 1
    for context in (plain, demanding, dialling, dialling_context(None, "--ca-file", None, None)):
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
