// The everything-server of the conformance runner on the TypeScript SDK 1.x: `server_ts1.mjs [--http PORT | --sse PORT]`.

import { setTimeout as sleep } from 'node:timers/promises';
import { fill, findResource } from './behaviour.mjs';
import { main, readBody, refuse, sessions } from './listening.mjs';
import { answerText, CAPABILITIES, listPrompts, listResources, listTemplates, opening } from './offering.mjs';
import { readOffer, sdk1 } from './packages.mjs';

const { Server } = await sdk1('server/index.js');
const { StdioServerTransport } = await sdk1('server/stdio.js');
const { SSEServerTransport } = await sdk1('server/sse.js');
const { StreamableHTTPServerTransport } = await sdk1('server/streamableHttp.js');
const types = await sdk1('types.js');

const offer = await readOffer();

/** What a tool can do in this era, by the key that names it in offer.json. */
const DEEDS = {
  answer: async ({ answer }, given) => ({ content: fill(answer, given) }),
  fail: async ({ fail: message }) => ({ ...answerText(message), isError: true }),
  log: async ({ log }, given, extra) => {
    for (const data of log) {
      await extra.sendNotification({ method: 'notifications/message', params: { level: 'info', data } });
      await sleep(20);
    }
    return answerText('logged');
  },
  progress: async ({ progress }, given, extra) => {
    const { progressToken } = extra._meta ?? {};
    for (const step of progressToken === undefined ? [] : progress) {
      const params = { progressToken, progress: step, total: 100, message: `at ${step}` };
      await extra.sendNotification({ method: 'notifications/progress', params });
      await sleep(20);
    }
    return answerText('done');
  },
  ask: async ({ ask, says }, given, extra) => {
    const schema = ask.method === 'elicitation/create' ? types.ElicitResultSchema : types.CreateMessageResultSchema;
    return answerText(`${says}: ${JSON.stringify(await extra.sendRequest(fill(ask, given), schema))}`);
  },
  drop: async ({ drop }, given, extra) => {
    extra.closeSSEStream?.();
    await sleep(drop * 1000);
    return answerText('dropped and answered');
  },
};

/** Make a server with everything in it. */
function makeServer() {
  const server = new Server({ name: 'everything-ts1', version: '1.0.0' }, { capabilities: CAPABILITIES });
  const answer = (schema, handler) => server.setRequestHandler(schema, handler);
  const tools = Object.entries(offer.tools).filter(([, { does }]) => Object.keys(does)[0] in DEEDS);
  answer(types.ListToolsRequestSchema, () => ({
    tools: tools.map(([name, { description, inputSchema }]) => ({ name, description, inputSchema })),
  }));
  answer(types.CallToolRequestSchema, async ({ params }, extra) => {
    const { does } = offer.tools[params.name] ?? { does: {} };
    const deed = Object.keys(does)[0];
    if (!(deed in DEEDS)) throw new types.McpError(types.ErrorCode.InvalidParams, `unknown tool: ${params.name}`);
    return DEEDS[deed](does, params.arguments ?? {}, extra);
  });
  answer(types.ListResourcesRequestSchema, () => listResources(offer));
  answer(types.ListResourceTemplatesRequestSchema, () => listTemplates(offer));
  answer(types.ReadResourceRequestSchema, ({ params }) => {
    const found = findResource(offer, params.uri);
    if (found === undefined) throw new types.McpError(types.ErrorCode.InvalidParams, `unknown resource: ${params.uri}`, { uri: params.uri });
    return { contents: [found] };
  });
  answer(types.SubscribeRequestSchema, () => ({}));
  answer(types.UnsubscribeRequestSchema, () => ({}));
  const prompts = Object.entries(offer.prompts).filter(([, { rounds }]) => rounds === undefined);
  answer(types.ListPromptsRequestSchema, () => listPrompts(prompts));
  answer(types.GetPromptRequestSchema, ({ params }) => ({
    messages: fill(offer.prompts[params.name].messages, params.arguments ?? {}),
  }));
  answer(types.CompleteRequestSchema, () => ({ completion: { values: [], total: 0, hasMore: false } }));
  answer(types.SetLevelRequestSchema, () => ({}));
  return server;
}

/** Serve HTTP+SSE, the transport of 2024-11-05. */
function serveSse() {
  const known = new Map();
  return async (request, response) => {
    const url = new URL(request.url, 'http://localhost');
    if (url.pathname === '/sse' && request.method === 'GET') {
      const transport = new SSEServerTransport('/messages', response);
      known.set(transport.sessionId, transport);
      response.on('close', () => known.delete(transport.sessionId));
      await makeServer().connect(transport);
    } else if (url.pathname === '/messages' && known.has(url.searchParams.get('sessionId'))) {
      await known.get(url.searchParams.get('sessionId')).handlePostMessage(request, response);
    } else {
      refuse(response, url.pathname === '/sse' ? 405 : 404, 'nothing here');
    }
  };
}

await main({
  stdio: () => makeServer().connect(new StdioServerTransport()),
  http: () => {
    const serve = sessions(opening(StreamableHTTPServerTransport, makeServer));
    return async (request, response) => serve(request, response, await readBody(request));
  },
  sse: serveSse,
});
