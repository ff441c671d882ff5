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

GEMINI_SETTINGS = """\
{
  "theme": "Default", // Gemini CLI
  "mcp": {"allowed": ["python", "far"], "excluded": ["far"]},
  "mcpServers": {
    "python": {
      "command": "python",
      "args": ["-m", "my_mcp_server", "--port", "$PORT", "--home=$HOME/x"],
      "cwd": "./mcp-servers/python",
      "env": {"DATABASE_URL": "$DB_CONNECTION_STRING", "API_KEY": "${EXTERNAL_API_KEY}"},
      "timeout": 15000,
      "trust": false,
      "includeTools": []
    },
    "far": {"httpUrl": "https://g.example.com/mcp", "headers": {"Authorization": "Bearer $G_TOKEN"}},
    "other": {"url": "https://g.example.com/sse"}
  }
}
"""

CLAUDE_CODE = """\
{
  "numStartups": 12,
  "mcpServers": {
    "sentry": {"type": "http", "url": "https://mcp.sentry.dev/mcp"},
    "shared": {"type": "stdio", "command": "npx", "args": ["-y", "for-all"], "env": {}}
  },
  "projects": {
    "/home/me/one": {
      "allowedTools": [],
      "mcpServers": {
        "shared": {"type": "stdio", "command": "npx", "args": ["-y", "for-one"], "env": {"K": "${KEY:-none}"}},
        "off": {"type": "stdio", "command": "npx"}
      },
      "disabledMcpServers": ["off"]
    },
    "/home/me/two": {"mcpServers": {"only-two": {"command": "two"}}},
    "/home/me/three": {"mcpServers": {}}
  }
}
"""

CLAUDE_CODE_PLUGIN = """\
{
  "database": {"command": "db-server", "args": ["--config", "config.json"]},
  "far": {"type": "http", "url": "https://mcp.example.com/mcp"}
}
"""

CLINE = """\
{
  "mcpServers": {
    "local": {
      "command": "node", "args": ["/path/to/server.js"], "env": {"API_KEY": "your_api_key"},
      "alwaysAllow": ["tool1"], "autoApprove": [], "disabled": false, "timeout": 60, "type": "stdio"
    },
    "far": {"type": "streamableHttp", "url": "https://h.example.com/mcp", "headers": {"A": "b"}, "disabled": true},
    "old": {"transportType": "sse", "url": "https://h.example.com/sse"}
  }
}
"""

ROO = """\
{
  "mcpServers": {
    "far": {"type": "streamable-http", "url": "https://h/mcp", "alwaysAllow": [], "disabledTools": [], "timeout": 60},
    "local": {"command": "npx", "args": ["-y", "x"], "watchPaths": ["/src"], "disabled": false, "cwd": "/src"}
  }
}
"""

CONTINUE = """\
name: Local config
version: 0.0.1
schema: v1
mcpServers:
  - name: SQLite MCP
    command: npx
    args:
      - "-y"
      - mcp-sqlite
      - --token
      - ${{ secrets.SQLITE_TOKEN }}
    env:
      SUPABASE_TOKEN: ${{ secrets.SQLITE_TOKEN }}
    connectionTimeout: 5000
  - name: far
    type: streamable-http
    url: https://h.example.com/mcp
    requestOptions:
      headers:
        Authorization: Bearer ${{ secrets.SQLITE_TOKEN }}
"""

CODEX = """\
model = "gpt-5"
[features]
rmcp_client = true

[mcp_servers.context7]
command = "npx"
args = ["-y", "@upstash/context7-mcp"]
env_vars = ["LOCAL_TOKEN", { name = "OTHER", source = "remote" }]
cwd = "/srv"
startup_timeout_sec = 20
tool_timeout_sec = 45.0
required = true
enabled_tools = []
default_tools_approval_mode = "prompt"

[mcp_servers.context7.env]
MY_ENV_VAR = "MY_ENV_VALUE"

[mcp_servers.context7.tools.search]
approval_mode = "approve"

[mcp_servers.figma]
url = "https://mcp.figma.com/mcp"
bearer_token_env_var = "FIGMA_OAUTH_TOKEN"
http_headers = { "X-Figma-Region" = "us-east-1" }
env_http_headers = { "X-Key" = "FIGMA_KEY", "X-None" = "NOT_SET" }

[mcp_servers.off]
command = "off"
enabled = false
"""

GOOSE = """\
GOOSE_PROVIDER: "anthropic"
GOOSE_TEMPERATURE: 0.7
extensions:
  developer:
    bundled: true
    enabled: true
    name: developer
    timeout: 300
    type: builtin
  github:
    cmd: npx
    args: [-y, "@modelcontextprotocol/server-github"]
    description: "GitHub"
    enabled: true
    env_keys: [GITHUB_TOKEN]
    envs: {PORT: 8080, VERSION: 1.10, DEBUG: yes, ON: true}
    name: github
    timeout: 300
    type: stdio
  far:
    enabled: true
    type: streamable_http
    uri: https://h.example.com/mcp
    headers:
      X-A: b
  older:
    enabled: false
    config: {type: stdio, name: older, cmd: npx, args: []}
"""

LM_STUDIO = """\
{"mcpServers": {"hf": {"url": "https://huggingface.co/mcp", "headers": {"Authorization": "Bearer <HF_TOKEN>"}}}}
"""

JETBRAINS = """\
{"mcpServers": {"memory": {"command": "npx", "args": ["-y", "memory"], "enabled": true, "workingDirectory": "/x"}}}
"""

OPENCODE = """\
{
  "$schema": "https://opencode.ai/config.json",
  "mcp": {
    "local": {
      "type": "local", "command": ["bun", "x", "my-mcp-command"], "enabled": true,
      "environment": {"MY_ENV_VAR": "{env:MY_VALUE}"}, "timeout": 3000
    },
    "far": {
      "type": "remote", "url": "https://h.example.com/mcp", "headers": {"Authorization": "Bearer {env:MY_API_KEY}"},
      "oauth": false
    }
  }
}
"""

AMAZON_Q = """\
{
  "name": "default",
  "tools": ["*"],
  "mcpServers": {
    "fetch": {"command": "uvx", "args": ["mcp-server-fetch"], "timeout": 120000, "disabled": false},
    "far": {"type": "http", "url": "https://api.findadomain.dev/mcp", "oauthScopes": []}
  }
}
"""

WARP = """\
{
  "mcpServers": {
    "fs": {"command": "npx", "args": ["-y", "fs"], "working_directory": "/x", "start_on_launch": true, "env": {}},
    "far": {"url": "https://h.example.com/sse", "headers": {"A": "b"}}
  }
}
"""

LIBRECHAT = """\
version: 1.3.1
interface:
  mcpServers: {use: true}
mcpSettings:
  allowedDomains: [h.example.com]
mcpServers:
  everything:
    # type: sse
    url: http://localhost:3001/sse
  sheets:
    type: sse
    url: https://h.example.com/sheets
    headers:
      X-User-ID: "{{LIBRECHAT_USER_ID}}"
  mine:
    type: streamable-http
    url: https://h.example.com/mine
    headers: {X-Auth-Token: '{{MY_KEY}}'}
    customUserVars: {MY_KEY: {title: Key, description: Mine}}
  fs: &fs
    command: npx
    args:
      - -y
      - fs
    iconPath: /x.svg
    timeout: 60000
    initTimeout: 10000
    serverInstructions: true
  fs2:
    <<: *fs
    args: [-y, fs2]
"""

COPILOT = """\
{
  "mcpServers": {
    "playwright": {
      "type": "local", "command": "npx", "args": ["@playwright/mcp@latest"], "tools": ["*"],
      "env": {"KEY": "$COPILOT_MCP_KEY"}
    },
    "far": {"type": "http", "url": "https://h.example.com/mcp", "tools": ["a"], "headers": {"A": "$COPILOT_MCP_KEY"}}
  }
}
"""

CRUSH = """\
{
  "mcp": {
    "fs": {"type": "stdio", "command": "node", "args": ["x.js"], "timeout": 120, "disabled": false, "env": {"N": "p"}},
    "far": {"type": "http", "url": "https://h.example.com/mcp/"}
  }
}
"""

CHERRY_STUDIO = """\
{
  "mcpServers": {
    "a1": {"name": "n", "type": "streamableHttp", "baseUrl": "https://h.example.com/mcp", "command": "", "args": [],
           "env": {}, "isActive": true, "provider": "p", "tags": []},
    "a2": {"name": "m", "type": "inMemory", "isActive": true, "command": "", "args": []},
    "a3": {"name": "o", "type": "stdio", "command": "uvx", "args": ["o"], "isActive": false, "registryUrl": ""}
  }
}
"""

AMP = """\
{"amp.mcpServers": {"playwright": {"command": "npx", "args": ["-y", "@playwright/mcp@latest", "--headless"]}}}
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
    "gemini-settings.json": GEMINI_SETTINGS,
    "claude-code.json": CLAUDE_CODE,
    "plugin.json": CLAUDE_CODE_PLUGIN,
    "cline.json": CLINE,
    "roo.json": ROO,
    "continue.yaml": CONTINUE,
    "codex.toml": CODEX,
    "goose.yaml": GOOSE,
    "lm-studio.json": LM_STUDIO,
    "jetbrains.json": JETBRAINS,
    "opencode.json": OPENCODE,
    "amazon-q.json": AMAZON_Q,
    "warp.json": WARP,
    "librechat.yaml": LIBRECHAT,
    "copilot.json": COPILOT,
    "crush.json": CRUSH,
    "cherry-studio.json": CHERRY_STUDIO,
    "amp.json": AMP,
    "relay.toml": OURS,
}
