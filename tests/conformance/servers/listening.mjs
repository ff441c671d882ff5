// Run a server of this folder where its command line says: `[--http PORT | --sse PORT]`, stdio otherwise.

import { createServer } from 'node:http';

const LOCAL = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/;

/** Start what the command line names; each value is a function that starts it. */
export async function main({ stdio, http, sse }) {
  const [option, port] = process.argv.slice(2);
  if (option === '--http') listen(port, '/mcp', http());
  else if (option === '--sse') listen(port, '/sse', sse());
  else await stdio();
}

/** Listen, say so on stderr, and stop at once when told to. A foreign Host or Origin is refused. */
function listen(port, path, handler) {
  const listener = createServer((request, response) => {
    if (!isLocal(request.headers)) return refuse(response, 403, 'foreign Host or Origin');
    handler(request, response).catch((error) => {
      console.error(error);
      if (!response.headersSent) refuse(response, 500, 'broken');
    });
  });
  listener.listen(port, '127.0.0.1', () => console.error(`listening http://127.0.0.1:${listener.address().port}${path}`));
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
}

function isLocal({ host, origin }) {
  return LOCAL.test(host ?? '') && (origin === undefined || LOCAL.test(origin.replace(/^https?:\/\//, '')));
}

/** Answer with a JSON-RPC error that belongs to no request. */
export function refuse(response, status, message) {
  response.writeHead(status, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify({ jsonrpc: '2.0', id: null, error: { code: -32000, message } }));
}

/** Read the JSON body of a POST; anything else has none. */
export async function readBody(request) {
  if (request.method !== 'POST') return undefined;
  let text = '';
  for await (const chunk of request.setEncoding('utf8')) text += chunk;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * Serve the sessions of Streamable HTTP: `open(onOpened, onClosed)` makes a connected transport for an `initialize`.
 */
export function sessions(open) {
  const known = new Map();
  return async (request, response, body) => {
    const id = request.headers['mcp-session-id'];
    if (id !== undefined) {
      if (!known.has(id)) return refuse(response, 404, 'no such session');
      return known.get(id).handleRequest(request, response, body);
    }
    if (body?.method !== 'initialize') return refuse(response, 400, 'initialize first');
    const transport = await open((opened, made) => known.set(opened, made), (closed) => known.delete(closed));
    return transport.handleRequest(request, response, body);
  };
}
