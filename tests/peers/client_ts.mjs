// The test client on the TypeScript SDK 1.x: `client_ts.mjs [--http URL | --sse URL] [-- COMMAND ARG...]`.
// It runs the scenario of scenario.py, check by check under the same names; whoever changes one changes the other.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { sdk, sdkVersion } from './sdk.mjs';

const { Client } = await sdk('client/index.js');
const { StdioClientTransport } = await sdk('client/stdio.js');
const { SSEClientTransport } = await sdk('client/sse.js');
const { StreamableHTTPClientTransport } = await sdk('client/streamableHttp.js');
const types = await sdk('types.js');

const STEP_TIMEOUT = 10_000;
const RUN_TIMEOUT = 50_000; // the whole run ends within 60 s, clean-up included
const QUIET = 500; // how long nothing must come before an announcement counts as complete
const CHILD_GRACE = 1_800; // the SDK kills a child after 2 s; a good child leaves by itself when its stdin ends
const INSTRUCTIONS = 'peers: call the tools in any order; \u201cnothing here is real\u201d \u{1F9EA}';
const SERVER_VERSION = '3.1.4';
const RESOURCE_URI = 'peer://note';
const ROOT_URI = 'file:///peers/root';
const TOOLS = ['big', 'cancelled_count', 'change', 'echo', 'elicit', 'log', 'progress', 'roots', 'sample', 'slow', 'whoami'];
const AWKWARD = 'tab\t "quoted" \\ back \u00e9\u2028\u4e2d\u{1F9EA}\u0000\u007f line\n';
const LARGE_BYTES = 250_000;
const LIST_CHANGED = 'notifications/tools/list_changed';
const UPDATED = 'notifications/resources/updated';
const MESSAGE = 'notifications/message';

const sampled = (prompt) => `sampled: ${prompt}`;
const elicited = (message) => `elicited: ${message}`;
const shorten = (value) => (JSON.stringify(value) ?? 'undefined').slice(0, 200);

/** Require equality; the message shows both sides, shortened. */
function expect(seen, expected, what) {
  try {
    assert.deepStrictEqual(seen, expected);
  } catch {
    throw new Error(`${what}: saw ${shorten(seen)}, expected ${shorten(expected)}`);
  }
}

/** Return `size` ASCII characters whose position can be read off: a lost or doubled piece shows. */
function pattern(size) {
  let text = '';
  for (let at = 0; at < size; at += 8) text += String(at).padStart(8, '0');
  return text.slice(0, size);
}

/** Return LARGE_BYTES of UTF-8: awkward characters first, then a pattern. */
function largeText() {
  const awkward = AWKWARD.repeat(200);
  return awkward + pattern(LARGE_BYTES - Buffer.byteLength(awkward));
}

/** Reject when the promise takes too long. */
function within(milliseconds, promise) {
  const late = sleep(milliseconds, undefined, { ref: false }).then(() => {
    throw new Error(`not finished after ${milliseconds / 1000} s`);
  });
  return Promise.race([promise, late]);
}

/** One scenario under way: the SDK's client, what came to it, and helpers for the checks. */
class Run {
  constructor(target) {
    this.target = target;
    this.tag = randomUUID(); // also the client's version, so that the server can tell the runs apart
    this.inbox = [];
    this.standaloneIsOpen = false;
    this.transport = openTransport(target);
    this.wire = []; // every message in the order it arrived
    const capabilities = { sampling: {}, elicitation: {}, roots: { listChanged: true } };
    this.client = new Client({ name: 'peer-client-ts', version: this.tag }, { capabilities });
    this.client.setRequestHandler(types.CreateMessageRequestSchema, ({ params }) => {
      const content = { type: 'text', text: sampled(params.messages[0].content.text) };
      return { role: 'assistant', model: 'peers', content };
    });
    this.client.setRequestHandler(types.ElicitRequestSchema, ({ params }) => (
      { action: 'accept', content: { answer: elicited(params.message) } }
    ));
    this.client.setRequestHandler(types.ListRootsRequestSchema, () => ({ roots: [{ uri: ROOT_URI, name: 'peers' }] }));
    this.client.fallbackNotificationHandler = async (message) => void this.inbox.push(message);
  }

  async connect() {
    await this.client.connect(this.transport);
    const deliver = this.transport.onmessage;
    this.transport.onmessage = (message, extra) => {
      this.wire.push(message);
      deliver(message, extra);
    };
  }

  /** Return the params of every message of this method. */
  params(method) {
    return this.inbox.filter((one) => one.method === method).map((one) => one.params ?? {});
  }

  /** Wait until one has come; the check then says what is missing. */
  async wait(method, milliseconds = STEP_TIMEOUT / 2) {
    const deadline = Date.now() + milliseconds;
    while (this.params(method).length === 0 && Date.now() < deadline) await sleep(10);
  }

  /** Wait until nothing came for a while. */
  async settle() {
    for (let seen = -1; seen !== this.inbox.length;) {
      seen = this.inbox.length;
      await sleep(QUIET);
    }
  }

  /** Call a tool and return its text; a result with isError is a failed check. */
  async call(name, args = {}, options = {}) {
    const limits = { timeout: STEP_TIMEOUT * 2, ...options };
    const result = await this.client.callTool({ name, arguments: args }, undefined, limits);
    if (result.isError) throw new Error(`${name}: the tool failed: ${shorten(result.content)}`);
    return result.content[0].text;
  }

  /** Return once announcements reach us: what is sent before the GET stream is open may rightly be lost. */
  async openStandalone() {
    while (!this.standaloneIsOpen) {
      await this.call('change');
      await this.wait(LIST_CHANGED, 1000);
      this.standaloneIsOpen = this.params(LIST_CHANGED).length > 0;
      await this.settle();
    }
    this.inbox.length = 0;
  }
}

/** Make the SDK's transport for the target. */
function openTransport({ http, sse, command }) {
  if (http) return new StreamableHTTPClientTransport(new URL(http));
  if (sse) return new SSEClientTransport(new URL(sse));
  return new StdioClientTransport({ command: command[0], args: command.slice(1), env: process.env, stderr: 'inherit' });
}

const CHECKS = {
  async instructions({ client }) {
    expect(client.getInstructions(), INSTRUCTIONS, 'instructions');
    expect(client.getServerVersion().version, SERVER_VERSION, 'serverInfo.version');
  },
  async ping({ client }) {
    await client.ping();
  },
  async whoami(run) {
    const seen = JSON.parse(await run.call('whoami'));
    expect(seen.clientInfo.name, 'peer-client-ts', 'clientInfo.name');
    expect(seen.clientInfo.version, run.tag, 'clientInfo.version');
    expect(seen.protocolVersion, types.LATEST_PROTOCOL_VERSION, 'protocolVersion');
    const missing = ['sampling', 'elicitation', 'roots'].filter((name) => !(name in seen.capabilities));
    expect(missing, [], 'missing capabilities');
  },
  async tools({ client }) {
    expect((await client.listTools()).tools.map((one) => one.name).sort(), TOOLS, 'tools');
  },
  async prompt({ client, tag }) {
    expect((await client.listPrompts()).prompts.map((one) => one.name), ['greet'], 'prompts');
    const filled = await client.getPrompt({ name: 'greet', arguments: { name: tag } });
    expect(filled.messages[0].content.text, `greet ${tag} warmly`, 'prompt text');
  },
  async resource({ client }) {
    expect((await client.listResources()).resources.map((one) => one.uri), [RESOURCE_URI], 'resources');
    const { contents } = await client.readResource({ uri: RESOURCE_URI });
    expect(contents[0].text, 'a note that never changes', 'resource text');
  },
  async echo(run) {
    for (const text of [`hello ${run.tag}`, '']) expect(await run.call('echo', { text }), text, 'echo');
  },
  async large_echo(run) {
    const text = largeText();
    expect(Buffer.byteLength(text), LARGE_BYTES, 'bytes sent');
    expect((await run.call('echo', { text })) === text, true, 'the large echo is identical');
  },
  async big(run) {
    expect((await run.call('big', { bytes: LARGE_BYTES })) === pattern(LARGE_BYTES), true, 'the big answer is identical');
  },
  async concurrent_echoes(run) {
    const texts = Array.from({ length: 20 }, (_, number) => `${run.tag} ${number}`);
    const calls = texts.map((text, number) => run.call('echo', { text, delay: 0.01 * (texts.length - number) }));
    expect(await Promise.all(calls), texts, 'concurrent echoes');
  },
  async unknown_tool({ client }) {
    const error = await client.callTool({ name: 'no_such_tool', arguments: {} }).then(() => null, (reason) => reason);
    if (error === null) throw new Error('an unknown tool was answered without an error');
    expect(error.code, types.ErrorCode.InvalidParams, 'error code');
    expect(error.message.includes('unknown tool: no_such_tool'), true, `error message ${error.message}`);
  },
  async progress(run) {
    run.wire.length = 0;
    const text = await run.call('progress', { steps: 10 }, { onprogress: () => {} });
    // Not what onprogress saw: this SDK handles an answer at once and a notification one microtask later, so progress
    // that came in the same chunk as the answer is lost to it. What arrived, and in which order, is on the wire.
    const steps = (message) => (message.method === 'notifications/progress' ? message.params : null);
    const token = run.wire.map(steps).find(Boolean)?.progressToken ?? 'no progress came';
    const told = (one) => (steps(one)?.progressToken === token ? one.params.progress : one.id === token ? 'answer' : null);
    const seen = run.wire.map(told);
    expect(seen.filter((one) => one !== null), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 'answer'], 'arrivals');
    expect(text, '10 steps', 'answer');
  },
  async log(run) {
    await run.client.setLoggingLevel('debug');
    await run.call('log', { text: run.tag });
    await run.wait(MESSAGE);
    expect(run.params(MESSAGE).filter((one) => one.data === run.tag).length, 1, 'log notifications with our tag');
  },
  async sample(run) {
    expect(await run.call('sample', { prompt: run.tag }), sampled(run.tag), 'sample');
  },
  async elicit(run) {
    const answer = JSON.parse(await run.call('elicit', { message: run.tag }));
    expect(answer, { action: 'accept', content: { answer: elicited(run.tag) } }, 'elicit');
  },
  async roots(run) {
    expect(JSON.parse(await run.call('roots')), [ROOT_URI], 'roots');
  },
  async concurrent_samples(run) {
    const prompts = Array.from({ length: 5 }, (_, number) => `${run.tag} ${number}`);
    expect(await Promise.all(prompts.map((prompt) => run.call('sample', { prompt }))), prompts.map(sampled), 'concurrent samples');
  },
  async cancel(run) {
    const controller = new AbortController();
    const call = new Promise((resolve) => {
      const options = { signal: controller.signal, onprogress: () => controller.abort('the check says so') };
      run.call('slow', { seconds: (STEP_TIMEOUT * 2) / 1000, tag: run.tag }, options).then(() => resolve(false), () => resolve(true));
    });
    expect(await call, true, 'the cancelled call was rejected');
    while ((await run.call('cancelled_count', { tag: run.tag })) === '0') await sleep(50); // the step's own timeout ends this
    expect(await run.call('cancelled_count', { tag: run.tag }), '1', 'cancelled calls');
  },
  async list_changed(run) {
    await run.openStandalone();
    await run.call('change');
    await run.wait(LIST_CHANGED);
    await run.settle();
    expect(run.params(LIST_CHANGED).length, 1, 'list_changed while idle');
    expect(run.params(UPDATED), [], 'updates without a subscription');
  },
  async resource_updated(run) {
    await run.openStandalone();
    await run.client.subscribeResource({ uri: RESOURCE_URI });
    await run.call('change');
    await run.wait(UPDATED);
    await run.settle();
    expect(run.params(UPDATED).map((one) => one.uri), [RESOURCE_URI], 'updates while idle');
    await run.client.unsubscribeResource({ uri: RESOURCE_URI });
  },
  async standalone_roots(run) {
    await run.openStandalone();
    expect(JSON.parse(await run.call('roots', { standalone: true })), [ROOT_URI], 'roots on the standalone stream');
  },
};
const TERMINATION = 'termination'; // the last check: it happens while and after the session closes
const NAMES = [...Object.keys(CHECKS), TERMINATION];

/** Run one check within its time; note how it ended. */
async function attempt(report, name, check) {
  try {
    await within(STEP_TIMEOUT, check());
    report.passed.push(name);
  } catch (error) {
    report.failed[name] = String(error?.message ?? error);
  }
}

/** Ping in a session that should be gone, without the SDK; return the HTTP status. */
async function pingStatus(url, sessionId) {
  const headers = {
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    'mcp-session-id': sessionId,
    'mcp-protocol-version': '2025-06-18',
  };
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' });
  const response = await fetch(url, { method: 'POST', headers, body });
  await response.body?.cancel();
  return response.status;
}

/** Close; the session ends with it: an HTTP server forgets its id, a child leaves by itself. */
async function checkTermination(run) {
  const { http, command } = run.target;
  const sessionId = run.transport.sessionId;
  if (http) await run.transport.terminateSession(); // this SDK's close() sends no DELETE
  const began = Date.now();
  await run.client.close();
  if (http) {
    expect(sessionId !== undefined, true, 'the server gave a session id');
    expect(await pingStatus(http, sessionId), 404, 'status for the closed session');
  } else if (command) {
    expect(Date.now() - began < CHILD_GRACE, true, `the child left by itself (${Date.now() - began} ms)`);
  }
}

/** Connect, check, close, and look whether the session is gone. */
async function runOne(target, only, report) {
  const run = new Run(target);
  try {
    await within(STEP_TIMEOUT, run.connect());
    report.server = run.client.getServerVersion().name;
    report.protocol = JSON.parse(await run.call('whoami')).protocolVersion;
    for (const name of Object.keys(CHECKS)) {
      if (only.includes(name)) await attempt(report, name, () => CHECKS[name](run));
    }
    if (only.includes(TERMINATION) && !target.sse) await attempt(report, TERMINATION, () => checkTermination(run));
    else if (only.includes(TERMINATION)) report.skipped[TERMINATION] = 'the transport of 2024-11-05 has no session termination';
  } finally {
    if (target.http) await run.transport.terminateSession().catch(() => {}); // when termination itself was not asked for
    await run.client.close();
  }
}

/** Run one scenario within its time; what goes wrong outside the checks is a failure with its own name. */
async function runBounded(target, only) {
  const report = { server: '?', protocol: '?', passed: [], failed: {}, skipped: {} };
  await within(RUN_TIMEOUT, runOne(target, only, report)).catch((error) => {
    report.failed.session = String(error?.message ?? error);
  });
  return report;
}

/** Make one report of many: passed is what passed everywhere, a failure names the client. */
function merge(reports) {
  if (reports.length === 1) return reports[0];
  const { server, protocol } = reports[0];
  const passed = NAMES.filter((name) => reports.every((one) => one.passed.includes(name)));
  const named = reports.flatMap(({ failed }, at) => Object.entries(failed).map(([name, reason]) => [`${name} [client ${at}]`, reason]));
  return { server, protocol, passed, failed: Object.fromEntries(named), skipped: Object.assign({}, ...reports.map((one) => one.skipped)) };
}

/** End with a word on how to call this. */
function usage(problem) {
  console.error(`${problem}\nusage: client_ts.mjs [--only NAME,NAME] [--clients N] (--http URL | --sse URL | -- COMMAND ARG...)`);
  process.exit(2);
}

const text = { type: 'string' };
const options = { http: text, sse: text, only: text, clients: text, each: { type: 'boolean' } };
const { values, positionals } = parseArgs({ options, allowPositionals: true });
const given = { http: values.http, sse: values.sse, command: positionals.length > 0 ? positionals : undefined };
if (Object.values({ ...given, each: values.each }).filter(Boolean).length !== 1) usage('give exactly one of --http URL, --sse URL, --each, -- COMMAND ARG...');
const only = values.only?.split(',') ?? NAMES;
const unknown = only.filter((name) => !NAMES.includes(name));
if (unknown.length > 0) usage(`unknown checks ${unknown}; known: ${NAMES}`);

/** Run the scenario before one target; return the report. */
async function runTarget(target) {
  const began = Date.now();
  const reports = await Promise.all(Array.from({ length: Number(values.clients ?? 1) }, () => runBounded(target, only)));
  const { server, protocol, passed, failed, skipped } = merge(reports);
  const transport = target.http ? 'http' : target.sse ? 'sse' : 'stdio';
  const seconds = (Date.now() - began) / 1000;
  if (Object.keys(failed).length > 0) process.exitCode = 1;
  return { sdk: 'ts', version: await sdkVersion(), transport, server, protocol, clients: reports.length, seconds, passed, failed, skipped };
}

const say = (report) => new Promise((written) => { process.stdout.write(`${JSON.stringify(report)}\n`, written); });
if (values.each) { // one JSON object a line
  for await (const line of createInterface({ input: process.stdin })) await say(await runTarget(JSON.parse(line)));
} else {
  await say(await runTarget(given));
}
process.exit(); // a step that timed out may still hold the loop
