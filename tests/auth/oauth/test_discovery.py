"""Where metadata is, and which of it may be used."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.auth.outbound.oauth.discovery import (
    MetadataRefused,
    ServerMetadata,
    check_pkce,
    read_resource_metadata,
    read_server_metadata,
    resource_metadata_urls,
    server_metadata_urls,
)
from relay.auth.outbound.oauth.urls import UnusableUrl, canonical_url, check_endpoint, covers, is_usable_document

HOST = "https://mcp.example"
WELL = "/.well-known/oauth-protected-resource"
SERVER = f"{HOST}/mcp"
ISSUER = "https://as.example/tenant"


@pytest.mark.parametrize(
    ("url", "named", "expected"),
    [
        (f"{HOST}/mcp", None, [f"{HOST}{WELL}/mcp", f"{HOST}{WELL}"]),
        (f"{HOST}/a/b/?x=1", None, [f"{HOST}{WELL}/a/b", f"{HOST}{WELL}"]),
        (f"{HOST}/", None, [f"{HOST}{WELL}"]),
        (HOST, None, [f"{HOST}{WELL}"]),
        ("wss://MCP.example:443/ws", None, [f"{HOST}{WELL}/ws", f"{HOST}{WELL}"]),
        (f"{HOST}/mcp", "https://other.example/x", ["https://other.example/x"]),
        ("http://10.0.0.1/mcp", "http://10.0.0.1/x", ["http://10.0.0.1/x"]),
    ],
)
def test_o04_candidates_in_order(url: str, named: str | None, expected: list[str]) -> None:
    """O-04: what the challenge names is the only one; else the path, then the root; no query, no last slash."""
    assert resource_metadata_urls(url, named) == expected


@pytest.mark.parametrize("named", ["http://mcp.example/x", "file:///x", "https://u@mcp.example/", "javascript:x", "x"])
def test_o04_an_unusable_address_in_the_challenge_is_refused(named: str) -> None:
    """O-04, O-12: no fallback, and no request."""
    with pytest.raises(UnusableUrl):
        resource_metadata_urls(SERVER, named)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, None),
        ({"resource": None}, "no resource"),
        ({"resource": 7}, "no resource"),
        ({"authorization_servers": None}, "authorization_servers"),
        ({"authorization_servers": []}, "authorization_servers"),
        ({"authorization_servers": [1]}, "authorization_servers"),
        ({"resource": f"{HOST}/other"}, "its resource is"),
    ],
)
def test_o05_a_document_needs_a_resource_and_a_server(change: dict[str, Any], fault: str | None) -> None:
    """O-05."""
    document = {
        "resource": SERVER,
        "authorization_servers": [ISSUER],
        "scopes_supported": ["a", 'b"', "a", 3],
        **change,
    }
    body = json.dumps({name: value for name, value in document.items() if value is not None}).encode()
    if fault is None:
        found = read_resource_metadata(body, SERVER)
        assert found.authorization_servers == (ISSUER,) and found.scopes_supported == ("a",)
        return
    with pytest.raises(MetadataRefused, match=fault):
        read_resource_metadata(body, SERVER)


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"\xff\xfe", b'{"resource"', b"null"])
def test_o05_what_is_no_object_is_refused(body: bytes) -> None:
    """O-05."""
    with pytest.raises(MetadataRefused):
        read_resource_metadata(body, SERVER)


@pytest.mark.parametrize(
    ("resource", "url", "is_covered"),
    [
        (SERVER, SERVER, True),
        (HOST, SERVER, True),
        (f"{HOST}/", SERVER, True),
        ("HTTPS://MCP.example:443/mcp/", SERVER, True),
        (SERVER, f"{HOST}/mcp/a", True),
        (SERVER, f"{HOST}/mcp?x=1", True),
        (SERVER, "wss://mcp.example/mcp", True),
        (SERVER, f"{HOST}/mcp2", False),
        (f"{HOST}/mcp/a", SERVER, False),
        (f"{HOST}/MCP", SERVER, False),
        ("https://mcp.example.evil/mcp", SERVER, False),
        ("http://mcp.example/mcp", SERVER, False),
        ("https://mcp.example:8443/mcp", SERVER, False),
        (f"{SERVER}#x", SERVER, False),
        ("https://u:p@mcp.example/mcp", SERVER, False),
        (SERVER, f"{HOST}/mcp/../admin", False),
        (SERVER, f"{HOST}/mcp/%2e%2e/admin", False),
        ("urn:x", SERVER, False),
        ("", SERVER, False),
    ],
)
def test_o06_a_resource_covers_what_is_below_it(resource: str, url: str, is_covered: bool) -> None:
    """O-06, O-31: the same origin, and a path that ends where a segment ends."""
    assert covers(resource, url) is is_covered


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTPS://MCP.Example:443/Mcp", f"{HOST}/Mcp"),
        (f"{HOST}/", HOST),
        (f"{HOST}/mcp/", f"{HOST}/mcp/"),
        (f"{HOST}/mcp?a=b#c", f"{HOST}/mcp"),
        ("http://localhost:80/", "http://localhost"),
        ("https://[::1]:8443/x", "https://[::1]:8443/x"),
    ],
)
def test_o07_canonical_form(url: str, expected: str) -> None:
    """O-07."""
    assert canonical_url(url) == expected == canonical_url(expected)


_HOSTS = st.sampled_from(["h", "MCP.Example", "a-b.c", "127.0.0.1", "[::1]", "localhost."])
_PORTS = st.sampled_from(["", ":80", ":443", ":8443", ":0", ":99999", ":"])
_PATHS = st.lists(st.sampled_from(["", "a", "MCP", "%2F", "a.b", "~", "..", "%2e"]), max_size=4).map("/".join)


@settings(max_examples=60)
@given(st.sampled_from(["http", "HTTPS", "wss"]), _HOSTS, _PORTS, _PATHS, st.sampled_from(["", "?a=b", "#c"]))
def test_o07_a_canonical_form_is_its_own(scheme: str, host: str, port: str, path: str, tail: str) -> None:
    """O-06, O-07: every server is covered by its own canonical URL."""
    url = f"{scheme}://{host}{port}/{path}{tail}"
    try:
        canonical = canonical_url(url)
    except UnusableUrl:
        return
    assert canonical_url(canonical) == canonical
    if not {"..", "%2e"} & set(path.split("/")):
        assert covers(canonical, url)


@pytest.mark.parametrize(
    ("issuer", "expected"),
    [
        (
            "https://as.example/t/1",
            [
                "https://as.example/.well-known/oauth-authorization-server/t/1",
                "https://as.example/.well-known/openid-configuration/t/1",
                "https://as.example/t/1/.well-known/openid-configuration",
            ],
        ),
        (
            "https://as.example/",
            [
                "https://as.example/.well-known/oauth-authorization-server",
                "https://as.example/.well-known/openid-configuration",
            ],
        ),
    ],
)
def test_o10_metadata_of_an_issuer(issuer: str, expected: list[str]) -> None:
    """O-10."""
    assert server_metadata_urls(issuer) == expected


def metadata(**change: Any) -> bytes:
    document = {
        "issuer": ISSUER,
        "authorization_endpoint": "https://as.example/authorize",
        "token_endpoint": "https://as.example/token",
        "code_challenge_methods_supported": ["plain", "S256"],
        **change,
    }
    return json.dumps({name: value for name, value in document.items() if value is not None}).encode()


@pytest.mark.parametrize(
    "issuer",
    [
        f"{ISSUER}/",
        "https://AS.example/tenant",
        "https://as.example:443/tenant",
        "https://as.example/Tenant",
        "",
        None,
        7,
    ],
)
def test_o11_the_issuer_must_be_identical(issuer: object) -> None:
    """O-11: no normalisation."""
    with pytest.raises(MetadataRefused, match="its issuer is"):
        read_server_metadata(metadata(issuer=issuer), ISSUER, at="")


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://as.example/x", "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "https://u@as.example/",
        "https://as.example/#x", "https://as.example/a b", "https://as.example/\n", "https://as.example/`x`",
        "//as/x", "",
        "https://as.example/" + "x" * 2048, "https://[::1", 5, "https://as.example\\@evil.example/", "-https://as.example",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["authorization_endpoint", "registration_endpoint", "device_authorization_endpoint"])
def test_o12_endpoints_that_are_refused(name: str, endpoint: object) -> None:
    """O-12: each of them, not only the token endpoint."""
    with pytest.raises(MetadataRefused):
        read_server_metadata(metadata(**{name: endpoint}), ISSUER, at="")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_o12_http_is_for_this_machine(host: str) -> None:
    """O-12: or if the operator says so."""
    url = f"http://{host}:8080/token"
    assert check_endpoint(url) == url
    with pytest.raises(UnusableUrl, match="--oauth-allow-http"):
        check_endpoint("http://10.0.0.1/token")
    assert check_endpoint("http://10.0.0.1/token", allow_http=True)


def test_o10_a_token_endpoint_is_needed() -> None:
    """O-12."""
    with pytest.raises(MetadataRefused, match="token_endpoint"):
        read_server_metadata(metadata(token_endpoint=None), ISSUER, at="")


@pytest.mark.parametrize("methods", [None, [], ["plain"], "S256", [256]])
def test_o13_without_s256_the_server_is_refused(methods: object) -> None:
    """O-13: and the error names the way out; also for a document of OpenID Connect."""
    found = read_server_metadata(
        metadata(code_challenge_methods_supported=methods), ISSUER, at=f"{ISSUER}/.well-known/openid-configuration"
    )
    assert found.is_openid
    with pytest.raises(MetadataRefused, match="--oauth-assume-pkce"):
        check_pkce(found)
    check_pkce(read_server_metadata(metadata(), ISSUER, at=""))


_FIELDS = [*ServerMetadata.__struct_fields__, "userinfo_endpoint"]
_ODD = st.sampled_from([None, True, 7, "", "x", "https://as.example/y", [], [None], ["S256"], [["a"]], {}, {"a": 1}])


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from(_FIELDS), _ODD, max_size=6))
def test_o10_no_document_breaks_the_reader(change: dict[str, Any]) -> None:
    """O-05, O-10: a field of any type is ignored or refused."""
    try:
        found = read_server_metadata(metadata(**change), ISSUER, at="")
    except MetadataRefused:
        return
    assert found.issuer == ISSUER and found.token_endpoint.startswith("https://")


@pytest.mark.parametrize(
    ("url", "is_usable"),
    [
        ("https://relay.example/client.json", True), ("https://relay.example/", False),
        ("https://relay.example", False),
        ("http://relay.example/client.json", False), ("https://relay.example/a#b", False), ("client.json", False),
    ],
)  # fmt: skip
def test_o16_a_document_has_an_address_of_its_own(url: str, is_usable: bool) -> None:
    """O-16."""
    assert is_usable_document(url) is is_usable
