// A client for the conformance runner on the TypeScript SDK 2.x, both eras.

import { sdk2 } from '../servers/packages.mjs';
import { accept, isModern, run, stdio, url } from './scenarios.mjs';

const { Client, StreamableHTTPClientTransport } = await sdk2('client');
const { StdioClientTransport } = await sdk2('client/stdio');

const options = { capabilities: { roots: {}, sampling: {}, elicitation: {} } };
if (isModern) options.versionNegotiation = { mode: 'auto' };
const client = new Client({ name: 'conformance-ts2', version: '1.0.0' }, options);
client.setRequestHandler('elicitation/create', ({ params }) => accept(params));
await client.connect(stdio ? new StdioClientTransport(stdio) : new StreamableHTTPClientTransport(new URL(url)));
await run({
  listTools: async () => (await client.listTools()).tools,
  call: (name, given) => client.callTool({ name, arguments: given }),
  listResources: async () => (await client.listResources()).resources,
  read: (uri) => client.readResource({ uri }),
  listPrompts: async () => (await client.listPrompts()).prompts,
  get: (name) => client.getPrompt({ name }),
});
await client.close();
process.exit(0);
