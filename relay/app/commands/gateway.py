"""``mcp-relay gateway``: web pages call MCP servers that they name, by ``POST /proxy`` and by WebSocket at ``/ws``.

The surface is that of Thelia-Lzr's mcp-proxy (``mcp-relay as thelia``). A token is required, and a guard beneath every
dial admits public addresses only, unless the operator allows others.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Coroutine, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from relay.app.log.stderr import StderrSink
from relay.app.options.access import add_rate_option, rates_of
from relay.app.options.admission import add_page_options, check_admission
from relay.app.options.limits import add_drain_timeout, add_http_limits, limits_of
from relay.app.options.log import add_log_options, begin_log
from relay.app.options.parser import Parser, add_config_option, parse_args
from relay.app.options.tls import add_dial_tls_options, add_listen_tls_options, dial_tls, listen_tls, with_tls
from relay.app.options.values import port, seconds
from relay.app.run.quick_start import import_aiohttp
from relay.app.settings import GatewaySettings, ServeSettings
from relay.app.specs import ListenSpec
from relay.auth.egress import EgressRules, parse_host_rule, parse_networks
from relay.auth.inbound.login import InboundLogin
from relay.auth.inbound.token_sources import TokenSource, TokenSources, is_weak
from relay.endpoints.core.dialling import DiallingOptions
from relay.endpoints.http.listening import ListeningOptions
from relay.errors import ConfigError

__all__ = ["TOKEN_VARIABLE", "build_parser", "check", "gateway"]

logger = logging.getLogger("relay")

TOKEN_VARIABLE = "PROXY_TOKEN"
_TOKEN_FILE = "--proxy-token-file"
_ANY_PAGE = "--allow-origin '*': a page of any site can use this gateway once it has a token"

_DESCRIPTION = """\
Let web pages call MCP servers that they name: POST /proxy, WebSocket at /ws.

Pages need a token: the variable PROXY_TOKEN, or one in --proxy-token-file.
Servers must have public addresses, unless --proxy-allow-net admits others.
"""
_SHORT = f"""\
usage: PROXY_TOKEN=… mcp-relay gateway --allow-origin ORIGIN [OPTIONS]

{_DESCRIPTION}
examples:
  mcp-relay gateway --allow-origin https://app.example.com
  mcp-relay gateway --proxy-allow-net 127.0.0.0/8    servers of this machine
  mcp-relay gateway --host 0.0.0.0 --proxy-token-file tokens

the usual options:
  --host, --port        the address to listen on (default 127.0.0.1, 8000)
  --allow-origin O      an origin whose web pages may use the gateway
  --proxy-allow HOST    the only servers that pages may name
  --proxy-allow-net CIDR     reach servers in this network, too
  --log-level LEVEL, --debug     log more
  --help-all            all options
"""


def build_parser() -> Parser:
    """Return the parser of ``gateway``."""
    parser = Parser(prog="mcp-relay gateway", short_help=_SHORT, description=_DESCRIPTION, allow_abbrev=False)
    listening = parser.add_argument_group("listening")
    listening.add_argument("--host", default="127.0.0.1", help="the address to listen on (default 127.0.0.1)")
    listening.add_argument("--port", type=port, default=8000, help="its port; 0: a free one (default 8000)")
    listening.add_argument(
        _TOKEN_FILE, metavar="FILE",
        help="the tokens of pages, one a line after its NAME, besides $PROXY_TOKEN; read again at SIGHUP",
    )  # fmt: skip
    add_page_options(listening)
    add_rate_option(listening)
    add_listen_tls_options(listening)
    add_http_limits(listening)
    add_drain_timeout(listening)
    servers = parser.add_argument_group("the servers that pages name")
    servers.add_argument(
        "--proxy-allow", action="append", default=[], metavar="HOST[:PORT]",
        help="only this server and those below its name; without it all with public addresses (repeatable)",
    )  # fmt: skip
    servers.add_argument(
        "--proxy-allow-net", action="append", default=[], metavar="CIDR",
        help="dial this network, too, as 127.0.0.0/8 for servers of this machine (repeatable)",
    )  # fmt: skip
    servers.add_argument(
        "--proxy-deny", action="append", default=[], metavar="CIDR",
        help="never dial this network; wins over --proxy-allow-net (repeatable)",
    )  # fmt: skip
    servers.add_argument("--proxy-https-only", action="store_true", help="only servers at https:// and wss://")
    servers.add_argument(
        "--egress-proxy", metavar="URL",
        help="connect through this HTTP proxy, which then decides about the addresses behind names",
    )  # fmt: skip
    servers.add_argument(
        "--timeout", type=seconds, default=300.0, metavar="S", help="how long an answer may take (default 300)"
    )
    servers.add_argument(
        "--session-idle", type=seconds, default=600.0, metavar="S",
        help="end the session with a server that nobody has called for this long (default 600)",
    )  # fmt: skip
    add_dial_tls_options(servers)
    logging_group = parser.add_argument_group("log and configuration")
    add_log_options(logging_group)
    add_config_option(logging_group)
    return parser


def gateway(args: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    """Return the job of ``mcp-relay gateway``. Raises ConfigError."""
    options = parse_args(build_parser(), args, "gateway")
    sources = _sources(options)
    login = InboundLogin(sources)
    begin_log(options, [*login.secrets, *options.configured.secrets, *_secrets_in(options.egress_proxy)], sink)
    for name, token in sources.read():
        if is_weak(token):
            logger.warning("the token of %s is short, so somebody may guess it: take 32 characters or more", name)
    rules = _rules(options)
    listens = with_tls([ListenSpec("http", options.host, options.port)], options)
    import_aiohttp()
    limits = limits_of(options)
    settings = ServeSettings(
        command=(),
        name="gateway",
        env={},
        dialling=DiallingOptions(tls=dial_tls(options, ["https://"], sink), limits=limits),
        listen=listens,
        listening=ListeningOptions(
            allowed_hosts=options.allowed_host,
            allowed_origins=options.allow_origin,
            exposed_headers=options.expose_header,
            login=login,
            rates=rates_of(options),
            tls=listen_tls(options, listens),
            limits=limits,
        ),
        warnings=[_ANY_PAGE] if "*" in options.allow_origin else [],
        gateway=GatewaySettings(
            rules=rules,
            proxy=options.egress_proxy,
            within=options.timeout,
            session_idle=options.session_idle,
        ),
    )
    from relay.app.run.serve import serve

    return serve(settings, sink)


def check(args: Sequence[str]) -> None:
    """Check the options without the tokens, which are not in a file of options. Raises ConfigError."""
    _rules(parse_args(build_parser(), args, "gateway"))


def _rules(options: argparse.Namespace) -> EgressRules:
    check_admission(options)
    return EgressRules(
        hosts=[parse_host_rule(text, "--proxy-allow") for text in options.proxy_allow],
        allowed=parse_networks(options.proxy_allow_net, "--proxy-allow-net"),
        denied=parse_networks(options.proxy_deny, "--proxy-deny"),
        https_only=options.proxy_https_only,
    )


def _sources(options: argparse.Namespace) -> TokenSources:
    """Return where the tokens of pages are. Raises ConfigError without any."""
    sources = []
    if os.environ.get(TOKEN_VARIABLE, "").strip():
        sources.append(TokenSource("env", TOKEN_VARIABLE, TOKEN_VARIABLE))
    if options.proxy_token_file is not None:
        name = os.path.basename(options.proxy_token_file)
        sources.append(TokenSource("file", options.proxy_token_file, name))
    if not sources:
        raise ConfigError(
            f"the variable {TOKEN_VARIABLE} is not set, or is empty: a gateway without a token would serve everybody; "
            f"set it to 32 random characters or more, or name a file of tokens: {_TOKEN_FILE} FILE"
        )
    return TokenSources(sources, _TOKEN_FILE)


def _secrets_in(url: str | None) -> list[str]:
    try:
        password = urlsplit(url or "").password or ""
    except ValueError:
        return []
    return [one for one in (password, unquote(password)) if one]
