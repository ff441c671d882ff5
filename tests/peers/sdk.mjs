// Find the TypeScript SDK that install/command.py put under .peers/ (or $RELAY_PEERS_ROOT): Node looks only beside and above
// the importing file, and node_modules is neither.

import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const root = process.env.RELAY_PEERS_ROOT || path.join(here, '..', '..', '.peers');
const folder = path.join(root, 'node', 'node_modules', '@modelcontextprotocol', 'sdk', 'dist', 'esm');

/** Import one module of the SDK, e.g. `types.js`. */
export function sdk(module) {
  return import(pathToFileURL(path.join(folder, ...module.split('/'))));
}

/** Import the SDK's package.json, for its version. */
export async function sdkVersion() {
  const { readFile } = await import('node:fs/promises');
  return JSON.parse(await readFile(path.join(folder, '..', '..', 'package.json'), 'utf8')).version;
}
