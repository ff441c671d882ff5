/**
 * The client of mcp-relay's gateway: it calls MCP servers through `POST /proxy` and `WS /ws`.
 *
 * `client.ts` has the calls, `answers.ts` reads what comes back, `errors.ts` says what went wrong, `types.ts` has shapes.
 */

export { MCPProxyClient, MCPProxyClient as default } from './client.js';
export { MCPProxyError } from './errors.js';
export type {
  CompletionReference,
  MCPProxyConfig,
  MCPRequest,
  MCPResponse,
  MCPTool,
  RequestOptions,
  WebSocketClass,
} from './types.js';
