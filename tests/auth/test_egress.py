"""The rules of egress: which URLs and which addresses a stranger may make the relay dial."""

from __future__ import annotations

import pytest
from yarl import URL

from relay.auth.egress import EgressRules, HostRule, parse_host_rule, parse_networks
from relay.errors import ConfigError

REFUSED = (
    # IPv4.
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
    "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1",
    "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.255",
    "240.0.0.1", "255.255.255.255",
    # IPv6, with IPv4 inside or of its own.
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::8.8.8.8", "64:ff9b:1::1", "100::1", "2001::1", "2001:1::1", "2001:20::1",
    "2001:db8::1", "2002:7f00:1::", "2002:0a00:0001::1", "2600::5efe:10.0.0.1", "2600::200:5efe:10.0.0.1", "3fff::1",
    "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "1fff::1",
)  # fmt: skip
PUBLIC = (
    "1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.32.0.1", "192.0.1.1", "223.255.255.255",
    "::ffff:8.8.8.8", "2001:200::1", "2001:4860:4860::8888", "2606:4700::1111", "2a00:1450::1", "3ffe::1",
)  # fmt: skip


@pytest.mark.parametrize("address", REFUSED)
def test_only_public_addresses_are_dialled(address: str) -> None:
    """Private, reserved and special addresses are refused, also inside an IPv6 address."""
    assert EgressRules().fault_of_address(address) is not None


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_dialled(address: str) -> None:
    """The table refuses no public neighbour of a refused network."""
    assert EgressRules().fault_of_address(address) is None


@pytest.mark.parametrize("text", ["", "localhost", "/run/docker.sock", "127.1", "0x7f.0.0.1", "8.8.8.8:80"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """A socket address that cannot be judged is not dialled."""
    assert EgressRules().fault_of_address(text) is not None


def test_allowed_and_denied_networks() -> None:
    """The operator's networks win over the table, and a refusal wins over a permission."""
    rules = EgressRules(
        allowed=parse_networks(["127.0.0.0/8", "fd00::/8", "64:ff9b::/96"], "--proxy-allow-net"),
        denied=parse_networks(["127.0.0.9", "8.8.8.0/24"], "--proxy-deny"),
    )
    fault = rules.fault_of_address
    assert [fault(one) for one in ("127.0.0.1", "::ffff:127.0.0.1", "fd00::1", "1.1.1.1")] == [None] * 4
    for one in ("127.0.0.9", "::ffff:127.0.0.9", "8.8.8.8", "10.0.0.1", "::1"):
        assert fault(one) is not None
    assert "--proxy-deny" in str(fault("127.0.0.9"))
    # A network with NAT64: what counts is the address behind it.
    assert fault("64:ff9b::1.1.1.1") is None
    assert fault("64:ff9b::10.0.0.1") is not None
    assert fault("64:ff9b::8.8.8.8") is not None


@pytest.mark.parametrize(
    "url",
    [
        "https://mcp.example/mcp",
        "http://MCP.Example.:8080/mcp?a=b",
        "wss://localhost.example/",
        "https://internal-tools.example/mcp",
        "https://xn--bcher-kva.example/",
        "https://1.1.1.1/mcp",
        "http://[2606:4700::1111]:3000/",
        "https://under_score.example/",
    ],
)
def test_urls_of_public_servers(url: str) -> None:
    """A name may hold "local" or "internal"; what it resolves to decides."""
    assert EgressRules().fault_of_text(url) is None
    assert EgressRules().fault_of_url(URL(url)) is None


@pytest.mark.parametrize(
    "text",
    [
        "https://a.example/" + "x" * 2048,
        "https://user:password@mcp.example/",
        "https://a.example\\@127.0.0.1/",
        "https://mcp.example/#fragment",
        "https://mcp.example/ mcp",
        "https://mcp.example/\r\nX: y",
    ],
)
def test_texts_that_two_parsers_could_read_differently(text: str) -> None:
    """They are refused before a parser reads them."""
    assert EgressRules().fault_of_text(text) is not None


@pytest.mark.parametrize(
    "url",
    [
        "ftp://mcp.example/", "tcp://mcp.example:80", "unix:/run/docker.sock", "file:///etc/passwd", "stdio:", "fd:3",
        "http://mcp.example:22/", "http://mcp.example:6379/", "http://mcp.example:2375/", "http://mcp.example:0/",
        "http://127.0.0.1/", "http://[::1]/", "http://[::ffff:7f00:1]/", "http://[fe80::1%25eth0]/",
        "http://2130706433/", "http://0x7f000001/", "http://017700000001/", "http://127.1/", "http://0/",
        "http://0x7f.0.0.1/", "http://0177.0.0.1/", "http://127.0.0.1./", "http://1.2.3.4.5/", "http://a..b/",
        "http://-a.example/", "http://%31%32%37.0.0.1/",
    ],
)  # fmt: skip
def test_urls_that_are_refused_before_a_look_up(url: str) -> None:
    """Other schemes, ports of internal services, and addresses in any spelling."""
    assert EgressRules().fault_of_url(URL(url)) is not None


def test_https_only() -> None:
    """With --proxy-https-only a server without TLS is refused."""
    rules = EgressRules(https_only=True)
    assert [rules.fault_of_url(URL(f"{scheme}://a.example/")) is None for scheme in ("http", "ws", "https", "wss")] == [
        False, False, True, True,
    ]  # fmt: skip


def test_only_named_hosts() -> None:
    """With --proxy-allow only those hosts may be named, those below them, and their ports."""
    rules = EgressRules(
        hosts=[
            parse_host_rule(one, "--proxy-allow") for one in ("MCP.example", "other.example:22", "[2606:4700::1]:99")
        ]
    )
    passing = ("mcp.example", "a.b.MCP.example.", "mcp.example:8443", "other.example:22", "[2606:4700::1]:99")
    refused = (
        "evil-mcp.example", "example", "other.example", "other.example:23", "mcp.example:22", "mcp.example.evil",
        "[2606:4700::1]", "8.8.8.8",
    )  # fmt: skip
    assert [rules.fault_of_url(URL(f"http://{one}/")) for one in passing] == [None] * len(passing)
    for one in refused:
        assert rules.fault_of_url(URL(f"http://{one}/")) is not None
    # To name an address is not to admit its network.
    named = EgressRules(hosts=[HostRule("127.0.0.1")])
    assert "--proxy-allow-net" in str(named.fault_of_url(URL("http://127.0.0.1:3000/")))


@pytest.mark.parametrize(
    "text", ["", "a b", "http://a.example", "a.example/path", "127.1", "a.example:x", "u@a.example"]
)
def test_mistakes_of_the_operator(text: str) -> None:
    """A host or a network that cannot be read names its option."""
    with pytest.raises(ConfigError, match="--proxy-allow: "):
        parse_host_rule(text, "--proxy-allow")
    with pytest.raises(ConfigError, match="--proxy-deny: "):
        parse_networks([text], "--proxy-deny")
