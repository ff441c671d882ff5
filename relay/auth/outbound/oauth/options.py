"""What the operator decides about logging in by OAuth."""

from __future__ import annotations

from collections.abc import Mapping

from relay.auth.outbound.oauth.scopes import split_scope
from relay.auth.outbound.oauth.urls import UnusableUrl, check_endpoint, is_usable_document
from relay.errors import ConfigError
from relay.values import PrivateValue

__all__ = ["BROWSER", "CLIENT", "DEVICE", "STORES", "OAuthOptions", "check_options"]

STORES = ("file", "keyring", "memory", "auto")
BROWSER, DEVICE, CLIENT = "browser", "device", "client"
"""Who agrees: a person in a browser, a person on another device (RFC 8628), or nobody (client credentials)."""
_RESERVED = frozenset(
    (
        "client_id", "code_challenge", "code_challenge_method", "redirect_uri", "resource", "response_type", "scope",
        "state",
    )
)  # fmt: skip


class OAuthOptions(PrivateValue, frozen=True, kw_only=True):
    """How to log in to one server. Every field has a default that suits a server that says all by itself."""

    grant: str = BROWSER
    issuer: str | None = None
    """The only authorization server that may be used, and the only one that gets configured secrets."""
    client_id: str | None = None
    client_secret: str | None = None
    client_assertion_key: str | None = None
    """A private key, as PEM or JWK text, that signs assertions in place of a secret (RFC 7523)."""
    client_assertion_audience: str | None = None
    """The audience of assertions; None: the issuer."""
    client_metadata_url: str | None = None
    """The address of a client id metadata document; it is the client id where servers accept such."""
    client_metadata: Mapping[str, object] = {}
    """Fields that a registration has besides, or instead of, the relay's own."""
    pins_first_issuer: bool = False
    """Whether the first authorization server that the server names counts as ``issuer`` from then on.

    The command line of mcp-remote takes a secret and has no option for the issuer.
    """
    scope: str | None = None
    resource: str | None = None
    sends_resource: bool = True
    authorize_params: tuple[tuple[str, str], ...] = ()
    authorization_url: str | None = None
    """The authorization endpoint; with ``token_url`` the relay asks no server for metadata."""
    token_url: str | None = None
    redirect_uri: str | None = None
    """The whole redirect URI, if the authorization server knows only that one."""
    callback_host: str = "127.0.0.1"
    callback_port: int | None = None
    """The port of the redirect URI; None: one that stays the same for a server, if it is free."""
    auth_timeout: float = 300.0
    """Seconds that a request waits for a person."""
    opens_browser: bool = True
    profile: str = ""
    """The name of the account, for several accounts at one server."""
    token_store: str = "file"
    store_dir: str | None = None
    """The directory of the store; None: ``MCP_RELAY_AUTH_DIR``, or the user's data directory."""
    assume_pkce: bool = False
    allow_http: bool = False
    allow_private: bool = False
    legacy: bool = False
    """Whether to assume the addresses of revision 2025-03-26 at a server that has no metadata."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """The configured secrets."""
        return tuple(one for one in (self.client_secret, self.client_assertion_key) if one)

    @property
    def has_secret(self) -> bool:
        """Whether a configured secret could be stolen by a server that names its own authorization server."""
        return bool(self.secrets)


def check_options(options: OAuthOptions) -> None:
    """Refuse what cannot work or would give a secret away. Raises ConfigError, which names the option."""
    _check_client(options)
    if options.token_store not in STORES:
        raise ConfigError(f"--token-store: {options.token_store!r} is none of {', '.join(STORES)}")
    if options.scope is not None and len(split_scope(options.scope)) != len(set(options.scope.split())):
        raise ConfigError(f"--scope: {options.scope!r} has a character that no scope may have")
    for name, _ in options.authorize_params:
        if name in _RESERVED:
            raise ConfigError(f"--authorize-param: {name} is the relay's own and cannot be set")
    if options.callback_port is not None and not 1 <= options.callback_port <= 65535:
        raise ConfigError(f"--callback-port: {options.callback_port} is no port; expected 1 to 65535")
    for flag, url in (
        ("--oauth-issuer", options.issuer),
        ("--auth-url", options.authorization_url),
        ("--token-url", options.token_url),
        ("--redirect-url", options.redirect_uri),
    ):
        if url is not None:
            try:
                check_endpoint(url, allow_http=options.allow_http)
            except UnusableUrl as exc:
                raise ConfigError(f"{flag}: {exc}") from None


def _check_client(options: OAuthOptions) -> None:
    if options.has_secret and options.client_id is None:
        raise ConfigError("a client secret or an assertion key has no effect without --client-id")
    if options.client_secret and options.client_assertion_key:
        raise ConfigError("give --client-secret or --client-assertion-key, not both")
    is_bound = options.issuer or options.token_url or options.pins_first_issuer
    if options.has_secret and not is_bound:
        raise ConfigError(
            "a client secret needs --oauth-issuer or --token-url: a server could otherwise name an authorization "
            "server of its own, which would get the secret"
        )
    if options.grant == CLIENT and not options.has_secret:
        raise ConfigError("client credentials need --client-id and --client-secret or --client-assertion-key")
    if options.grant == BROWSER and (options.authorization_url is None) != (options.token_url is None):
        raise ConfigError("--auth-url and --token-url work only together")
    if options.authorization_url is not None and options.client_id is None:
        raise ConfigError("--auth-url needs --client-id: the relay cannot register where it asks for no metadata")
    if options.client_metadata_url is not None and not is_usable_document(options.client_metadata_url):
        raise ConfigError("--client-metadata-url: expected https://host/path, the address of the client's document")
