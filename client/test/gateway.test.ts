/** The built package before `mcp-relay gateway` and a server of the official SDK, which `make client` starts. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { MCPProxyClient, MCPProxyError } from '../dist/index.js';
import { hasNoBrowser, openPage, runInPage, type OpenPage } from './page.js';

interface Started {
  proxyUrl: string;
  proxyToken: string;
  mcpServerUrl: string;
  /** The port of the origin that the gateway allows. */
  pagePort: number;
}

const started: Started | undefined = JSON.parse(process.env.RELAY_GATEWAY ?? 'null') ?? undefined;
const HELLO = JSON.stringify({
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'page', version: '1' } },
});

describe.skipIf(started === undefined)('the gateway of mcp-relay', () => {
  const { pagePort, ...options } = started ?? ({} as Started);
  const client = (changes = {}) =>
    new MCPProxyClient({ ...options, WebSocket: WebSocket as unknown as typeof globalThis.WebSocket, ...changes });

  test('calls reach a real server', async () => {
    const one = client();
    expect((await one.initialize()).serverInfo.name).toBe('peer-server-ts');
    expect((await one.listTools()).map(({ name }) => name)).toContain('echo');
    const texts = Array.from({ length: 20 }, (_, number) => `é\u2028${number}`);
    const results = await Promise.all(texts.map((text) => one.callTool('echo', { text })));
    expect(results.map((result) => (result.content as [{ text: string }])[0].text)).toEqual(texts);
    expect((await one.readResource('peer://note')).contents).toHaveLength(1);
    expect(await one.getPrompt('greet', { name: 'Ada' })).toHaveProperty('messages');
    await one.ping();
  });

  test('an abort cancels the call at the server', async () => {
    const one = client();
    const controller = new AbortController();
    const slow = one.callTool('slow', { seconds: 60, tag: 'client' }, controller);
    setTimeout(() => controller.abort(), 300);
    await expect(slow).rejects.toThrow('abort');
    await expect.poll(async () => JSON.stringify(await one.callTool('cancelled_count', { tag: 'client' }))).toContain('"1"');
  });

  test('errors name their cause', async () => {
    const wrong = await client({ proxyToken: 'wrong' }).ping().catch((error: MCPProxyError) => error);
    expect([wrong?.status, wrong?.message]).toEqual([401, 'HTTP 401: {"detail":"Invalid proxy token"}']);
    const inside = await client({ mcpServerUrl: 'http://192.168.1.1/' }).ping().catch((error: MCPProxyError) => error);
    expect(inside?.status).toBe(400);
    const unknown = await client().request('no/such', {}).catch((error: MCPProxyError) => error);
    expect((unknown as MCPProxyError).code).toBe(-32601);
  });

  test('a WebSocket carries frames', async () => {
    const socket = client().connectWebSocket();
    const answer = await new Promise<string>((resolve, reject) => {
      socket.addEventListener('open', () => socket.send(HELLO));
      socket.addEventListener('message', ({ data }) => resolve(String(data)));
      socket.addEventListener('error', reject);
    });
    expect(JSON.parse(answer).result.serverInfo.name).toBe('peer-server-ts');
    socket.close();
  });

  describe.skipIf(hasNoBrowser)('in Chromium, from another origin', () => {
    let opened: OpenPage;
    beforeAll(async () => {
      opened = await openPage(pagePort);
    });
    afterAll(() => opened?.close());

    test('calls', async () => {
      const found = await runInPage(opened.page, options, `
        const tools = await client.listTools();
        const { content } = await client.callTool('echo', { text: 'é\\u2028' });
        return [tools.some(({ name }) => name === 'echo'), content[0].text];
      `);
      expect(found).toEqual([true, 'é\u2028']);
    });

    test('an error can be read', async () => {
      const found = await runInPage(
        opened.page,
        { ...options, proxyToken: 'wrong' },
        `return client.ping().catch((error) => [error instanceof MCPProxyError, error.status]);`,
      );
      expect(found).toEqual([true, 401]);
    });

    test('a WebSocket, and the code of a wrong token', async () => {
      const found = await runInPage(opened.page, options, `
        const socket = client.connectWebSocket();
        const name = await new Promise((resolve, reject) => {
          socket.onopen = () => socket.send(${JSON.stringify(HELLO)});
          socket.onmessage = ({ data }) => resolve(JSON.parse(data).result.serverInfo.name);
          socket.onerror = reject;
        });
        socket.close();
        const other = new MCPProxyClient({ ...${JSON.stringify(options)}, proxyToken: 'wrong' }).connectWebSocket();
        return [name, await new Promise((resolve) => { other.onclose = ({ code }) => resolve(code); })];
      `);
      expect(found).toEqual(['peer-server-ts', 1008]);
    });
  });
});
