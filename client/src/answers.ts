/** Read what the gateway answers to `POST /proxy`. */

import { MCPProxyError } from './errors.js';

/** A gateway's own errors are one line; a foreign proxy's page in their place is cut here. */
const MAX_QUOTED_CHARACTERS = 1_000;

/**
 * Return the `result` of the JSON-RPC response with this id.
 *
 * @throws MCPProxyError with `status` if the gateway refused the call or its answer is no such response, and with
 * `code` and `data` if the MCP server answered with an error.
 */
export async function readResult(response: Response, id: number): Promise<any> {
  const text = await readAccepted(response);
  const { status } = response;
  const message = parsed(text);
  if (!isObject(message)) {
    throw new MCPProxyError(`HTTP ${status}: expected a JSON-RPC response, got: ${quoted(text)}`, { status });
  }
  if (isObject(message.error)) {
    const { code, message: reason, data } = message.error;
    throw new MCPProxyError(`MCP Error ${code}: ${reason}`, { code, data });
  }
  if (message.id !== id || message.result === undefined) {
    throw new MCPProxyError(`HTTP ${status}: expected the result of request ${id}, got: ${quoted(text)}`, { status });
  }
  return message.result;
}

/** Return the body of an answer of success, which is all there is for a notification; throws as `readResult` does. */
export async function readAccepted(response: Response): Promise<string> {
  const text = await response.text();
  const { ok, status } = response;
  if (!ok) throw new MCPProxyError(`HTTP ${status}: ${quoted(text)}`, { status });
  return text;
}

/** Parse JSON; text that is none gives undefined. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, any> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function quoted(text: string): string {
  return text.length > MAX_QUOTED_CHARACTERS ? `${text.slice(0, MAX_QUOTED_CHARACTERS)}…` : text;
}
