/** What callers hand to the client and get from it. Results are `any`: the server shapes them, the client checks none. */

/** Where the gateway and the MCP server are, and the tokens of both. */
export interface MCPProxyConfig {
  /** Address of the gateway, with or without a path: `https://relay.example`. `''` is the origin of the page. */
  proxyUrl: string;
  /** Token of the gateway (its `PROXY_TOKEN`). It is sent to `proxyUrl` only, and no redirect is followed. */
  proxyToken: string;
  /** Address of the MCP server, as the gateway sees it: `http:`, `https:`, `ws:` or `wss:`. */
  mcpServerUrl: string;
  /** Bearer token of the MCP server, which the gateway passes on. */
  mcpToken?: string | undefined;
  /** Used in place of the global `fetch`. */
  fetch?: typeof globalThis.fetch | undefined;
  /** Used in place of the global `WebSocket`. Node 20 has none: pass that of the package `ws`. */
  WebSocket?: WebSocketClass | undefined;
}

/** The last argument of every call. */
export interface RequestOptions {
  /** Aborting it cancels the call, at the MCP server too, and the call rejects with `signal.reason`. */
  signal?: AbortSignal | undefined;
}

/** What the client needs of a WebSocket class: that of a browser, of Node and of the package `ws` all have it. */
export type WebSocketClass = new (url: string) => {
  close(): void;
  addEventListener(type: 'close' | 'error', listener: () => void): void;
};

/** A tool, as `tools/list` describes it. */
export interface MCPTool {
  name: string;
  title?: string;
  description?: string;
  inputSchema: {
    type: string;
    properties?: Record<string, any>;
    required?: string[];
    [keyword: string]: any;
  };
  outputSchema?: Record<string, any>;
  annotations?: Record<string, any>;
  _meta?: Record<string, any>;
}

/** What `completion/complete` completes: a prompt by its name, or a resource template by its URI. */
export type CompletionReference = { type: string; name: string } | { type: string; uri: string };

/** A JSON-RPC request without its id. */
export interface MCPRequest {
  method: string;
  params?: Record<string, any>;
}

/** A JSON-RPC response. */
export interface MCPResponse<T = any> {
  jsonrpc: string;
  id: number;
  result?: T;
  error?: { code: number; message: string; data?: any };
}
