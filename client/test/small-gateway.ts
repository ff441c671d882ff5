/** A gateway in small, for what no good one does: it answers `POST /proxy` as the test says, and `WS /ws` with echoes. */

import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocketServer, type WebSocket } from 'ws';

export const TOKEN = 'a proxy token of the tests';

/** One `POST /proxy`, as it arrived. */
export interface Call {
  headers: IncomingHttpHeaders;
  body: { mcp_server_url: string; mcp_token?: string; id?: number; method: string; params?: any };
  /** Resolves when the client's connection is gone before the answer. */
  left: Promise<void>;
}

/** What the test wants answered: a JSON-RPC result, or a whole HTTP answer. */
export type Answer = { result: unknown } | { status: number; text: string; headers?: Record<string, string> };

export interface SmallGateway {
  url: string;
  calls: Call[];
  /** The query of each WebSocket that came. */
  dialled: URLSearchParams[];
  close(): Promise<void>;
}

/** Listen on a free port of 127.0.0.1; `answer` gets each call with the right token. */
export async function startSmallGateway(answer: (call: Call) => Answer | Promise<Answer>): Promise<SmallGateway> {
  const calls: Call[] = [];
  const dialled: URLSearchParams[] = [];
  const listener = createServer((request, response) => {
    void handle(request, response);
  });

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.setHeader('Access-Control-Allow-Origin', '*');
    response.setHeader('Access-Control-Allow-Headers', 'content-type, x-proxy-token');
    if (request.method === 'OPTIONS') return send(response, { status: 204, text: '' });
    const left = once(response, 'close').then(() => {});
    let text = '';
    for await (const chunk of request.setEncoding('utf8')) text += chunk;
    if (request.url !== '/proxy' || request.method !== 'POST') return send(response, { status: 404, text: '' });
    if (request.headers['x-proxy-token'] !== TOKEN) {
      return send(response, { status: 401, text: '{"detail":"Invalid proxy token"}' });
    }
    const call: Call = { headers: request.headers, body: JSON.parse(text), left };
    calls.push(call);
    const answered = await answer(call);
    const { id } = call.body;
    if (!('result' in answered)) send(response, answered);
    else if (id === undefined) send(response, { status: 202, text: '' });
    else send(response, { status: 200, text: JSON.stringify({ jsonrpc: '2.0', id, result: answered.result }) });
  }

  const sockets = new WebSocketServer({ server: listener, path: '/ws' });
  sockets.on('connection', (socket: WebSocket, request: IncomingMessage) => {
    const query = new URL(request.url ?? '', 'http://localhost').searchParams;
    dialled.push(query);
    if (query.get('proxy_token') !== TOKEN) socket.close(1008, 'Invalid proxy token');
    socket.on('message', (data) => socket.send(String(data)));
  });

  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  return {
    url: `http://127.0.0.1:${(listener.address() as AddressInfo).port}`,
    calls,
    dialled,
    async close() {
      for (const socket of sockets.clients) socket.terminate();
      listener.closeAllConnections();
      listener.close();
      await once(listener, 'close');
    },
  };
}

function send(response: ServerResponse, answer: { status: number; text: string; headers?: Record<string, string> }): void {
  response.writeHead(answer.status, { 'Content-Type': 'application/json', ...answer.headers }).end(answer.text);
}
