// A client on the TypeScript SDK 2.x with a token in $TOKEN: `client_ts2.mjs URL`. It prints what it saw as JSON.

import { sdk2 } from '../../conformance/servers/packages.mjs';

const { Client, StreamableHTTPClientTransport } = await sdk2('client');
const headers = { Authorization: `Bearer ${process.env.TOKEN}` };
const client = new Client({ name: 'logging-in', version: '1.0.0' });
await client.connect(new StreamableHTTPClientTransport(new URL(process.argv[2]), { requestInit: { headers } }));
const tools = (await client.listTools()).tools.map((tool) => tool.name).sort();
const calls = Array.from({ length: 20 }, (_, number) => client.callTool({ name: 'echo', arguments: { text: `${number}` } }));
const texts = (await Promise.all(calls)).map((result) => result.content[0].text);
await client.close();
console.log(JSON.stringify({ tools, texts, has_browser: false }));
process.exit(0);
