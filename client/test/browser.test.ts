/** The built package in a real Chromium, in a page of another origin than the gateway's. */

import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startSmallGateway, TOKEN, type SmallGateway } from './small-gateway.js';

const DIST = new URL('../dist/', import.meta.url);
const executablePath = ['chromium', 'chromium-browser', 'google-chrome']
  .map((name) => spawnSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).stdout.trim())
  .find((path) => path !== '');

// CI installs one: there its absence is a failure.
describe.skipIf(executablePath === undefined && !process.env.CI)('in Chromium', () => {
  let gateway: SmallGateway;
  let pages: Server;
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    gateway = await startSmallGateway(({ body }) => {
      if (body.params?.name === 'slow') return new Promise(() => {});
      return { result: { tools: [{ name: 'echo' }], content: [{ text: body.params?.arguments?.text }] } };
    });
    pages = createServer((request, response) => void servePage(request.url ?? '/').then((file) => {
      response.writeHead(file === undefined ? 404 : 200, { 'Content-Type': file?.type ?? 'text/plain' }).end(file?.text);
    }));
    pages.listen(0, '127.0.0.1');
    await once(pages, 'listening');
    browser = await chromium.launch({ executablePath: executablePath! });
    page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${(pages.address() as AddressInfo).port}/`);
  });

  afterAll(async () => {
    await browser?.close();
    pages?.close();
    await gateway?.close();
  });

  /** Run a body of JavaScript in the page, where `client` is one of the gateway, and return what it returns. */
  function inPage<T>(body: string, proxyToken = TOKEN): Promise<T> {
    const config = JSON.stringify({ proxyUrl: gateway.url, proxyToken, mcpServerUrl: 'http://mcp.example/mcp' });
    return page.evaluate(`(async () => {
      const { MCPProxyClient, MCPProxyError } = await import('/dist/index.js');
      const client = new MCPProxyClient(${config});
      ${body}
    })()`);
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

/** Find what a page asks for: the page itself, or a module of the package. */
async function servePage(path: string): Promise<{ type: string; text: string } | undefined> {
  if (path === '/') return { type: 'text/html', text: '<!doctype html><title>page of another origin</title>' };
  const module = /^\/dist\/([a-z]+\.js)$/.exec(path)?.[1];
  if (module === undefined) return undefined;
  return { type: 'text/javascript', text: await readFile(new URL(module, DIST), 'utf8') };
}
