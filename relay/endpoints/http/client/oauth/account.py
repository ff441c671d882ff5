"""One account at one server: what every step of a login needs to know."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from relay.addresses import shown_address
from relay.auth.outbound.credentials import LoginFailed
from relay.auth.outbound.oauth.options import OAuthOptions
from relay.auth.outbound.oauth.records import Client, ServerEntry, Tokens, is_wanted, server_key
from relay.auth.outbound.oauth.tokens import Form, TokenAnswer, TokenDenied, authenticated, read_answer
from relay.endpoints.http.client.oauth.store import Store
from relay.endpoints.http.client.oauth.web import AuthorizationWeb, ServerUnreachable

__all__ = ["Account"]

logger = logging.getLogger("relay")

_MAX_ANSWER = 256 * 1024


def _tell(line: str) -> None:
    logger.warning("%s", line)


@dataclass(frozen=True, slots=True)
class Account:
    """One account at the server of ``url``, which is in the canonical form."""

    url: str
    options: OAuthOptions
    store: Store
    web: AuthorizationWeb
    tell: Callable[[str], None] = _tell
    """Shows a person one line: on stderr, never on stdout."""

    @property
    def name(self) -> str:
        """The server's address for messages."""
        return shown_address(self.url)

    @property
    def entry(self) -> ServerEntry:
        """What the store knows of the server."""
        return self.store.entry(self.url, self.options.profile)

    @property
    def lock_name(self) -> str:
        """The lock of a login by a person."""
        return "login-" + server_key(self.url, self.options.profile).removeprefix("server-")

    def tokens(self) -> Tokens | None:
        """Return the login in the store, without what a keyring keeps."""
        return self.store.tokens_of(self.entry)

    def is_usable(self, tokens: Tokens) -> bool:
        """Tell whether a login is one of those that the operator wants."""
        return is_wanted(tokens, self.options)

    def failed(self, fault: str) -> LoginFailed:
        """Return an error for the client's request."""
        return LoginFailed(f"{self.name}: {fault}")

    def secret_of(self, client: Client) -> Client:
        """Return a client with its secret: a configured one is not in the store."""
        if client.client_id != self.options.client_id or self.options.client_secret is None:
            return client
        import msgspec

        return msgspec.structs.replace(client, client_secret=self.options.client_secret)

    async def ask_for_token(self, endpoint: str, form: Form, client: Client, issuer: str) -> TokenAnswer:
        """Ask a token endpoint. Raises TokenDenied; no answer at all counts as a temporary denial."""
        status, body, secrets = await self.post_as(endpoint, form, client, issuer)
        return read_answer(status, body, secrets=secrets)

    async def post_as(
        self, endpoint: str, form: Form, client: Client, issuer: str
    ) -> tuple[int, bytes, tuple[str, ...]]:
        """Send a form that shows who the relay is; return status, body, and the secrets in the form.

        Raises TokenDenied if no answer comes.
        """
        client = self.secret_of(client)
        assertion = None
        if client.auth_method == "private_key_jwt":
            from relay.endpoints.http.client.oauth.assertion import client_assertion

            assertion = client_assertion(self.options, client.client_id, issuer)
        headers, body = authenticated(form, client, assertion=assertion)
        hidden = ("code", "code_verifier", "refresh_token", "device_code", "token")
        secrets = [form[name] for name in hidden if form.get(name)]
        secrets += [one for one in (client.client_secret, assertion) if one]
        try:
            status, answer = await self.web.post(endpoint, headers, body, limit=_MAX_ANSWER)
        except ServerUnreachable as exc:
            raise TokenDenied(str(exc), is_temporary=True) from exc
        return status, answer, tuple(secrets)
