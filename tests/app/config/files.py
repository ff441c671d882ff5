"""Configuration files as each editor and each bridge writes them."""

from __future__ import annotations

CLAUDE_DESKTOP = """\
{
  "globalShortcut": "Ctrl+Space",
  "mcpServers": {
    "filesystem": {
      "command": "npx",
      "args": ["-y", "@modelcontextprotocol/server-filesystem", "/home/me/Desktop"]
    },
    "github": {
      "command": "docker",
      "args": ["run", "-i", "--rm", "-e", "GITHUB_PERSONAL_ACCESS_TOKEN", "ghcr.io/github/github-mcp-server"],
      "env": {"GITHUB_PERSONAL_ACCESS_TOKEN": "ghp_0123456789"}
    }
  }
}
"""

CURSOR = """\
{
  "mcpServers": {
    "local": {
      "type": "stdio",
      "command": "python",
      "args": ["${userHome}/server.py"],
      "env": {"API_KEY": "${env:MY_KEY}"}
    },
    "remote": {
      "url": "https://api.example.com/mcp",
      "headers": {"Authorization": "Bearer ${env:MY_TOKEN}"}
    }
  }
}
"""

VS_CODE = """\
// .vscode/mcp.json
{
  "inputs": [
    {"type": "promptString", "id": "key", "description": "API key", "password": true},
  ],
  "servers": {
    /* a local one */
    "memory": {
      "type": "stdio",
      "command": "npx",
      "args": ["-y", "@modelcontextprotocol/server-memory"],
      "env": {"COUNT": 3, "UNSET": null}, // numbers are allowed here
    },
    "perplexity": {
      "command": "npx",
      "args": ["-y", "server-perplexity-ask"],
      "env": {"PERPLEXITY_API_KEY": "${input:key}"},
    },
    "io.github.github/github-mcp-server": {
      "type": "http",
      "url": "https://api.githubcopilot.com/mcp/",
      "gallery": "https://api.mcp.github.com",
      "version": "1.0.0",
    },
    "old": {"type": "sse", "url": "http://localhost:3001/sse"},
  },
}
"""

VS_CODE_SETTINGS = """\
{
  "editor.fontSize": 12, // not ours
  "editor.fontSize": 13,
  "mcp": {
    "inputs": [],
    "servers": {"time": {"command": "uvx", "args": ["mcp-server-time"],},},
  },
}
"""

ZED = """\
// Zed settings
{
  "theme": {"mode": "system", "light": "One Light"},
  "context_servers": {
    "nested": {
      "source": "custom",
      "command": {"path": "node", "args": ["server.js", "--stdio"], "env": {"DEBUG": "1"}},
      "settings": {}
    },
    "flat": {"source": "custom", "enabled": false, "command": "uvx", "args": ["mcp-server-git"], "env": {}},
    "far": {"url": "https://mcp.example.com/mcp", "headers": {"Authorization": "Bearer zed-token"}},
    "postgres-context-server": {"source": "extension", "settings": {"database_url": "postgresql://me:pw@db/"}}, // one
  },
}
"""

WINDSURF = """\
{
  "mcpServers": {
    "figma": {
      "serverUrl": "https://figma.example.com/mcp",
      "headers": {"API_KEY": "Bearer ${env:FIGMA_TOKEN:-none}"},
      "disabledTools": ["a", "b"]
    },
    "off": {"command": "npx", "args": ["server"], "disabled": true}
  }
}
"""

TBXARK = """\
{
  "mcpProxy": {
    "baseURL": "https://mcp.example.com",
    "addr": ":9090",
    "name": "MCP Proxy",
    "version": "1.0.0",
    "type": "streamable-http",
    "options": {"panicIfInvalid": false, "logEnabled": true, "authTokens": ["DefaultToken"]}
  },
  "mcpServers": {
    "github": {
      "command": "npx",
      "args": ["-y", "@modelcontextprotocol/server-github"],
      "env": {"GITHUB_PERSONAL_ACCESS_TOKEN": "<YOUR_TOKEN>"},
      "options": {"toolFilter": {"mode": "block", "list": ["create_or_update_file"]}, "authTokens": ["x"]}
    },
    "fetch": {"command": "uvx", "args": ["mcp-server-fetch"], "options": {"disabled": true}},
    "amap": {"url": "https://mcp.amap.com/sse?key=amap-secret-key"},
    "stream": {"transportType": "streamable-http", "url": "https://s.example.com/mcp", "timeout": 10}
  }
}
"""

SPARFENYUK = """\
{
  "mcpServers": {
    "fetch": {
      "enabled": true, "timeout": 60, "command": "uvx", "args": ["mcp-server-fetch"], "transportType": "stdio"
    },
    "github": {"timeout": 60, "command": "npx", "args": ["-y", "server-github"], "disabled": true},
    "no-command": {"args": ["x"]},
    "no-list": {"command": "x", "args": "y z"}
  }
}
"""

GEMINI = """\
{"mcpServers": {"g": {"httpUrl": "https://g.example.com/mcp", "timeout": 600000, "trust": true}}}
"""

OURS = """\
port = 8080

[servers.time]
command = "uvx"
args = ["mcp-server-time"]

[servers."far away"]
url = "https://host/mcp"
headers = { X-Team = "blue" }
transport = "streamable-http"
"""

ALL = {
    "claude_desktop_config.json": CLAUDE_DESKTOP,
    "cursor.json": CURSOR,
    "mcp.json": VS_CODE,
    "settings.json": VS_CODE_SETTINGS,
    "zed.json": ZED,
    "mcp_config.json": WINDSURF,
    "config.json": TBXARK,
    "sparfenyuk.json": SPARFENYUK,
    "gemini.json": GEMINI,
    "relay.toml": OURS,
}
