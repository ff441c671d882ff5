/** The built package in a real Chromium, in a page of another origin than the gateway's. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hasNoBrowser, openPage, runInPage, type OpenPage } from './page.js';
import { startSmallGateway, TOKEN, type SmallGateway } from './small-gateway.js';

describe.skipIf(hasNoBrowser)('in Chromium', () => {
  let gateway: SmallGateway;
  let opened: OpenPage;

  beforeAll(async () => {
    gateway = await startSmallGateway(({ body }) => {
      if (body.params?.name === 'slow') return new Promise(() => {});
      return { result: { tools: [{ name: 'echo' }], content: [{ text: body.params?.arguments?.text }] } };
    });
    opened = await openPage();
  });

  afterAll(async () => {
    await opened?.close();
    await gateway?.close();
  });

  function inPage<T>(body: string, proxyToken = TOKEN): Promise<T> {
    return runInPage(opened.page, { proxyUrl: gateway.url, proxyToken, mcpServerUrl: 'http://mcp.example/mcp' }, body);
  }

  test('calls cross the origins', async () => {
    const found = await inPage(`
      await client.initialize();
      const [{ name }] = await client.listTools();
      return [name, (await client.callTool(name, { text: 'é\\u2028' })).content[0].text];
    `);
    expect(found).toEqual(['echo', 'é\u2028']);
  });

  test('an error of the gateway can be read', async () => {
    const found = await inPage(
      `return client.ping().catch((error) => [error instanceof MCPProxyError, error.status, error.message]);`,
      'wrong',
    );
    expect(found).toEqual([true, 401, 'HTTP 401: {"detail":"Invalid proxy token"}']);
  });

  test('an abort reaches the gateway', async () => {
    const before = gateway.calls.length;
    const found = await inPage(`
      const controller = new AbortController();
      const outcome = client.callTool('slow', {}, controller).catch((error) => error.name);
      setTimeout(() => controller.abort(), 200);
      return outcome;
    `);
    expect(found).toBe('AbortError');
    await gateway.calls[before]!.left;
  });

  test('a WebSocket carries text as it is', async () => {
    const sent = '{ "id": 9007199254740993 }';
    const received = await inPage(`
      const socket = client.connectWebSocket();
      return new Promise((resolve, reject) => {
        socket.onopen = () => socket.send(${JSON.stringify(sent)});
        socket.onmessage = ({ data }) => { resolve(data); socket.close(); };
        socket.onerror = reject;
      });
    `);
    expect(received).toBe(sent);
  });

  test('a wrong token closes the WebSocket with 1008', async () => {
    const code = await inPage(
      `return new Promise((resolve) => { client.connectWebSocket().onclose = ({ code }) => resolve(code); });`,
      'wrong',
    );
    expect(code).toBe(1008);
  });
});
