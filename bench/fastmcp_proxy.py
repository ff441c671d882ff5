"""FastMCP's proxy as a command line, exactly as its documentation shows it.

Run by the Python of FastMCP's own environment: ``fastmcp_proxy.py [--port P] URL | -- COMMAND ARG...``.
"""

import sys

from fastmcp.client.transports import StdioTransport  # type: ignore[import-not-found]  # in its own environment
from fastmcp.server import create_proxy  # type: ignore[import-not-found]  # in its own environment


def main(words: list[str]) -> None:
    """Serve over HTTP if a port is given, else over stdio."""
    port = int(words[1]) if words[0] == "--port" else 0
    rest = words[2:] if port else words
    target = StdioTransport(command=rest[1], args=rest[2:]) if rest[0] == "--" else rest[0]
    proxy = create_proxy(target, name="bench")
    if port:
        proxy.run(transport="http", host="127.0.0.1", port=port, show_banner=False, log_level="ERROR")
    else:
        proxy.run(transport="stdio", show_banner=False)


if __name__ == "__main__":
    main(sys.argv[1:])
