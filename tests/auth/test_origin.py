"""OriginPolicy as tables: which Host and which Origin it admits."""

from __future__ import annotations

import pytest

from relay.auth.origin import OriginPolicy, is_host, is_loopback, is_origin


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("10.0.0.1", False),
        ("example.com", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("127.1", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    """Only what is of this machine for certain counts: a bind elsewhere needs authentication."""
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("text", "host", "origin"),
    [
        ("a.example", True, False),
        ("A-b_c.example.:8080", True, False),
        ("10.0.0.1:80", True, False),
        ("[fd00::1]:80", True, False),
        ("fd00::1", True, False),
        ("https://app.example.com", False, True),
        ("http://localhost:3000/", False, True),
        ("http://[::1]:3000", False, True),
        ("vscode-webview://1a2b", False, True),
        ("null", True, True),
        ("", False, False),
        ("*", False, False),
        ("*.example.com", False, False),
        ("https://*.example.com", False, False),
        ("m\xfcnchen.example", False, False),
        ("a.example/path", False, False),
        ("a.example:x", False, False),
        ("a.example,b.example", False, False),
        ("https://a.example/path", False, False),
        ("https://me@a.example", False, False),
        ("https://", False, False),
        ("://a.example", False, False),
        ("file:///", False, False),
        ("a.example[::1]", False, False),
        ("[::1].a.example", False, False),
        ("[10.0.0.1]", False, False),
        ("a\t.example", False, False),
        ("http://a.example[::1]", False, False),
        ("http://::1", False, False),
        ("http://a\t.example", False, False),
    ],
)
def test_what_an_operator_can_admit(text: str, host: bool, origin: bool) -> None:
    """What a browser can send, so that nothing is admitted in vain."""
    assert is_host(text) is host
    assert is_origin(text) is origin


LOOPBACK_HOSTS = [
    "localhost",
    "localhost:8080",
    "LocalHost:80",
    "127.0.0.1",
    "127.0.0.1:8080",
    "127.0.0.2:1",
    "[::1]",
    "[::1]:8080",
    "localhost:",
]
FOREIGN_HOSTS = [
    "example.com",
    "example.com:8080",
    "evil.localhost.example.com",
    "localhost.example.com",
    "localhost.",
    "127.0.0.1.nip.io",
    "127.0.0.1.example.com:8080",
    "10.0.0.1",
    "0.0.0.0",
    "0.0.0.0:8080",
    "[::]",
    "[fd00::1]:80",
    "2130706433",
    "0x7f000001",
    "127.1",
    "user@localhost",
    "localhost@evil.com",
    "localhost:8080@evil.com",
    "localhost/evil",
    "localhost?x",
    "localhost#x",
    "localhost:x",
    "localhost:99999",
    "localhost:-1",
    "localhost:80:80",
    "[::1",
    "::1]",
    "::1",
    "",
    ":",
    ":8080",
    " ",
    "@",
    "[",
    "[]",
    "loc alhost",
    "http://localhost",
    "localhost,example.com",
    "localhöst",
    "\0",
    "[::ffff:7f00:1]x",
    *(odd.format(good) for good in ("[::1]", "[::1]:8080") for odd in ("evil.com{}", "a{}", "localhost{}", "user@{}")),
    *(odd.format(good) for good in ("[::1]", "[127.0.0.1]") for odd in ("{}.evil.com", "{}evil.com", "{}x:80", "[{}]")),
    "[127.0.0.1]",
    "[localhost]",
    "[::1%eth0]",
    "[::1%25lo]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]:80",
    "[::1]:65536",
    "[::1]:+80",
    "[::1]:80:80",
    "localhost:\u0668",
    "localhost:000080",
    "localhost..",
    ".localhost",
    "local..host",
    "local%68ost",
    "127.0.0.1%00",
    "127.0.0.1.",
    "127.0.0.01",
    "0177.0.0.1",
    "017700000001",
    "127.0.0.0x1",
    *(f"{start}localhost{end}" for start, end in (("\t", ""), ("", "\n"), ("", "\t"), ("", " "), (" ", ""))),
    "loc\talhost",
    "local\nhost",
    "\u24dbocalhost",
    "localhost\\",
    "@localhost",
    ":@localhost",
]


@pytest.mark.parametrize("host", LOOPBACK_HOSTS)
@pytest.mark.parametrize("bind", ["127.0.0.1", "::1", "localhost"])
def test_bound_to_loopback_it_answers_to_loopback_names(host: str, bind: str) -> None:
    """With any port: a forwarded one differs from ours."""
    policy = OriginPolicy(bind)
    assert policy.admits_host(host)
    assert policy.admits_host(host), "remembered"


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_bound_to_loopback_it_answers_to_no_other_name(host: str) -> None:
    """A name that was rebound to 127.0.0.1 is still the attacker's name."""
    assert not OriginPolicy("127.0.0.1").admits_host(host)
    assert not OriginPolicy("127.0.0.1").admits_host(None)


def test_bound_elsewhere_it_answers_to_any_name_until_told() -> None:
    """It cannot know its names; once it is told, only those are."""
    open_policy = OriginPolicy("0.0.0.0")
    assert open_policy.admits_host("relay.example.com")
    assert open_policy.admits_host(None)
    assert not open_policy.admits_host("a/b")
    told = OriginPolicy("0.0.0.0", ["relay.example.com"])
    assert told.admits_host("Relay.Example.com:8443")
    assert not told.admits_host("other.example.com")
    assert not told.admits_host(None)


@pytest.mark.parametrize("host", LOOPBACK_HOSTS)
def test_bound_elsewhere_it_still_answers_to_loopback_names(host: str) -> None:
    """No page that was rebound to us has such a name; one that is of the visitor's own machine may not come in."""
    told = OriginPolicy("0.0.0.0", ["relay.example.com"])
    assert told.admits_host(host)
    assert not told.admits_origin(f"http://{host}")
    assert not any(told.admits_host(foreign) for foreign in FOREIGN_HOSTS)


@pytest.mark.parametrize(
    ("allowed", "admitted", "refused"),
    [
        (
            "relay.example.com",
            ["relay.example.com", "RELAY.example.com:1"],
            ["x.relay.example.com", "example.com", "relay.example.com."],
        ),
        ("Relay.Example.com:8443", ["relay.example.com:8443"], ["relay.example.com", "relay.example.com:80"]),
        ("[fd00::1]", ["[fd00::1]", "[FD00::1]:8080"], ["[fd00::2]"]),
        ("[fd00::1]:80", ["[fd00::1]:80"], ["[fd00::1]", "[fd00::1]:81"]),
        ("10.0.0.5", ["10.0.0.5:1"], ["10.0.0.50"]),
    ],
)
def test_allowed_hosts(allowed: str, admitted: list[str], refused: list[str]) -> None:
    """A name with or without a port, beside the loopback ones; a page served from there may come in, too."""
    policy = OriginPolicy("127.0.0.1", [allowed])
    assert all(policy.admits_host(host) for host in [*admitted, *LOOPBACK_HOSTS])
    assert not any(policy.admits_host(host) for host in refused)
    assert all(policy.admits_origin(f"https://{host}") for host in admitted)
    assert not any(policy.admits_origin(f"https://{host}") for host in refused)


def test_made_up_hosts_cost_no_memory() -> None:
    """What is remembered is bounded; beyond it the answer is the same."""
    policy = OriginPolicy("127.0.0.1")
    assert all(policy.admits_host(f"localhost:{port}") for port in range(1, 1000))
    assert len(policy._known_hosts) == 64


ADMITTED_ORIGINS = [
    "http://localhost",
    "http://localhost:3000",
    "HTTP://LOCALHOST:3000",
    "https://127.0.0.1",
    "http://[::1]:80",
]
FOREIGN_ORIGINS = [
    "null",
    "",
    "http://example.com",
    "https://localhost.example.com",
    "http://localhost.",
    "http://localhost@evil.com",
    "http://user@localhost",
    "http://localhost:3000/path",
    "http://localhost/",
    "file://",
    "file:///etc",
    "ftp://localhost",
    "chrome-extension://abc",
    "vscode-webview://localhost",
    "localhost",
    "//localhost",
    "://localhost",
    "http:localhost",
    "http://",
    "http://[",
    "http://localhost:99999",
    "http://127.0.0.1.nip.io",
    "http://10.0.0.1",
    "javascript://localhost",
    *(f"http://{host}" for host in FOREIGN_HOSTS),
    *(f"{origin}{end}" for origin in ("http://localhost", "http://[::1]") for end in ("\t", "\n", " ", "\r", "#", "?")),
]


@pytest.mark.parametrize("origin", ADMITTED_ORIGINS)
def test_pages_of_this_machine_may_come_in(origin: str) -> None:
    """Any port: the Inspector runs on one of its own. CORS headers they get only where the operator said so."""
    policy = OriginPolicy("127.0.0.1")
    assert policy.admits_origin(origin)
    assert policy.cors_headers(origin) == {}
    assert not OriginPolicy("0.0.0.0").admits_origin(origin), "not to a listener for other machines"


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_other_pages_may_not(origin: str) -> None:
    """Also not with an opaque origin, userinfo, or a scheme that is no web page's."""
    assert not OriginPolicy("127.0.0.1").admits_origin(origin)


@pytest.mark.parametrize(
    ("fetch_site", "admitted"), [(None, True), ("none", True), ("same-origin", True), ("cross-site", False)]
)
def test_a_browser_without_origin_is_seen_by_its_fetch_site(fetch_site: str | None, admitted: bool) -> None:
    """Programs send neither header; a cross-site GET of a browser sends no Origin but says where it comes from."""
    assert OriginPolicy("127.0.0.1").admits_origin(None, fetch_site) is admitted
    assert OriginPolicy("127.0.0.1", (), ["*"]).admits_origin(None, fetch_site) is admitted


def test_allowed_origins_are_exact() -> None:
    """Scheme, host and port, in any case, with or without a last slash; null only if named."""
    policy = OriginPolicy("127.0.0.1", (), ["https://App.example.com/", "null"])
    assert policy.admits_origin("https://app.example.com")
    assert policy.admits_origin("null")
    for origin in ("http://app.example.com", "https://app.example.com:8443", "https://x.app.example.com"):
        assert not policy.admits_origin(origin)
        assert policy.cors_headers(origin) == {}


def test_a_star_admits_every_origin() -> None:
    """The operator's word counts; Host is still checked."""
    policy = OriginPolicy("127.0.0.1", (), ["*"])
    assert policy.any_origin
    assert all(policy.admits_origin(origin) for origin in [*ADMITTED_ORIGINS, *FOREIGN_ORIGINS])
    assert not policy.admits_host("example.com")
    assert policy.cors_headers("https://any.example.com")["Access-Control-Allow-Origin"] == "*"


def test_cors_headers() -> None:
    """The session id is exposed, credentials never are; a preflight admits the headers it asks for."""
    policy = OriginPolicy("127.0.0.1", (), ["https://app.example.com"])
    plain = policy.cors_headers("https://app.example.com")
    assert plain == {
        "Access-Control-Allow-Origin": "https://app.example.com",
        "Access-Control-Expose-Headers": "Mcp-Session-Id, WWW-Authenticate",
        "Vary": "Origin",
    }
    preflight = policy.cors_headers("https://app.example.com", "mcp-name, mcp-param-x")
    assert preflight["Access-Control-Allow-Headers"] == "mcp-name, mcp-param-x"
    assert preflight["Access-Control-Allow-Methods"] == "GET, POST, DELETE, OPTIONS"
    assert "Mcp-Session-Id" in policy.cors_headers("https://app.example.com", "")["Access-Control-Allow-Headers"]
    assert not any("Credentials" in name for name in preflight)
    assert policy.cors_headers(None) == {}
