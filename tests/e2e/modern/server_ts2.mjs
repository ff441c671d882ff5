// A server of both eras on the TypeScript SDK 2.x, Streamable HTTP: `server_ts2.mjs`; it says where on stderr.

import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { sdk2 } from './sdk.mjs';

const { McpServer, createMcpHandler, fromJsonSchema } = await sdk2('server');
const { toNodeHandler } = await sdk2('node');

const string = { type: 'string' };
const TOOLS = {
  echo: { text: string },
  'grüße': { text: string },
  region: { region: { ...string, 'x-mcp-header': 'Region' }, zone: { type: 'integer', 'x-mcp-header': 'Zone' } },
  slow: { text: string },
  cancelled: { text: string },
  change: {},
};
const cancelled = {}; // by the text that a call names: each client names its own

async function call(name, given, ctx) {
  if (name === 'region') return `${given.region} ${given.zone}`;
  if (name === 'slow') await sleep(60_000, null, { signal: ctx.mcpReq.signal }).catch((error) => {
    cancelled[given.text] = (cancelled[given.text] ?? 0) + 1;
    throw error;
  });
  if (name === 'cancelled') return String(cancelled[given.text] ?? 0);
  if (name === 'change') handler.notify.toolsChanged();
  return String(given.text);
}

function makeServer() {
  const server = new McpServer({ name: 'modern-ts2', version: '1' }, { capabilities: { tools: { listChanged: true } } });
  for (const [name, properties] of Object.entries(TOOLS)) {
    const inputSchema = fromJsonSchema({ type: 'object', properties });
    server.registerTool(name, { inputSchema }, async (given, ctx) => (
      { content: [{ type: 'text', text: await call(name, given, ctx) }] }));
  }
  return server;
}

const handler = createMcpHandler(makeServer);
const listener = createServer(toNodeHandler(handler));
listener.listen(0, '127.0.0.1', () => console.error(`listening http://127.0.0.1:${listener.address().port}/mcp`));
