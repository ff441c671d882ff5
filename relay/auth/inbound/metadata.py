"""Say where a relay's clients get tokens: protected-resource metadata (RFC 9728). Pure."""

from __future__ import annotations

import msgspec

__all__ = ["ResourceMetadata"]

_WELL_KNOWN = "/.well-known/oauth-protected-resource"


class ResourceMetadata(msgspec.Struct, frozen=True):
    """What all servers of a relay have in common."""

    issuer: str
    scopes: tuple[str, ...] = ()
    public_url: str = ""
    """The URL below which clients reach the relay; empty: the address to which they sent their request."""

    def resource(self, base_url: str, path: str) -> str:
        """Return the identifier of the server at ``path``, for a client that has sent its request to ``base_url``."""
        return (self.public_url or base_url) + path

    def address(self, base_url: str, path: str) -> str:
        """Return the URL of the metadata of the server at ``path``: the well-known name goes before the path."""
        scheme, _, rest = (self.public_url or base_url).partition("://")
        host, _, prefix = rest.partition("/")
        return f"{scheme}://{host}{_WELL_KNOWN}{'/' + prefix if prefix else ''}{path}"

    def path_of(self, path: str) -> str:
        """Return the path that a request for metadata is about, without what the public URL puts before it."""
        found = path.removeprefix(_WELL_KNOWN)
        prefix = self.public_url.partition("://")[2].partition("/")[2]
        return found.removeprefix(f"/{prefix}") if prefix else found

    def document(self, base_url: str, path: str) -> dict[str, object]:
        """Return the metadata of the server at ``path``."""
        found: dict[str, object] = {
            "resource": self.resource(base_url, path),
            "authorization_servers": [self.issuer],
            "bearer_methods_supported": ["header"],
        }
        return found | ({"scopes_supported": list(self.scopes)} if self.scopes else {})
