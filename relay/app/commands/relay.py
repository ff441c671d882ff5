"""``mcp-relay [OPTIONS] URL|COMMAND``: check the arguments, turn them into settings, and settings into a job."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from relay.addresses import shown_address
from relay.app.log.stderr import StderrSink
from relay.app.options.access import has_login, withheld_variables
from relay.app.options.admission import ANY_PAGE, check_admission
from relay.app.options.dialling import dialling_of, ending_logins, listening_of
from relay.app.options.headers import headers_of, warn_of_headers
from relay.app.options.log import begin_log, refuse_log_to_client
from relay.app.options.login import hidden_by_login, log_in
from relay.app.options.parser import located
from relay.app.options.paths import paths_of
from relay.app.options.relay import parse
from relay.app.options.secrets import secrets_of
from relay.app.options.targets import check_names, variables_of
from relay.app.options.tls import unauthenticated
from relay.app.run.quick_start import import_aiohttp
from relay.app.settings import BridgeSettings, ServeSettings
from relay.app.specs import ListenSpec, fault_of_scheme, is_address, is_url
from relay.endpoints.child.child import child_environment
from relay.errors import ConfigError

if TYPE_CHECKING:
    from relay.app.config.servers_source import ServersSource
    from relay.auth.outbound.logins import Login

__all__ = ["command"]

logger = logging.getLogger("relay")


def command(args: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    """Return the job that these arguments ask for. Raises ConfigError."""
    options, target = parse(args)
    with located(options):
        check_names(options)
        check_admission(options)
        if target:
            return _job(options, target, sink)
        if options.named_server or options.named_server_config is not None or options.configured.servers:
            return _job_of_names(options, sink)
        hint = "; --allow-origin takes every word up to the next option: put -- before the command"
        raise ConfigError(f"no URL or command given{hint if options.allow_origin else ''}; see mcp-relay --help")


def _warnings(options: argparse.Namespace, served: str) -> list[str]:
    """Return the warnings to print once the relay listens. Raises ConfigError.

    The bridges that the relay replaces document ``--host 0.0.0.0`` and start with it. So the relay starts, too, and
    warns. Its own option ``--listen`` is strict.
    """
    warnings = []
    for host in () if options.insecure_no_auth else unauthenticated(options.listens, options):
        if options.listen:
            raise ConfigError(
                f"--listen at {host} would let everybody who can reach this machine use {served} here; "
                "give out tokens with --accept-token, demand certificates with --tls-client-ca, listen at 127.0.0.1 "
                "behind a proxy that asks for a login, or say --insecure-no-auth"
            )
        warnings.append(
            f"--host {host} without authentication: everybody who can reach this machine can use {served} here, and "
            "what it may do; --accept-token, --tls-client-ca, or --host 127.0.0.1 behind a proxy that asks for a "
            "login, ends that, --insecure-no-auth accepts it"
        )
    if "*" in options.allow_origin:
        warnings.append(ANY_PAGE)
    return warnings


def _warnings_of_login(
    options: argparse.Namespace, headers: Mapping[str, str], login: Login | None, url: str | None
) -> list[str]:
    """Return the warning that others on this machine can use the relay's own login to a server."""
    has_own = login is not None or any(name.lower() == "authorization" for name in headers)
    is_open = any(spec.kind in ("http", "tcp") for spec in options.listens) and options.tls_client_ca is None
    if url is None or not has_own or not is_open or has_login(options) or options.insecure_no_auth:
        return []
    where = shown_address(url)
    ends = "--accept-token, or --listen unix:/PATH, ends that, --insecure-no-auth accepts it"
    return [f"everybody on this machine can use {where} with the login that the relay has there; {ends}"]


def _serve_settings(
    options: argparse.Namespace,
    command: list[str],
    secrets: list[str],
    headers: dict[str, str],
    login: Login | None,
    sink: StderrSink,
) -> ServeSettings:
    warnings = _warnings(options, repr(command[0]) if command else "the servers")
    url = command[0] if command and is_address(command[0]) else None
    named = _named(options)
    env = child_environment(
        variables_of(options), pass_all=options.pass_environment, withheld=withheld_variables(options)
    )
    urls = [*([url] if url else []), *_urls_of(named)]
    dialling = dialling_of(options, headers, urls, sink, login=login, url=url, transport=options.transport)
    return ServeSettings(
        command=() if url else command,
        name=options.name or os.path.basename(command[0] if command else ""),
        log_to=options.log_to,
        env=env,
        url=url,
        dialling=dialling,
        share=options.share,
        cwd=options.cwd,
        listen=options.listens,
        listening=listening_of(options, options.listens, dialling, paths_of(options)),
        secrets=secrets,
        warnings=[*warnings, *_warnings_of_login(options, headers, login, url)],
        named=named,
        pass_environment=options.pass_environment,
        withheld=withheld_variables(options),
        is_eager=options.eager,
    )


def _named(options: argparse.Namespace) -> ServersSource | None:
    """Read the servers with names, and return them. Raises ConfigError."""
    if not options.named_server and options.named_server_config is None and not options.configured.servers:
        return None
    from relay.app.config.servers_source import servers_of

    named = servers_of(options)
    if not any(spec.kind == "http" for spec in options.listens):
        logger.warning("servers with names have no effect without a --listen http://…: ignored")
        return None
    if named is not None:
        named.read()
        for warning in named.warnings:
            logger.warning("%s", warning)
    return named


def _urls_of(named: ServersSource | None) -> list[str]:
    return [one.url for one in named.servers.values() if one.url is not None] if named is not None else []


def _job_of_names(options: argparse.Namespace, sink: StderrSink) -> Coroutine[Any, Any, int]:
    """Return the job that offers servers with names, and no other server. Raises ConfigError."""
    begin_log(options, options.configured.secrets, sink)
    for flag in options.unused:
        logger.warning("%s has no effect without a command or URL: ignored", flag)
    for spec in options.listens:
        if spec.kind != "http":
            raise ConfigError(
                "--listen: only over HTTP can clients name a server; give a command or a URL for the others"
            )
    import_aiohttp()
    from relay.app.run.serve import serve

    settings = _serve_settings(options, [], list(options.configured.secrets), {}, None, sink)
    return ending_logins(lambda: serve(settings, sink), settings.dialling)


def _job(options: argparse.Namespace, command: list[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    """Return the job for a URL or a command. Raises ConfigError."""
    given = headers_of(options)
    headers, login = log_in(options, given)
    secrets = secrets_of(options, headers, command[0] if is_address(command[0]) else None)
    begin_log(options, secrets, sink)
    for flag in options.unused:
        logger.warning("%s has no effect before a %s: ignored", flag, "URL" if is_address(command[0]) else "command")
    listens: list[ListenSpec] = options.listens
    listens_by_http = any(spec.kind == "http" for spec in listens)
    if is_address(command[0]):
        warn_of_headers(options)
        for warning in hidden_by_login(options, given):
            logger.warning("%s", warning)
        if is_url(command[0]) or listens_by_http or login is not None:
            import_aiohttp()
        if len(command) > 1:
            raise ConfigError(f"nothing may follow the URL, but {command[1]!r} does; see mcp-relay --help")
        if listens == [ListenSpec("stdio")]:
            if options.configured.servers:
                logger.warning("servers with names have no effect before a URL without --listen: ignored")
            from relay.app.run.bridge import bridge

            settings = BridgeSettings(
                url=command[0],
                dialling=dialling_of(
                    options,
                    headers,
                    command[:1],
                    sink,
                    login=login,
                    url=command[0],
                    transport=options.transport,
                ),
                secrets=secrets,
                log_to=options.log_to,
            )
            return ending_logins(lambda: bridge(settings, sink), settings.dialling)
    elif fault := fault_of_scheme(command[0]):
        raise ConfigError(fault)
    elif listens_by_http:
        import_aiohttp()
    serving = _serve_settings(options, command, secrets, headers, login, sink)
    if serving.listen == [ListenSpec("stdio")]:
        from relay.app.run.bridge import bridge_own_servers

        return ending_logins(lambda: bridge_own_servers(serving, sink), serving.dialling)
    refuse_log_to_client(options)
    from relay.app.run.serve import serve

    return ending_logins(lambda: serve(serving, sink), serving.dialling)
