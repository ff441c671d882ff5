"""Real third-party MCP programs to run the relay between: the SDKs' own servers and clients.

A bridge that is tested only against itself proves that it agrees with itself. Here live the official SDKs,
pinned, and one scenario that every client can run against every server, directly or through a relay.

install/command.py    puts the pinned SDKs under .peers/ (venvs and node_modules)
locate.py     where they are: interpreters, command lines, free ports
server_*      one server per SDK, all with the same tools (tools.py; the TypeScript one repeats them)
client_*      one client per SDK, all with the same checks (scenario.py; the TypeScript one repeats them)
lines_*       an SDK's transports, client's and server's, as programs that speak lines of JSON
quick.py      what httpx need not do for any of them
matrix.py     every client against every server, directly: the table the relay must equal
"""

from .install import PINS as PINS
from .install import install as install
from .locate import CLIENTS as CLIENTS
from .locate import SERVERS as SERVERS
from .locate import authorization_server as authorization_server
from .locate import client_command as client_command
from .locate import conformance_runner as conformance_runner
from .locate import everything_server as everything_server
from .locate import everything_server_http as everything_server_http
from .locate import everything_server_sse as everything_server_sse
from .locate import free_port as free_port
from .locate import inspector_cli as inspector_cli
from .locate import lines_client as lines_client
from .locate import lines_server as lines_server
from .locate import mcp_remote as mcp_remote
from .locate import node as node
from .locate import node_command as node_command
from .locate import npm_command as npm_command
from .locate import npx_command as npx_command
from .locate import python as python
from .locate import root as root
from .locate import server_command as server_command
from .locate import server_url as server_url
from .locate import wait_for_port as wait_for_port
