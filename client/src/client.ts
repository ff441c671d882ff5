/** Call an MCP server through the gateway. */

import { readAccepted, readResult } from './answers.js';
import { MCPProxyError } from './errors.js';
import type { CompletionReference, MCPProxyConfig, MCPTool, RequestOptions, WebSocketClass } from './types.js';

/** The newest protocol version with an `initialize`; a server that speaks an older one answers with that. */
const PROTOCOL_VERSION = '2025-11-25';
/** Name and version of the package, as package.json has them. */
const CLIENT_INFO = { name: 'mcp-frame-relay-client', version: '0.1.0' };
/** A list that has more pages than this is taken for a loop of the server's. */
const MAX_PAGES = 10_000;
const REQUIRED = ['proxyUrl', 'proxyToken', 'mcpServerUrl'] as const;

/** One MCP server behind one gateway. Calls may run at the same time; each gets its own answer. */
export class MCPProxyClient {
  // Private fields: neither JSON.stringify, nor a log of the client, nor a debugger's property list shows the tokens.
  readonly #proxyUrl: string;
  readonly #proxyToken: string;
  readonly #mcpServerUrl: string;
  readonly #mcpToken: string | undefined;
  readonly #fetch: typeof globalThis.fetch | undefined;
  readonly #WebSocket: WebSocketClass | undefined;
  #lastId = 0;

  /** Store the addresses and tokens; nothing is sent yet. Throws a TypeError if a required one is no string. */
  constructor(config: MCPProxyConfig) {
    for (const name of REQUIRED) {
      if (typeof config?.[name] !== 'string') throw new TypeError(`MCPProxyClient: ${name} must be a string`);
    }
    this.#proxyUrl = config.proxyUrl.replace(/\/+$/, '');
    this.#proxyToken = config.proxyToken;
    this.#mcpServerUrl = config.mcpServerUrl;
    this.#mcpToken = config.mcpToken || undefined;
    this.#fetch = config.fetch;
    this.#WebSocket = config.WebSocket;
  }

  /** Vue wraps the objects of a component in a Proxy, which cannot read private fields, unless they have such a tag. */
  get [Symbol.toStringTag](): string {
    return 'MCPProxyClient';
  }

  /** Open a session of this client's own. Without this call the gateway opens one at the first request. */
  async initialize(options?: RequestOptions): Promise<any> {
    // No capabilities: over /proxy a server's own requests are answered by the gateway, and never reach the page.
    const params = { protocolVersion: PROTOCOL_VERSION, capabilities: {}, clientInfo: CLIENT_INFO };
    return this.request('initialize', params, options);
  }

  /** List all tools, of every page. */
  async listTools(options?: RequestOptions): Promise<MCPTool[]> {
    return this.#list('tools/list', 'tools', options);
  }

  /** Call a tool; a tool's own failure is a result with `isError`, not an error. */
  async callTool(name: string, args: Record<string, any> = {}, options?: RequestOptions): Promise<any> {
    return this.request('tools/call', { name, arguments: args ?? {} }, options);
  }

  /** List all resources, of every page. */
  async listResources(options?: RequestOptions): Promise<any[]> {
    return this.#list('resources/list', 'resources', options);
  }

  /** Read a resource by its URI. */
  async readResource(uri: string, options?: RequestOptions): Promise<any> {
    return this.request('resources/read', { uri }, options);
  }

  /** List all prompts, of every page. */
  async listPrompts(options?: RequestOptions): Promise<any[]> {
    return this.#list('prompts/list', 'prompts', options);
  }

  /** Fill in a prompt. */
  async getPrompt(name: string, args: Record<string, any> = {}, options?: RequestOptions): Promise<any> {
    return this.request('prompts/get', { name, arguments: args ?? {} }, options);
  }

  /** Complete the argument of a prompt or of a resource template. */
  async complete(
    ref: CompletionReference,
    argument: { name: string; value: string },
    options?: RequestOptions,
  ): Promise<any> {
    return this.request('completion/complete', { ref, argument }, options);
  }

  /** Ask the server for a sign of life. */
  async ping(options?: RequestOptions): Promise<void> {
    await this.request('ping', undefined, options);
  }

  /**
   * Send any request and return its result. A method `notifications/…` goes as a notification, and returns undefined.
   *
   * @throws MCPProxyError see there; `signal.reason` if aborted; a TypeError if the gateway cannot be reached.
   */
  async request(method: string, params?: Record<string, any>, { signal }: RequestOptions = {}): Promise<any> {
    const id = method.startsWith('notifications/') ? undefined : ++this.#lastId;
    const call = { mcp_server_url: this.#mcpServerUrl, mcp_token: this.#mcpToken, jsonrpc: '2.0', id, method, params };
    const send = this.#fetch ?? globalThis.fetch; // a browser's refuses to be called as a method of another object
    const response = await send(`${this.#proxyUrl}/proxy`, {
      method: 'POST',
      headers: {
        Accept: 'application/json',
        'Content-Type': 'application/json',
        'X-Proxy-Token': this.#proxyToken,
      },
      body: JSON.stringify(call),
      redirect: 'error', // fetch would send both tokens again, to wherever the redirect points
      ...(signal && { signal }),
    });
    if (id !== undefined) return readResult(response, id);
    await readAccepted(response);
    return undefined;
  }

  /**
   * Connect a WebSocket to the MCP server; each text message is one JSON-RPC message, as it is, in both directions.
   *
   * The tokens are in its URL, as a browser's WebSocket has no headers: do not log `socket.url`. Aborting closes it.
   * The gateway closes with 1008 for a wrong token, 1002 for a refused server, 1011 for a failure.
   */
  connectWebSocket({ signal }: RequestOptions = {}): WebSocket {
    signal?.throwIfAborted();
    const Socket = this.#WebSocket ?? globalThis.WebSocket;
    if (Socket === undefined) {
      throw new TypeError('MCPProxyClient: no global WebSocket here (Node has one from 22 on); pass one as WebSocket');
    }
    const socket = new Socket(this.#webSocketUrl());
    if (signal) closeOnAbort(socket, signal);
    return socket as WebSocket;
  }

  #webSocketUrl(): string {
    const url = new URL(`${this.#proxyUrl}/ws`, globalThis.location?.href);
    url.protocol = url.protocol.replace('http', 'ws');
    url.searchParams.set('proxy_token', this.#proxyToken);
    url.searchParams.set('mcp_server_url', this.#mcpServerUrl);
    if (this.#mcpToken !== undefined) url.searchParams.set('mcp_token', this.#mcpToken);
    return url.href;
  }

  /** Read every page of a list (MCP 2026-07-28, Pagination: any cursor but a missing one means more). */
  async #list(method: string, member: string, options?: RequestOptions): Promise<any[]> {
    const pages: any[][] = [];
    const cursors = new Set<unknown>();
    let params: { cursor: string } | undefined;
    for (;;) {
      const result = await this.request(method, params, options);
      pages.push(result?.[member] ?? []);
      const cursor = result?.nextCursor ?? undefined;
      if (cursor === undefined) return pages.flat(1);
      if (cursors.has(cursor) || pages.length >= MAX_PAGES) {
        throw new MCPProxyError(`${method}: the list does not end: the cursor after page ${pages.length} is ${cursor}`);
      }
      cursors.add(cursor);
      params = { cursor };
    }
  }
}

/** Close the socket when the signal is aborted, and forget the signal when the socket closes by itself. */
function closeOnAbort(socket: InstanceType<WebSocketClass>, signal: AbortSignal): void {
  const close = (): void => {
    // That of the package ws throws its error at the process if nobody listens for it.
    socket.addEventListener('error', () => {});
    socket.close();
  };
  signal.addEventListener('abort', close, { once: true });
  socket.addEventListener('close', () => signal.removeEventListener('abort', close));
}
