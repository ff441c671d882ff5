/** The package as it is published: what is in it, and how programs that install it load it. */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';

const PACKAGE = fileURLToPath(new URL('..', import.meta.url));
const MAX_PACKED_BYTES = 40_000;
let folder: string;
let packed: { filename: string; files: { path: string }[] };

/** Run a script of Node's with the Node of the test. */
function node(args: string[], cwd: string): string {
  return execFileSync(process.execPath, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
}

/** Run npm: its own script, which it names to what it runs. */
function npm(args: string[], cwd: string): string {
  const script = process.env.npm_execpath;
  if (script === undefined) throw new Error('run the tests by npm: npm test');
  return node([script, ...args], cwd);
}

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'client-package-'));
  [packed] = JSON.parse(npm(['pack', '--ignore-scripts', '--json', '--pack-destination', folder], PACKAGE));
  writeFileSync(path.join(folder, 'package.json'), '{ "private": true }');
  npm(['install', '--offline', '--no-audit', '--no-fund', path.join(folder, packed.filename)], folder);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('it is small, and holds the built modules, their types, the README and the licence', () => {
  const expected = ['LICENSE', 'README.md', 'package.json'];
  for (const module of ['answers', 'client', 'errors', 'index', 'types']) {
    expected.push(`dist/${module}.d.ts`, `dist/${module}.js`);
  }
  expect(packed.files.map((file) => file.path).sort()).toEqual(expected.sort());
  expect(statSync(path.join(folder, packed.filename)).size).toBeLessThanOrEqual(MAX_PACKED_BYTES);
});

test.each([
  ['import', 'module', "import D, { MCPProxyClient as C } from 'mcp-frame-relay-client';"],
  ['require', 'commonjs', "const { default: D, MCPProxyClient: C } = require('mcp-frame-relay-client');"],
])('a program loads it by %s', (_, type, load) => {
  const script = `${load} console.log(D === C && new C({ proxyUrl: '', proxyToken: '', mcpServerUrl: '' }) instanceof D)`;
  const flags = ['--disable-warning=ExperimentalWarning', `--input-type=${type}`, '--eval', script];
  expect(node(flags, folder)).toBe('true\n');
});

test.each([
  ['NodeNext', ['consumer.mts', 'consumer.cts']],
  ['Preserve', ['consumer.ts']],
])('TypeScript with module %s finds its types', (module, names) => {
  for (const name of names) writeFileSync(path.join(folder, name), CONSUMER);
  const tsc = path.join(PACKAGE, 'node_modules', 'typescript', 'bin', 'tsc');
  node([tsc, '--noEmit', '--strict', '--target', 'ES2022', '--module', module, '--types', '', ...names], folder);
});

const CONSUMER = `
  import MCPProxyClient, { MCPProxyError, type MCPTool } from 'mcp-frame-relay-client';
  const client = new MCPProxyClient({ proxyUrl: '', proxyToken: '', mcpServerUrl: '' });
  export const names = client.listTools().then((tools: MCPTool[]) => tools.map((tool) => tool.name));
  export const status = (error: unknown): number | undefined => (error instanceof MCPProxyError ? error.status : 0);
  // @ts-expect-error: no address is a number
  new MCPProxyClient({ proxyUrl: 1, proxyToken: '', mcpServerUrl: '' });
`;
