"""Which proxy a URL is asked for through: what the environment says, and what is never asked of a proxy."""

from __future__ import annotations

import base64
import os

import pytest
from yarl import URL

from relay.endpoints.http.client.proxy import proxy_for
from relay.errors import ConfigError

BOTH = {"HTTP_PROXY": "http://plain:1", "HTTPS_PROXY": "http://secure:2"}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the proxies of whoever runs the tests."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")] + ["REQUEST_METHOD"]:
        monkeypatch.delenv(name, raising=False)


def chosen(url: str, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> str | None:
    """Return the address of the proxy for a URL."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    proxy = proxy_for(URL(url))
    return None if proxy is None else str(proxy)


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        ("http://h/mcp", {}, None),
        ("http://h/mcp", BOTH, "http://plain:1"),
        ("https://h/mcp", BOTH, "http://secure:2"),
        ("ws://h/mcp", BOTH, "http://plain:1"),
        ("wss://h/mcp", BOTH, "http://secure:2"),
        ("https://h/mcp", {"https_proxy": "proxy.corp:3128"}, "http://proxy.corp:3128"),
        ("https://h/mcp", {"https_proxy": "https://proxy.corp:3128/"}, "https://proxy.corp:3128"),
        ("https://h/mcp", {"https_proxy": "http://lower:1", "HTTPS_PROXY": "http://upper:1"}, "http://lower:1"),
        ("https://h/mcp", {"HTTPS_PROXY": ""}, None),
        ("https://h/mcp", {"ALL_PROXY": "http://all:3"}, "http://all:3"),
        ("https://h/mcp", {"ALL_PROXY": "socks5://all:3", **BOTH}, "http://secure:2"),
        ("http://h/mcp", {**BOTH, "REQUEST_METHOD": "GET"}, None),  # CGI: a request could set HTTP_PROXY
        ("https://h/mcp", {**BOTH, "NO_PROXY": "*"}, None),
        ("https://a.h.example/mcp", {**BOTH, "NO_PROXY": "other, h.example"}, None),
        ("https://a.h.example/mcp", {**BOTH, "no_proxy": ".h.example"}, None),
        ("https://ah.example/mcp", {**BOTH, "NO_PROXY": "h.example"}, "http://secure:2"),
        ("https://h:8443/mcp", {**BOTH, "NO_PROXY": "h:8443"}, None),
        ("https://h/mcp", {**BOTH, "NO_PROXY": "h:8443"}, "http://secure:2"),
        ("https://[2001:db8::1]/mcp", {**BOTH, "NO_PROXY": "2001:db8::1"}, None),
        ("https://[2001:db8::1]/mcp", {**BOTH, "NO_PROXY": "[2001:db8::1]"}, None),
        ("http://localhost:8080/mcp", BOTH, None),
        ("http://LOCALHOST./mcp", BOTH, None),
        ("http://127.3.2.1/mcp", BOTH, None),
        ("https://[::1]/mcp", BOTH, None),
        ("http://localhost.example/mcp", BOTH, "http://plain:1"),
    ],
)
def test_which_proxy(
    url: str, environment: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As urllib has it; ALL_PROXY as curl has it; loopback never."""
    assert chosen(url, monkeypatch, environment) == expected


@pytest.mark.parametrize("value", ["socks5://me:canary@h:1", "http://", "http://me:canary@h:port", "ftp://h"])
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "ALL_PROXY"])
def test_what_is_no_proxy(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named, what is known is said, and no login is shown."""
    expected = rf"^{name} is not (a proxy URL|the URL of a supported proxy).*expected http://host:port"
    with pytest.raises(ConfigError, match=expected) as caught:
        chosen("https://h/mcp", monkeypatch, {name: value})
    assert "canary" not in str(caught.value)


def test_a_login_is_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent, decoded, and in nothing that is shown."""
    monkeypatch.setenv("ALL_PROXY", "http://m%40e:can%3Aary@proxy:3128")
    login = {"Proxy-Authorization": f"Basic {base64.b64encode(b'm@e:can:ary').decode()}"}
    tunnelled, read = URL("https://h/"), URL("http://h/")
    proxy = proxy_for(tunnelled)
    assert proxy is not None and proxy == proxy_for(read)
    assert proxy.request_arguments(tunnelled) == {
        "proxy": URL("http://proxy:3128"),
        "proxy_headers": {"User-Agent": "mcp-relay", **login},
    }
    assert (proxy.headers_for(tunnelled), proxy.headers_for(read)) == ({}, login)
    assert "can" not in f"{proxy} {proxy!r} {proxy.url}"
