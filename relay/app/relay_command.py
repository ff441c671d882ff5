"""``mcp-relay [OPTIONS] URL|COMMAND``: what its words ask for, checked, becomes settings, and settings a job."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import re
from collections.abc import Coroutine, Sequence
from typing import Any

from relay.app.logs import StderrSink
from relay.app.options import begin_log, check_names, headers_of, located, secrets_of, warn_of_headers
from relay.app.quick_start import import_aiohttp
from relay.app.relay_options import parse
from relay.app.settings import BridgeSettings, ServeSettings
from relay.app.specs import ADDRESSES, ListenSpec, is_address, parse_listen
from relay.app.wiring import is_url
from relay.auth.origin import is_host, is_loopback, is_origin
from relay.endpoints.child import child_environment
from relay.errors import ConfigError
from relay.limits import DEFAULT_LIMITS, Limits

__all__ = ["command"]

logger = logging.getLogger("relay")


def command(words: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    """Return the job that these words ask for. Raises ConfigError."""
    options, target = parse(words)
    if "LISTEN_PID" in os.environ and not options.listen:
        from relay.app.inherited import handed_over

        options.listen = handed_over()
    with located(options):
        _check_words(options)
        if not target:
            raise ConfigError("no URL or command given; see mcp-relay --help")
        return _job(options, target, sink)


def _listens(options: argparse.Namespace) -> list[ListenSpec]:
    """Return where to listen: ``--listen``, or ``--host`` and ``--port``. Raises ConfigError."""
    if not options.listen:
        return [ListenSpec("http", _host(options), options.port)]
    specs = [parse_listen(text) for text in options.listen]
    if [spec.kind for spec in specs].count("stdio") > 1:
        raise ConfigError("--listen stdio: can be given once")
    return specs


def _limits(options: argparse.Namespace) -> Limits:
    changed = {
        "max_frame_bytes": options.max_frame_bytes,
        "max_sessions": options.max_sessions,
        "session_idle": options.session_idle,
        "drain": options.drain_timeout,
    }
    return dataclasses.replace(DEFAULT_LIMITS, **{name: value for name, value in changed.items() if value is not None})


def _check_words(options: argparse.Namespace) -> None:
    """Look at what argparse has not: it may have taken the command for a value. Raises ConfigError."""
    check_names(options)
    for origin in options.allow_origin:
        if origin != "*" and not is_origin(origin):
            raise ConfigError(
                f"--allow-origin: {origin!r} is not an origin such as https://app.example.com or "
                "http://localhost:3000, nor '*' for all; if it is the command, put -- before it"
            )
    for host in options.allowed_host:
        if not is_host(host):
            raise ConfigError(
                f"--allowed-host: {host!r} is not a name or an address, with or without :PORT, as it stands in Host"
            )
    host = _host(options)
    if not is_host(host):
        raise ConfigError(f"--host: {host!r} is not an address to listen on, such as 127.0.0.1 or ::1")
    if not is_host(f"{host}:1") and not is_host(f"[{host}]:1"):
        raise ConfigError(f"--host: {host!r} has a port in it, which belongs to --port")


def _host(options: argparse.Namespace) -> str:
    host: str = options.host
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _serve_settings(
    options: argparse.Namespace, command: list[str], secrets: list[str], headers: dict[str, str]
) -> ServeSettings:
    warnings = []
    url = command[0] if is_address(command[0]) else None
    listens = _listens(options)
    for host in {spec.host for spec in listens if spec.kind in ("http", "tcp") and not is_loopback(spec.host)}:
        if not options.insecure_no_auth:
            raise ConfigError(
                f"--host {host} would let everybody who can reach this machine use {command[0]!r} here; "
                "bind 127.0.0.1 behind a proxy that asks for a login, or say --insecure-no-auth"
            )
        warnings.append(f"listening on {host} without authentication: whoever reaches it uses your server")
    if "*" in options.allow_origin:
        warnings.append("--allow-origin '*': any web page that your browser shows can use your server")
    env = child_environment(dict(options.env), pass_all=options.pass_environment)
    return ServeSettings(
        command=() if url else command,
        name=os.path.basename(command[0]),
        env=env,
        url=url,
        headers=headers,
        transport=options.transport.replace("-", ""),
        share=options.share,
        cwd=options.cwd,
        listen=listens,
        allowed_hosts=options.allowed_host,
        allowed_origins=options.allow_origin,
        secrets=secrets,
        warnings=warnings,
        limits=_limits(options),
    )


def _job(options: argparse.Namespace, command: list[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    """Return what is to run. Raises ConfigError."""
    headers = headers_of(options)
    secrets = secrets_of(options, headers, command[0] if is_address(command[0]) else None)
    begin_log(options, secrets, sink)
    for flag in options.unused:
        logger.warning("%s is of no use before a %s: ignored", flag, "URL" if is_address(command[0]) else "command")
    if is_address(command[0]):
        warn_of_headers(options)
        if is_url(command[0]) or (options.listen and any(spec.kind == "http" for spec in _listens(options))):
            import_aiohttp()
        if len(command) > 1:
            raise ConfigError(f"nothing may follow the URL, but {command[1]!r} does; see mcp-relay --help")
        transport = options.transport.replace("-", "")
        if options.listen and any(spec != ListenSpec("stdio") for spec in _listens(options)):
            from relay.app.serve import serve

            return serve(_serve_settings(options, command, secrets, headers), sink)
        from relay.app.bridge import bridge

        settings = BridgeSettings(
            url=command[0], headers=headers, transport=transport, secrets=secrets, limits=_limits(options)
        )
        return bridge(settings, sink)
    if scheme := re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", command[0]):
        raise ConfigError(
            f"{scheme[0]}… is neither a command nor an address of a kind that is known: {', '.join(ADDRESSES)}"
        )
    if any(spec.kind == "http" for spec in _listens(options)):
        import_aiohttp()
    serving = _serve_settings(options, command, secrets, headers)
    if serving.listen == [ListenSpec("stdio")]:
        from relay.app.bridge import bridge_own_servers

        return bridge_own_servers(serving, sink)
    from relay.app.serve import serve

    return serve(serving, sink)
