"""An HTTP server that answers every request at once and wrongly, which the benchmark must not count."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Wrong(BaseHTTPRequestHandler):
    """Answers with the right id and another's result."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer without having asked anybody."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = {"jsonrpc": "2.0", "id": asked.get("id"), "result": {"protocolVersion": "2025-06-18"}}
        body = json.dumps(answer).encode() if "id" in asked else b""
        self.send_response(200 if "id" in asked else 202)
        self.send_header("content-type", "application/json")
        self.send_header("mcp-session-id", "s")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Wrong).serve_forever()
