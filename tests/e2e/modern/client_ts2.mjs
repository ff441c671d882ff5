// A client on the TypeScript SDK 2.x that finds out what its server speaks: `client_ts2.mjs MODE COMMAND ARG...`.
// It prints what it saw as one JSON object.

import { setTimeout as sleep } from 'node:timers/promises';
import { sdk2 } from './sdk.mjs';

const { Client } = await sdk2('client');
const { StdioClientTransport } = await sdk2('client/stdio');

const [mode, command, ...args] = process.argv.slice(2);
const client = new Client({ name: 'modern-ts2', version: '1' }, { versionNegotiation: { mode } });
const call = async (name, given = {}, options) => (
  (await client.callTool({ name, arguments: given }, options)).content[0].text);
const seen = {};
let events = 0;

client.setNotificationHandler('notifications/tools/list_changed', () => { events += 1; });
await client.connect(new StdioClientTransport({ command, args, env: process.env }));
seen.version = client.getNegotiatedProtocolVersion();
seen.echo = await call('echo', { text: 'né\u2028' });
seen.tools = (await client.listTools()).tools.map(({ name }) => name).sort();
if (seen.tools.includes('region')) {
  seen.unicode = await call('grüße', { text: 'x' });
  seen.region = await call('region', { region: ' é', zone: 42 });
  await call('slow', {}, { signal: AbortSignal.timeout(500) }).catch(() => {});
  for (let turn = 0; turn < (mode === 'auto' ? 50 : 1); turn++) {
    seen.cancelled = await call('cancelled');
    if (seen.cancelled !== '0') break;
    await sleep(100);
  }
}
if (seen.version === '2026-07-28') {
  const one = await client.listen({ toolsListChanged: true });
  const other = await client.listen({ toolsListChanged: true });
  await call('change');
  for (let turn = 0; turn < 50 && events < 2; turn++) await sleep(100);
  seen.events = events;
  await one.close();
  await other.close();
}
seen.many = await Promise.all(Array.from({ length: 50 }, (_, n) => call('echo', { text: String(n) })));
await client.close();
console.log(JSON.stringify(seen));
process.exit(0);
