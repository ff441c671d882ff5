// The test server on the TypeScript SDK 1.x (low-level API): `server_ts.mjs [--http PORT | --sse PORT]`.
// It offers what tools.py describes; whoever changes one changes the other.

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { sdk } from './sdk.mjs';

const { Server } = await sdk('server/index.js');
const { StdioServerTransport } = await sdk('server/stdio.js');
const { SSEServerTransport } = await sdk('server/sse.js');
const { StreamableHTTPServerTransport } = await sdk('server/streamableHttp.js');
const types = await sdk('types.js');

const INSTRUCTIONS = 'peers: call the tools in any order; \u201cnothing here is real\u201d \u{1F9EA}';
const VERSION = '3.1.4';
const RESOURCE_URI = 'peer://note';
const RESOURCE_TEXT = 'a note that never changes';
const IDLE_BEFORE_CHANGE = 200; // ms: the answer of `change` has arrived before its notifications leave

const cancelledCalls = new Map(); // by the tag of the call, so that sessions in one process do not mix

/** Return `size` ASCII characters whose position can be read off: a lost or doubled piece shows. */
function pattern(size) {
  let text = '';
  for (let at = 0; at < size; at += 8) text += String(at).padStart(8, '0');
  return text.slice(0, size);
}

/** Send one progress notification, if the call asked for them. */
async function report(extra, step, total) {
  const progressToken = extra._meta?.progressToken;
  if (progressToken === undefined) return;
  const params = { progressToken, progress: step, total, message: `step ${step}` };
  await extra.sendNotification({ method: 'notifications/progress', params });
}

// `extra` puts what it sends on the stream of the call, `connection.server` on the standalone one.
const TOOLS = {
  echo: [{ text: 'string', delay: 'number' }, async ({ text, delay = 0 }) => {
    await sleep(delay * 1000);
    return text;
  }],
  big: [{ bytes: 'integer' }, async ({ bytes }) => pattern(bytes)],
  progress: [{ steps: 'integer' }, async ({ steps }, extra) => {
    for (let step = 1; step <= steps; step++) await report(extra, step, steps);
    return `${steps} steps`;
  }],
  log: [{ text: 'string' }, async ({ text }, extra) => {
    await extra.sendNotification({ method: 'notifications/message', params: { level: 'warning', logger: 'peers', data: text } });
    return 'logged';
  }],
  sample: [{ prompt: 'string' }, async ({ prompt }, extra) => {
    const params = { messages: [{ role: 'user', content: { type: 'text', text: prompt } }], maxTokens: 100 };
    const answer = await extra.sendRequest({ method: 'sampling/createMessage', params }, types.CreateMessageResultSchema);
    return answer.content.text;
  }],
  elicit: [{ message: 'string' }, async ({ message }, extra) => {
    const requestedSchema = { type: 'object', properties: { answer: { type: 'string' } }, required: ['answer'] };
    const request = { method: 'elicitation/create', params: { message, requestedSchema } };
    const { action, content } = await extra.sendRequest(request, types.ElicitResultSchema);
    return JSON.stringify({ action, content });
  }],
  roots: [{ standalone: 'boolean' }, async ({ standalone = false }, extra, connection) => {
    const request = { method: 'roots/list' };
    const answer = standalone
      ? await connection.server.request(request, types.ListRootsResultSchema)
      : await extra.sendRequest(request, types.ListRootsResultSchema);
    return JSON.stringify(answer.roots.map((one) => one.uri));
  }],
  slow: [{ seconds: 'number', tag: 'string' }, async ({ seconds, tag }, extra) => {
    await report(extra, 1, 1);
    try {
      await sleep(seconds * 1000, undefined, { signal: extra.signal });
    } catch (error) {
      cancelledCalls.set(tag, (cancelledCalls.get(tag) ?? 0) + 1);
      throw error;
    }
    return 'finished';
  }],
  cancelled_count: [{ tag: 'string' }, async ({ tag }) => {
    const counts = tag === undefined ? [...cancelledCalls.values()] : [cancelledCalls.get(tag) ?? 0];
    return String(counts.reduce((sum, one) => sum + one, 0));
  }],
  change: [{}, async (_, extra, connection) => {
    setTimeout(() => announceChange(connection).catch(() => {}), IDLE_BEFORE_CHANGE); // the session may have ended
    return 'soon';
  }],
  whoami: [{}, async (_, extra, connection) => JSON.stringify(connection.client)],
};

/** Announce new tools and an update of every subscribed resource. */
async function announceChange({ server, subscriptions }) {
  await server.notification({ method: 'notifications/tools/list_changed' });
  for (const uri of [...subscriptions].sort()) {
    await server.notification({ method: 'notifications/resources/updated', params: { uri } });
  }
}

/** Describe a tool as tools/list wants it. */
function describe([name, [properties]]) {
  const schema = Object.fromEntries(Object.entries(properties).map(([key, type]) => [key, { type }]));
  return { name, description: name, inputSchema: { type: 'object', properties: schema } };
}

/** Serve one client on an SDK transport. */
async function serve(transport) {
  const capabilities = { tools: { listChanged: true }, resources: { subscribe: true }, prompts: {}, logging: {} };
  const info = { name: 'peer-server-ts', version: VERSION };
  const server = new Server(info, { capabilities, instructions: INSTRUCTIONS });
  const connection = { server, subscriptions: new Set(), client: null };
  const answer = (schema, handler) => server.setRequestHandler(schema, handler);
  answer(types.ListToolsRequestSchema, () => ({ tools: Object.entries(TOOLS).map(describe) }));
  answer(types.CallToolRequestSchema, async ({ params }, extra) => {
    if (!Object.hasOwn(TOOLS, params.name)) {
      throw new types.McpError(types.ErrorCode.InvalidParams, `unknown tool: ${params.name}`);
    }
    const text = await TOOLS[params.name][1](params.arguments ?? {}, extra, connection);
    return { content: [{ type: 'text', text }] };
  });
  answer(types.ListResourcesRequestSchema, () => ({ resources: [{ uri: RESOURCE_URI, name: 'note' }] }));
  answer(types.ReadResourceRequestSchema, ({ params }) => ({
    contents: [{ uri: params.uri, mimeType: 'text/plain', text: RESOURCE_TEXT }],
  }));
  answer(types.SubscribeRequestSchema, ({ params }) => (connection.subscriptions.add(params.uri), {}));
  answer(types.UnsubscribeRequestSchema, ({ params }) => (connection.subscriptions.delete(params.uri), {}));
  answer(types.ListPromptsRequestSchema, () => ({ prompts: [{ name: 'greet', arguments: [{ name: 'name', required: true }] }] }));
  answer(types.GetPromptRequestSchema, ({ params }) => ({
    messages: [{ role: 'user', content: { type: 'text', text: `greet ${params.arguments.name} warmly` } }],
  }));
  await server.connect(transport);
  // The SDK tells neither the version asked for nor the fields it does not know: look at the message itself.
  const deliver = transport.onmessage;
  transport.onmessage = (message, extra) => {
    if (message.method === 'initialize') connection.client = message.params;
    deliver(message, extra);
  };
}

/** Listen, say so on stderr, and stop at once when told to. */
function listen(port, path, handler) {
  const listener = createServer((request, response) => {
    handler(request, response).catch((error) => {
      console.error(error);
      if (!response.headersSent) response.writeHead(500);
      response.end();
    });
  });
  listener.listen(port, '127.0.0.1', () => console.error(`listening http://127.0.0.1:${listener.address().port}${path}`));
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
}

/** Serve Streamable HTTP at /mcp, a server per session. */
function serveHttp(port) {
  const sessions = new Map();
  listen(port, '/mcp', async (request, response) => {
    if (new URL(request.url, 'http://localhost').pathname !== '/mcp') return response.writeHead(404).end();
    const id = request.headers['mcp-session-id'];
    if (id !== undefined && !sessions.has(id)) return response.writeHead(404).end('unknown session');
    let transport = sessions.get(id);
    if (transport === undefined) {
      transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: () => randomUUID(),
        onsessioninitialized: (made) => void sessions.set(made, transport),
        onsessionclosed: (closed) => void sessions.delete(closed),
      });
      await serve(transport);
    }
    await transport.handleRequest(request, response);
  });
}

/** Serve HTTP+SSE at /sse, a server per stream. */
function serveSse(port) {
  const sessions = new Map();
  listen(port, '/sse', async (request, response) => {
    const url = new URL(request.url, 'http://localhost');
    if (request.method === 'GET' && url.pathname === '/sse') {
      const transport = new SSEServerTransport('/messages', response);
      sessions.set(transport.sessionId, transport);
      response.on('close', () => sessions.delete(transport.sessionId));
      return serve(transport);
    }
    const transport = sessions.get(url.searchParams.get('sessionId'));
    if (request.method !== 'POST' || transport === undefined) return response.writeHead(404).end();
    await transport.handlePostMessage(request, response);
  });
}

const [flag, port] = process.argv.slice(2);
if (flag === '--http') serveHttp(Number(port));
else if (flag === '--sse') serveSse(Number(port));
else if (flag === undefined) {
  process.stdin.on('end', () => process.exit(0)); // the SDK's transport does not look for the end of stdin
  await serve(new StdioServerTransport());
} else {
  console.error('usage: server_ts.mjs [--http PORT | --sse PORT]');
  process.exit(2);
}
