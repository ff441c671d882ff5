// Ask server-everything a little of each kind and print what came as one JSON object:
// `everything_client.mjs [--http URL | --sse URL] [-- COMMAND ARG...]`.

import { parseArgs } from 'node:util';
import { sdk } from '../peers/sdk.mjs';

const { Client } = await sdk('client/index.js');
const { StdioClientTransport } = await sdk('client/stdio.js');
const { SSEClientTransport } = await sdk('client/sse.js');
const { StreamableHTTPClientTransport } = await sdk('client/streamableHttp.js');

const { values, positionals } = parseArgs({
  options: { http: { type: 'string' }, sse: { type: 'string' } },
  allowPositionals: true,
});
const transport = values.http
  ? new StreamableHTTPClientTransport(new URL(values.http))
  : values.sse
    ? new SSEClientTransport(new URL(values.sse))
    : new StdioClientTransport({ command: positionals[0], args: positionals.slice(1), stderr: 'ignore' });

const client = new Client({ name: 'everything-client', version: '1' }, { capabilities: {} });
await client.connect(transport);

const { tools } = await client.listTools();
const named = (...names) => names.find((name) => tools.some((tool) => tool.name === name));
const echoed = await client.callTool({ name: 'echo', arguments: { message: 'through the relay \u4e2d\u{1F9EA}' } });
const progress = [];
const long = named('trigger-long-running-operation', 'longRunningOperation');
const done = await client.callTool({ name: long, arguments: { duration: 0.8, steps: 4 } }, undefined, {
  onprogress: (one) => progress.push(one.progress),
});
const { resources } = await client.listResources();
const read = await client.readResource({ uri: resources[0].uri });
const { prompts } = await client.listPrompts();
const prompt = await client.getPrompt({ name: prompts[0].name });

const found = {
  server: client.getServerVersion(),
  instructions: client.getInstructions(),
  capabilities: client.getServerCapabilities(),
  tools: tools.length,
  schemas: tools,
  echo: echoed.content[0].text,
  done: done.content,
  progress,
  resource: read.contents[0].uri,
  prompts: prompts.map((one) => one.name),
  prompt,
};
await transport.terminateSession?.();
await client.close();
process.stdout.write(JSON.stringify(found) + '\n');
