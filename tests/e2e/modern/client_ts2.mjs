// A client on the TypeScript SDK 2.x that finds out what its server speaks: `client_ts2.mjs MODE LOOP,… COMMAND ARG...`.
// It runs the command once for each value of MCP_RELAY_LOOP, and prints what it saw as one JSON list of objects.

import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { sdk2 } from './sdk.mjs';

const { Client } = await sdk2('client');
const { StdioClientTransport } = await sdk2('client/stdio');

const [mode, loops, command, ...args] = process.argv.slice(2);

async function once(loop) {
  const client = new Client({ name: 'modern-ts2', version: '1' }, { versionNegotiation: { mode } });
  const call = async (name, given = {}, options) => (
    (await client.callTool({ name, arguments: given }, options)).content[0].text);
  const seen = {};
  const run = randomUUID(); // other clients cancel calls of the same server
  let events = 0;

  client.setNotificationHandler('notifications/tools/list_changed', () => { events += 1; });
  await client.connect(new StdioClientTransport({ command, args, env: { ...process.env, MCP_RELAY_LOOP: loop } }));
  seen.version = client.getNegotiatedProtocolVersion();
  seen.echo = await call('echo', { text: 'né\u2028' });
  seen.tools = (await client.listTools()).tools.map(({ name }) => name).sort();
  if (seen.tools.includes('region')) {
    seen.unicode = await call('grüße', { text: 'x' });
    seen.region = await call('region', { region: ' é', zone: 42 });
    await call('slow', { text: run }, { signal: AbortSignal.timeout(500) }).catch(() => {});
    for (let turn = 0; turn < (mode === 'auto' ? 50 : 1); turn++) {
      seen.cancelled = await call('cancelled', { text: run });
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
  return seen;
}

const all = [];
for (const loop of loops.split(',')) all.push(await once(loop));
console.log(JSON.stringify(all));
process.exit(0);
