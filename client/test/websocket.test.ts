/** `connectWebSocket()`, with the WebSocket of Node (from 22 on) and that of the package `ws`. */

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { WebSocket as PackageWebSocket } from 'ws';
import { MCPProxyClient, type MCPProxyConfig, type WebSocketClass } from '../src/index.js';
import { deferred } from './deferred.js';
import { startSmallGateway, TOKEN, type SmallGateway } from './small-gateway.js';

const SERVER = 'wss://mcp.example/mcp?a=1&b=ü';
const AWKWARD = '{ "id" : 9007199254740993,\t"text": "é\\u0000\u2028" }';
let gateway: SmallGateway;

beforeEach(async () => void (gateway = await startSmallGateway(() => ({ result: {} }))));
afterEach(() => gateway.close());

const classes: [string, WebSocketClass][] = [['ws', PackageWebSocket]];
if (globalThis.WebSocket !== undefined) classes.push(['global', globalThis.WebSocket]);

describe.each(classes)('with the WebSocket %s', (_, Socket) => {
  function connect(changes: Partial<MCPProxyConfig> = {}, options?: { signal: AbortSignal }): WebSocket {
    const config = { proxyUrl: gateway.url, proxyToken: TOKEN, mcpServerUrl: SERVER, WebSocket: Socket, ...changes };
    return new MCPProxyClient(config).connectWebSocket(options);
  }

  test('text passes as it is, in both directions', async () => {
    const socket = connect({ mcpToken: 'for the server & more' });
    const message = deferred<unknown>();
    socket.onopen = () => socket.send(AWKWARD);
    socket.onmessage = (event) => message.resolve(event.data);
    expect(await message.promise).toBe(AWKWARD);
    const query = { proxy_token: TOKEN, mcp_server_url: SERVER, mcp_token: 'for the server & more' };
    expect(Object.fromEntries(gateway.dialled[0]!)).toEqual(query);
    socket.close();
  });

  test('a wrong token shows as the close code 1008', async () => {
    const closed = deferred<CloseEvent>();
    connect({ proxyToken: 'wrong' }).onclose = (event) => closed.resolve(event);
    expect((await closed.promise).code).toBe(1008);
    expect(gateway.dialled[0]!.has('mcp_token')).toBe(false);
  });

  test('an abort closes it', async () => {
    const controller = new AbortController();
    const closed = deferred<void>();
    const socket = connect({}, controller);
    socket.onclose = () => closed.resolve();
    await new Promise<void>((resolve) => (socket.onopen = () => resolve()));
    controller.abort();
    await closed.promise;
    expect(socket.readyState).toBe(3);
  });

  test('an abort ends it while it connects, without an error nobody hears', async () => {
    const controller = new AbortController();
    const closed = deferred<void>();
    connect({}, controller).addEventListener('close', () => closed.resolve());
    controller.abort();
    await closed.promise;
  });

  test('an abort before it throws its reason and dials nothing', () => {
    const reason = new Error('too late');
    expect(() => connect({}, { signal: AbortSignal.abort(reason) })).toThrow(reason);
    expect(gateway.dialled).toHaveLength(0);
  });

  test('a socket that has closed leaves nothing with the signal', async () => {
    const { signal } = new AbortController();
    const removed = vi.spyOn(signal, 'removeEventListener');
    const socket = connect({}, { signal });
    const closed = new Promise<void>((resolve) => (socket.onclose = () => resolve()));
    socket.onopen = () => socket.close();
    await closed;
    expect(removed).toHaveBeenCalledWith('abort', expect.any(Function));
  });
});

test.each([
  ['http://relay.example', 'ws://relay.example/ws'],
  ['https://relay.example:8443/a/', 'wss://relay.example:8443/a/ws'],
])('the address %s becomes %s', (proxyUrl, expected) => {
  const urls: string[] = [];
  class Recorder extends EventTarget {
    constructor(url: string) {
      super();
      urls.push(url);
    }
    close(): void {}
  }
  new MCPProxyClient({ proxyUrl, proxyToken: 't', mcpServerUrl: 'u', WebSocket: Recorder }).connectWebSocket();
  expect(urls).toEqual([`${expected}?proxy_token=t&mcp_server_url=u`]);
});

test('without any WebSocket it says which option brings one', () => {
  vi.stubGlobal('WebSocket', undefined);
  try {
    const client = new MCPProxyClient({ proxyUrl: gateway.url, proxyToken: TOKEN, mcpServerUrl: SERVER });
    expect(() => client.connectWebSocket()).toThrow(/pass one as WebSocket/);
  } finally {
    vi.unstubAllGlobals();
  }
});

