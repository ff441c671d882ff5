"""Logins for the bridges that want one: a static token, and a token that an authorization server of ours has signed."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

from bench.load import CellFailed

ISSUER, AUDIENCE = "https://bench.example", "bench"
TOKEN = "bench-" + "x" * 40

Login = Literal["none", "token", "jwt"]


@contextlib.contextmanager
def login_for(kind: Login) -> Iterator[tuple[str, str]]:
    """Yield the token that the client sends, and the URL of the keys that have signed it, if one has."""
    if kind != "jwt":
        yield TOKEN if kind == "token" else "", ""
        return
    try:
        from joserfc import jwk, jwt
    except ImportError:
        raise CellFailed("joserfc is not installed (pip install 'mcp-frame-relay[jwt]')") from None
    key = jwk.generate_key("RSA", 2048, {"kid": "bench"})
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "bench", "exp": int(time.time()) + 86_400}
    keys = json.dumps({"keys": [key.as_dict(private=False)]}).encode()

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(keys)))
            self.end_headers()
            self.wfile.write(keys)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Keys) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield jwt.encode({"alg": "RS256", "kid": "bench"}, claims, key), f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
