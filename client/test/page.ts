/** A page of another origin than the gateway's, which can import the built package, in a real Chromium. */

import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { chromium, type Page } from 'playwright-core';

const DIST = new URL('../dist/', import.meta.url);
const executablePath = ['chromium', 'chromium-browser', 'google-chrome']
  .map((name) => spawnSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).stdout.trim())
  .find((path) => path !== '');

/** Whether tests in a browser are to be skipped. CI installs one: there its absence is a failure. */
export const hasNoBrowser = executablePath === undefined && !process.env.CI;

export interface OpenPage {
  page: Page;
  close(): Promise<void>;
}

/** Open the page; `port` is that of its origin, or 0 for any. */
export async function openPage(port = 0): Promise<OpenPage> {
  const pages = createServer((request, response) => void servePage(request.url ?? '/').then((file) => {
    response.writeHead(file === undefined ? 404 : 200, { 'Content-Type': file?.type ?? 'text/plain' }).end(file?.text);
  }));
  pages.listen(port, '127.0.0.1');
  await once(pages, 'listening');
  const browser = await chromium.launch({ executablePath: executablePath! });
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${(pages.address() as AddressInfo).port}/`);
  return {
    page,
    async close() {
      await browser.close();
      pages.close();
    },
  };
}

/** Run a body of JavaScript in the page, where `client` is one with these options, and return what it returns. */
export function runInPage<T>(page: Page, options: object, body: string): Promise<T> {
  return page.evaluate(`(async () => {
    const { MCPProxyClient, MCPProxyError } = await import('/dist/index.js');
    const client = new MCPProxyClient(${JSON.stringify(options)});
    ${body}
  })()`);
}

/** Find what a page asks for: the page itself, or a module of the package. */
async function servePage(path: string): Promise<{ type: string; text: string } | undefined> {
  if (path === '/') return { type: 'text/html', text: '<!doctype html><title>page of another origin</title>' };
  const module = /^\/dist\/([a-z]+\.js)$/.exec(path)?.[1];
  if (module === undefined) return undefined;
  return { type: 'text/javascript', text: await readFile(new URL(module, DIST), 'utf8') };
}
