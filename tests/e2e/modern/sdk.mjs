// Find the TypeScript SDK 2.x that tests/peers/install.py put under .peers/ (or $RELAY_PEERS_ROOT).

import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const root = process.env.RELAY_PEERS_ROOT || path.join(here, '..', '..', '..', '.peers');

/** Import one package of it, e.g. `server`, or a further entry, e.g. `client/stdio`. */
export function sdk2(entry) {
  const [name, file = 'index'] = entry.split('/');
  return import(pathToFileURL(path.join(root, 'ts2', 'node_modules', '@modelcontextprotocol', name, 'dist', `${file}.mjs`)));
}
