// A client for the conformance runner on the TypeScript SDK 1.x, legacy era.

import { sdk1 } from '../servers/packages.mjs';
import { accept, run, stdio, url } from './scenarios.mjs';

const { Client } = await sdk1('client/index.js');
const { StdioClientTransport } = await sdk1('client/stdio.js');
const { StreamableHTTPClientTransport } = await sdk1('client/streamableHttp.js');
const { ElicitRequestSchema } = await sdk1('types.js');

const client = new Client({ name: 'conformance-ts1', version: '1.0.0' }, { capabilities: { elicitation: {} } });
client.setRequestHandler(ElicitRequestSchema, ({ params }) => accept(params));
await client.connect(stdio ? new StdioClientTransport(stdio) : new StreamableHTTPClientTransport(new URL(url)));
await run({
  listTools: async () => (await client.listTools()).tools,
  call: (name, given) => client.callTool({ name, arguments: given }),
});
await client.close();
process.exit(0);
