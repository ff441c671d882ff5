// The everything-server of the conformance runner on the TypeScript SDK 2.x, both eras: `server_ts2.mjs [--http PORT]`.

import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { fill, findResource, stillNeeded } from './behaviour.mjs';
import { main, readBody, sessions } from './listening.mjs';
import { answerText, CAPABILITIES, listPrompts, listResources, listTemplates, opening } from './offering.mjs';
import { readOffer, sdk2 } from './packages.mjs';

const sdk = await sdk2('server');
const { serveStdio } = await sdk2('server/stdio');
const { NodeStreamableHTTPServerTransport, toNodeHandler } = await sdk2('node');

const offer = await readOffer();
const INVALID_PARAMS = -32602;
const state = sdk.createRequestStateCodec({ key: randomBytes(32) });
const declared = (ctx) => ctx.mcpReq.envelope?.[sdk.CLIENT_CAPABILITIES_META_KEY] ?? {};

/** Return what the call still needs of its client, or null once it has everything. */
async function ask(does, ctx) {
  const round = ctx.mcpReq.requestState?.()?.round;
  const needed = stillNeeded(does, ctx.mcpReq.inputResponses, round, declared(ctx));
  if (needed === null) return null;
  const requestState = does.sealed ? await state.mint({ round: needed.round, nonce: randomUUID() }) : undefined;
  return sdk.inputRequired({ inputRequests: needed.inputRequests, ...(requestState && { requestState }) });
}

/** What a tool can do, by the key that names it in offer.json. */
const DEEDS = {
  answer: async ({ answer }, given) => ({ content: fill(answer, given) }),
  fail: async ({ fail: message }) => ({ ...answerText(message), isError: true }),
  rounds: async (does, given, ctx) => (await ask(does, ctx)) ?? answerText(does.says),
  log: async ({ log }, given, ctx) => {
    for (const data of log) {
      await ctx.mcpReq.log('info', data);
      await sleep(20);
    }
    return answerText('logged');
  },
  progress: async ({ progress }, given, ctx) => {
    const { progressToken } = ctx.mcpReq._meta ?? {};
    for (const step of progressToken === undefined ? [] : progress) {
      const params = { progressToken, progress: step, total: 100, message: `at ${step}` };
      await ctx.mcpReq.notify({ method: 'notifications/progress', params });
      await sleep(20);
    }
    return answerText('done');
  },
  ask: async ({ ask: request, says }, given, ctx) =>
    answerText(`${says}: ${JSON.stringify(await ctx.mcpReq.send(fill(request, given)))}`),
  // Thrown by a tool, the error would become a result; the SDK makes it when a request needs what nobody declared.
  needs: async (does, given, ctx) => (await ask(does, ctx)) ?? answerText('the client has it'),
  announce: async ({ announce: kind }, given, ctx, announce) => {
    await announce[kind]();
    return answerText('announced');
  },
  drop: async ({ drop }, given, ctx) => {
    ctx.http?.closeSSE?.();
    await sleep(drop * 1000);
    return answerText('dropped and answered');
  },
};

/** Make a server with everything in it; `announce` says how a change of a list is told, null: on its own connection. */
function makeServer(announce = null) {
  const options = { capabilities: CAPABILITIES, requestState: { verify: state.verify } };
  const server = new sdk.McpServer({ name: 'everything-ts2', version: '1.0.0' }, options);
  const own = { tools: () => server.sendToolListChanged(), prompts: () => server.sendPromptListChanged() };
  for (const [name, { description, inputSchema, does }] of Object.entries(offer.tools)) {
    const deed = DEEDS[Object.keys(does)[0]];
    const call = (given, ctx) => deed(does, given, ctx, announce ?? own);
    server.registerTool(name, { description, inputSchema: sdk.fromJsonSchema(inputSchema) }, call);
  }
  const answer = (method, handler) => server.server.setRequestHandler(method, handler);
  answer('resources/list', () => listResources(offer));
  answer('resources/templates/list', () => listTemplates(offer));
  answer('resources/read', ({ params }) => {
    const found = findResource(offer, params.uri);
    if (found === undefined) throw new sdk.ProtocolError(INVALID_PARAMS, `unknown resource: ${params.uri}`, { uri: params.uri });
    return { contents: [found] };
  });
  answer('resources/subscribe', () => ({}));
  answer('resources/unsubscribe', () => ({}));
  answer('prompts/list', () => listPrompts(Object.entries(offer.prompts)));
  answer('prompts/get', async ({ params }, ctx) => {
    const found = offer.prompts[params.name];
    if (found === undefined) throw new sdk.ProtocolError(INVALID_PARAMS, `unknown prompt: ${params.name}`);
    const needed = found.rounds ? await ask(found, ctx) : null;
    return needed ?? { messages: fill(found.messages, params.arguments ?? {}) };
  });
  answer('completion/complete', () => ({ completion: { values: [], total: 0, hasMore: false } }));
  answer('logging/setLevel', () => ({}));
  return server;
}

/** Serve both eras at one address: what the SDK's own handler calls legacy goes to the sessions. */
function serveHttp() {
  const serveLegacy = sessions(opening(NodeStreamableHTTPServerTransport, () => makeServer()));
  const onerror = (error) => console.error(error.message);
  const handler = sdk.createMcpHandler(() => makeServer(announce), { legacy: 'reject', onerror });
  const announce = { tools: () => handler.notify.toolsChanged(), prompts: () => handler.notify.promptsChanged() };
  const serveModern = toNodeHandler(handler);
  return async (request, response) => {
    const body = await readBody(request);
    const { kind } = sdk.classifyInboundRequest({
      httpMethod: request.method,
      protocolVersionHeader: request.headers['mcp-protocol-version'],
      mcpMethodHeader: request.headers['mcp-method'],
      body,
    });
    return kind === 'legacy' ? serveLegacy(request, response, body) : serveModern(request, response, body);
  };
}

await main({ stdio: () => serveStdio(() => makeServer()), http: serveHttp });
