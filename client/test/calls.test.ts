/** What the client sends to `POST /proxy`, and what it makes of each answer. */

import { readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { reactive } from '@vue/reactivity';
import { afterEach, beforeEach, describe, expect, expectTypeOf, test, vi } from 'vitest';
import MCPProxyClient, * as named from '../src/index.js';
import { MCPProxyError, type MCPProxyConfig, type MCPTool } from '../src/index.js';
import { deferred } from './deferred.js';
import { startSmallGateway, TOKEN, type Answer, type Call, type SmallGateway } from './small-gateway.js';

const SERVER = 'https://mcp.example/mcp';
let gateway: SmallGateway;
let answer: (call: Call) => Answer | Promise<Answer>;

beforeEach(async () => {
  answer = () => ({ result: {} });
  gateway = await startSmallGateway((call) => answer(call));
});
afterEach(() => gateway.close());

function client(changes: Partial<MCPProxyConfig> = {}): MCPProxyClient {
  return new MCPProxyClient({ proxyUrl: gateway.url, proxyToken: TOKEN, mcpServerUrl: SERVER, ...changes });
}

async function failure(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    (result) => expect.fail(`expected a failure, got ${JSON.stringify(result)}`),
    (reason: unknown) => reason,
  );
}

async function proxyError(call: Promise<unknown>): Promise<MCPProxyError> {
  const error = await failure(call);
  expect(error).toBeInstanceOf(MCPProxyError);
  return error as MCPProxyError;
}

test('the class is the default export and a named one', () => {
  expect(named.MCPProxyClient).toBe(MCPProxyClient);
});

describe('a call', () => {
  test('carries the addresses and tokens where the gateway wants them', async () => {
    await client({ mcpToken: 'for the server' }).ping();
    const [{ headers, body }] = gateway.calls as [Call];
    expect(body).toEqual({ mcp_server_url: SERVER, mcp_token: 'for the server', jsonrpc: '2.0', id: 1, method: 'ping' });
    expect(headers['content-type']).toBe('application/json');
    expect(headers.accept).toBe('application/json');
  });

  test.each([undefined, ''])('carries no mcp_token when it is %j', async (mcpToken) => {
    await client({ mcpToken }).ping();
    expect(gateway.calls[0]!.body).not.toHaveProperty('mcp_token');
  });

  test('has an id of its own', async () => {
    const one = client();
    await Promise.all([one.ping(), one.listTools(), one.callTool('echo')]);
    expect(gateway.calls.map(({ body }) => body.id).sort()).toEqual([1, 2, 3]);
  });

  const reference = { type: 'ref/prompt', name: 'greet' };
  const argument = { name: 'name', value: 'A' };
  test.each<[string, (one: MCPProxyClient) => Promise<unknown>, string, unknown]>([
    ['listTools', (one) => one.listTools(), 'tools/list', undefined],
    ['callTool', (one) => one.callTool('echo', { text: 'a' }), 'tools/call', { name: 'echo', arguments: { text: 'a' } }],
    ['callTool, bare', (one) => one.callTool('echo'), 'tools/call', { name: 'echo', arguments: {} }],
    ['listResources', (one) => one.listResources(), 'resources/list', undefined],
    ['readResource', (one) => one.readResource('a://b'), 'resources/read', { uri: 'a://b' }],
    ['listPrompts', (one) => one.listPrompts(), 'prompts/list', undefined],
    ['getPrompt', (one) => one.getPrompt('greet', { name: 'A' }), 'prompts/get', { name: 'greet', arguments: { name: 'A' } }],
    ['getPrompt, bare', (one) => one.getPrompt('greet'), 'prompts/get', { name: 'greet', arguments: {} }],
    ['complete', (one) => one.complete(reference, argument), 'completion/complete', { ref: reference, argument }],
    ['ping', (one) => one.ping(), 'ping', undefined],
    ['request', (one) => one.request('a/b', { c: 1 }), 'a/b', { c: 1 }],
  ])('of %s is one request', async (_, call, method, params) => {
    await call(client());
    expect(gateway.calls).toHaveLength(1);
    expect(gateway.calls[0]!.body).toMatchObject(params === undefined ? { method } : { method, params });
    expect('params' in gateway.calls[0]!.body).toBe(params !== undefined);
  });

  test('of initialize names this package, and promises nothing that /proxy cannot keep', async () => {
    const { name, version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
    await client().initialize();
    const { method, params } = gateway.calls[0]!.body;
    expect(method).toBe('initialize');
    expect(params).toEqual({ protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name, version } });
  });

  test('of a notification has no id, and returns nothing', async () => {
    expect(await client().request('notifications/roots/list_changed')).toBeUndefined();
    expect(gateway.calls[0]!.body).not.toHaveProperty('id');
  });

  test.each(['/', '//', ''])('goes to /proxy below an address that ends in %j', async (ending) => {
    await client({ proxyUrl: gateway.url + ending }).ping();
    expect(gateway.calls).toHaveLength(1);
  });

  test('gets its own answer among sixty that are answered in reverse', async () => {
    const waiting: (() => void)[] = [];
    answer = async ({ body }) => {
      await new Promise<void>((resolve) => {
        if (waiting.push(resolve) === 60) for (const next of waiting.reverse()) next();
      });
      return { result: body.params.arguments };
    };
    const one = client();
    const numbers = Array.from({ length: 60 }, (_, number) => number);
    expect(await Promise.all(numbers.map((number) => one.callTool('echo', { number })))).toEqual(
      numbers.map((number) => ({ number })),
    );
  });

  test('uses the global fetch of the moment, unbound, or the one it was given', async () => {
    const one = client();
    const fake = vi.fn(function (this: unknown, ..._: unknown[]) {
      expect(this).toBeUndefined();
      return Promise.resolve(new Response('{"jsonrpc":"2.0","id":1,"result":{"by":"fake"}}'));
    });
    vi.stubGlobal('fetch', fake);
    try {
      expect(await one.request('a')).toEqual({ by: 'fake' });
    } finally {
      vi.unstubAllGlobals();
    }
    expect(await client({ fetch: fake }).request('a')).toEqual({ by: 'fake' });
    expect(fake).toHaveBeenCalledTimes(2);
    expect(gateway.calls).toHaveLength(0);
  });
});

describe('a list', () => {
  test.each<['listTools' | 'listResources' | 'listPrompts', string]>([
    ['listTools', 'tools'],
    ['listResources', 'resources'],
    ['listPrompts', 'prompts'],
  ])('of %s has the items of all pages, and an empty cursor is one', async (method, member) => {
    const next: Record<string, string | undefined> = { start: '', '': 'last', last: undefined };
    answer = ({ body }) => {
      const cursor: string = body.params?.cursor ?? 'start';
      return { result: { [member]: [{ name: `${cursor} 1` }, { name: `${cursor} 2` }], nextCursor: next[cursor] } };
    };
    const items: { name: string }[] = await client()[method]();
    expect(items.map(({ name }) => name)).toEqual(['start 1', 'start 2', ' 1', ' 2', 'last 1', 'last 2']);
  });

  test('is empty where the server names none', async () => {
    expect(await client().listTools()).toEqual([]);
  });

  test('that leads in a circle is an error', async () => {
    answer = () => ({ result: { tools: [], nextCursor: 'again' } });
    const error = await proxyError(client().listTools());
    expect(error.message).toContain('tools/list: the list does not end');
    expect(gateway.calls).toHaveLength(2);
  });
});

describe('an error', () => {
  test('of the gateway has its status and its words', async () => {
    const error = await proxyError(client({ proxyToken: 'wrong' }).ping());
    expect(error).toMatchObject({ name: 'MCPProxyError', status: 401, code: undefined });
    expect(error.message).toBe('HTTP 401: {"detail":"Invalid proxy token"}');
  });

  test('of the MCP server has its code and data', async () => {
    const body = { jsonrpc: '2.0', id: 1, error: { code: -32602, message: 'no such tool', data: { name: 'x' } } };
    answer = () => ({ status: 200, text: JSON.stringify(body) });
    const error = await proxyError(client().callTool('x'));
    expect(error).toMatchObject({ code: -32602, data: { name: 'x' }, status: undefined });
    expect(error.message).toBe('MCP Error -32602: no such tool');
  });

  test('a notification that the gateway refuses is one', async () => {
    answer = () => ({ status: 502, text: '{"detail":"Failed to connect to MCP server"}' });
    expect(await proxyError(client().request('notifications/cancelled'))).toMatchObject({ status: 502 });
  });

  test.each([
    ['a page', '<html>Welcome to the hotel</html>'],
    ['nothing', ''],
    ['a batch', '[]'],
    ['null', 'null'],
    ['no result', '{"jsonrpc":"2.0","id":1}'],
    ["somebody else's result", '{"jsonrpc":"2.0","id":2,"result":{"secret":1}}'],
  ])('says what came in place of an answer: %s', async (_, text) => {
    answer = () => ({ status: 200, text });
    const error = await proxyError(client().listTools());
    expect(error.status).toBe(200);
    expect(error.message).toMatch(/^HTTP 200: expected .+, got: /);
    expect(error.message.endsWith(text)).toBe(true);
  });

  test('quotes only the beginning of a large page', async () => {
    answer = () => ({ status: 503, text: '<p>'.repeat(100_000) });
    const error = await proxyError(client().ping());
    expect(error.status).toBe(503);
    expect(error.message.length).toBeLessThan(1_100);
  });

  test("that fetch makes comes as it is: nobody listens", async () => {
    await gateway.close();
    expect(await failure(client().ping())).toBeInstanceOf(TypeError);
    gateway = await startSmallGateway(() => ({ result: {} }));
  });
});

describe('tokens', () => {
  test.each([301, 302, 303, 307, 308])('go nowhere when the gateway answers %i', async (status) => {
    const elsewhere = await startSmallGateway(() => ({ result: {} }));
    try {
      answer = () => ({ status, text: '', headers: { Location: `${elsewhere.url}/proxy` } });
      await failure(client({ mcpToken: 'for the server' }).ping());
      expect(gateway.calls).toHaveLength(1);
      expect(elsewhere.calls).toHaveLength(0);
    } finally {
      await elsewhere.close();
    }
  });

  test('show in no print of the client', () => {
    const one = client({ mcpToken: 'for the server' });
    const prints = [JSON.stringify(one), inspect(one, { depth: null, showHidden: true }), String(one)];
    prints.push(...Reflect.ownKeys(one).map(String), JSON.stringify(structuredClone(one)));
    for (const print of prints) {
      expect(print).not.toContain(TOKEN);
      expect(print).not.toContain('for the server');
    }
  });

  test('stay reachable for the client inside of a Vue component', async () => {
    const state = reactive({ client: undefined as MCPProxyClient | undefined });
    state.client = client();
    await state.client.ping();
    expect(gateway.calls).toHaveLength(1);
  });

  test.each(['proxyUrl', 'proxyToken', 'mcpServerUrl'] as const)('and addresses are strings: %s', (name) => {
    expect(() => client({ [name]: undefined })).toThrow(new TypeError(`MCPProxyClient: ${name} must be a string`));
  });
});

describe('an abort', () => {
  const methods: Record<string, (one: MCPProxyClient, options: { signal: AbortSignal }) => Promise<unknown>> = {
    initialize: (one, options) => one.initialize(options),
    listTools: (one, options) => one.listTools(options),
    callTool: (one, options) => one.callTool('slow', {}, options),
    listResources: (one, options) => one.listResources(options),
    readResource: (one, options) => one.readResource('a://b', options),
    listPrompts: (one, options) => one.listPrompts(options),
    getPrompt: (one, options) => one.getPrompt('greet', {}, options),
    complete: (one, options) => one.complete({ type: 'ref/resource', uri: 'a://{b}' }, { name: 'b', value: '' }, options),
    ping: (one, options) => one.ping(options),
    request: (one, options) => one.request('a', {}, options),
  };

  test.each(Object.keys(methods))('of %s closes the connection, and rejects with its reason', async (name) => {
    const arrived = deferred<Call>();
    answer = (call) => {
      arrived.resolve(call);
      return new Promise(() => {});
    };
    const controller = new AbortController();
    const reason = new Error('the user left');
    const outcome = failure(methods[name]!(client(), { signal: controller.signal }));
    const { left } = await arrived.promise;
    controller.abort(reason);
    expect(await outcome).toBe(reason);
    await left;
  });

  test('before the call sends nothing', async () => {
    const outcome = await failure(client().ping({ signal: AbortSignal.abort() }));
    expect(outcome).toMatchObject({ name: 'AbortError' });
    expect(gateway.calls).toHaveLength(0);
  });

  test('between two pages ends the list', async () => {
    const controller = new AbortController();
    answer = ({ body }) => {
      if (body.params?.cursor) controller.abort();
      return { result: { tools: [], nextCursor: `after ${body.params?.cursor}` } };
    };
    expect(await failure(client().listTools(controller))).toMatchObject({ name: 'AbortError' });
  });
});

describe('numbers', () => {
  test('are what JSON.parse makes of them: integers beyond 2^53 are rounded', async () => {
    answer = () => ({ status: 200, text: '{"jsonrpc":"2.0","id":1,"result":{"id":9007199254740993}}' });
    expect(await client().callTool('id')).toEqual({ id: 9007199254740992 });
  });

  test('that are BigInts are refused before anything is sent', async () => {
    expect(await failure(client().callTool('id', { id: 9007199254740993n }))).toBeInstanceOf(TypeError);
    expect(gateway.calls).toHaveLength(0);
  });
});

test('code that was written for the original client compiles and finds the same shapes', async () => {
  answer = ({ body }) => ({
    result: body.method === 'tools/list' ? { tools: [{ name: 'sum', inputSchema: { type: 'object' } }] } : { content: [] },
  });
  const config: MCPProxyConfig = { proxyUrl: gateway.url, proxyToken: TOKEN, mcpServerUrl: SERVER };
  const one = new MCPProxyClient(config);
  await one.initialize();
  const tools: MCPTool[] = await one.listTools();
  expect(tools.map((tool) => `${tool.name}${Object.keys(tool.inputSchema.properties || {})}`)).toEqual(['sum']);
  const result = await one.callTool('sum', { a: 1 });
  expect(result.content.length).toBe(0);
  await one.complete({ type: 'ref/prompt', name: 'greet' }, { name: 'name', value: 'A' });
  expectTypeOf(one.connectWebSocket).returns.toEqualTypeOf<WebSocket>();
  expectTypeOf(one.ping).returns.toEqualTypeOf<Promise<void>>();
  expectTypeOf(one.listResources).returns.toEqualTypeOf<Promise<any[]>>();
  answer = () => ({ status: 200, text: '{"jsonrpc":"2.0","id":5,"error":{"code":-32000,"message":"too late"}}' });
  try {
    await one.getPrompt('greet');
    expect.fail('expected an error');
  } catch (error: any) {
    expect(error.message.includes('MCP Error')).toBe(true);
  }
});
