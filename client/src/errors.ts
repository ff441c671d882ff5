/** The one class of errors that the client makes itself. */

/** What an error knows besides its message. */
export interface MCPProxyErrorDetails {
  status?: number;
  code?: number;
  data?: unknown;
}

/**
 * A call that failed: `status` is set when the gateway refused it, `code` when the MCP server answered with an error.
 *
 * Aborted calls reject with `signal.reason`, and an unreachable gateway with the `TypeError` of `fetch`, not with this.
 */
export class MCPProxyError extends Error {
  override readonly name = 'MCPProxyError';
  /** HTTP status of the gateway's answer; undefined if the MCP server made the error. */
  readonly status: number | undefined;
  /** JSON-RPC error code of the MCP server; undefined if the gateway made the error. */
  readonly code: number | undefined;
  /** The `data` member of the JSON-RPC error, if it had one. */
  readonly data: unknown;

  constructor(message: string, { status, code, data }: MCPProxyErrorDetails = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.data = data;
  }
}
