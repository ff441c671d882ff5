// Find the SDKs that tests/peers/install.py put under .peers/ (or $RELAY_PEERS_ROOT): Node looks only beside and above
// the importing file, and node_modules is neither.

import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const root = process.env.RELAY_PEERS_ROOT || path.join(here, '..', '..', '..', '.peers');
const v1 = path.join(root, 'node', 'node_modules', '@modelcontextprotocol', 'sdk', 'dist', 'esm');
const v2 = path.join(root, 'ts2', 'node_modules', '@modelcontextprotocol');

/** Import one module of SDK 1.x, e.g. `types.js`. */
export function sdk1(module) {
  return import(pathToFileURL(path.join(v1, ...module.split('/'))));
}

/** Import one package of SDK 2.x, e.g. `server`, or a further entry of it, e.g. `server/stdio`. */
export function sdk2(entry) {
  const [name, file = 'index'] = entry.split('/');
  return import(pathToFileURL(path.join(v2, name, 'dist', `${file}.mjs`)));
}

/** What every server here offers, whatever its SDK. */
export async function readOffer() {
  return JSON.parse(await readFile(path.join(here, 'offer.json'), 'utf8'));
}
