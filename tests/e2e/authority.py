"""The tests' own certificate authority: certificates for servers, for clients, and untrusted ones."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True)
class Authority:
    """PEM files in one folder; ``Authority.made`` makes them."""

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> Authority:
        """Make an authority, a server's and a client's certificate, and the same of an authority nobody trusts."""
        for prefix in ("", "other-"):
            authority = trustme.CA()
            authority.cert_pem.write_to_path(str(folder / f"{prefix}ca.pem"))
            for name, names in {
                "server": ("localhost", "127.0.0.1", "mcp.example"),
                "elsewhere": ("elsewhere.example",),
                "client": ("client@mcp.example",),
            }.items():
                made = authority.issue_cert(*names)
                made.private_key_and_cert_chain_pem.write_to_path(str(folder / f"{prefix}{name}.pem"))
                made.cert_chain_pems[0].write_to_path(str(folder / f"{prefix}{name}-cert.pem"))
                made.private_key_pem.write_to_path(str(folder / f"{prefix}{name}-key.pem"))
        return cls(folder)

    def __getitem__(self, name: str) -> str:
        """Return the path of ``ca``, ``server``, ``client``, ``client-key``, ``other-ca`` and so on."""
        return str(self.folder / f"{name}.pem")

    def serving(self, name: str = "server", *, client_ca: str | None = None) -> ssl.SSLContext:
        """Return a server's side."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self[name])
        if client_ca is not None:
            context.load_verify_locations(self[client_ca])
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def dialling(self, client: str | None = None) -> ssl.SSLContext:
        """Return a client's side, which trusts the authority."""
        context = ssl.create_default_context(cafile=self["ca"])
        if client is not None:
            context.load_cert_chain(self[client])
        return context
