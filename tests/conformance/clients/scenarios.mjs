// What a client does in each of the runner's client scenarios, apart from any SDK; client_py2.py says the same in
// Python. The runner names the scenario and the revision in the environment and the server in the last argument.

const CALLS = {
  tools_call: [['add_numbers', { a: 5, b: 3 }]],
  'elicitation-sep1034-client-defaults': [['test_client_elicitation_defaults', {}]],
  'sse-retry': [['test_reconnection', {}]],
  'sep-2322-client-request-state': [
    ['test_mrtr_echo_state', {}],
    ['test_mrtr_unrelated', {}],
    ['test_mrtr_no_state', {}],
    ['test_mrtr_no_result_type', {}], // an SDK may refuse this answer: what counts is that the call is not repeated
  ],
};
const MAY_FAIL = new Set(['test_mrtr_no_result_type']);

export const scenario = process.env.MCP_CONFORMANCE_SCENARIO;
export const isModern = process.env.MCP_CONFORMANCE_PROTOCOL_VERSION >= '2026-07-28';
export const url = process.argv.at(-1);
const relay = JSON.parse(process.env.RELAY_COMMAND ?? 'null');

/** The stdio server to start, or null if the client is to connect by itself. */
export const stdio =
  relay && { command: relay[0], args: [...relay.slice(1), url], env: process.env, stderr: 'inherit' };

/** Accept an elicitation with the defaults it names, and with something that fits where it names none. */
export function accept({ requestedSchema }) {
  const invented = { boolean: true, string: 'x', number: 1, integer: 1 };
  const content = Object.fromEntries(
    Object.entries(requestedSchema.properties).map(([name, { type, default: given = invented[type] }]) => [name, given]),
  );
  return { action: 'accept', content };
}

/** Do what the scenario asks of a connected client: `{ listTools, call, listResources, read, listPrompts, get }`. */
export async function run(client) {
  const tools = await client.listTools();
  for (const [name, given] of callsFor(tools)) {
    try {
      await client.call(name, given);
    } catch (error) {
      if (!MAY_FAIL.has(name)) throw error;
      console.error(`${name}: ${error.message}`);
    }
  }
  if (scenario !== 'http-standard-headers') return;
  for (const { uri } of await client.listResources()) await client.read(uri);
  for (const { name } of await client.listPrompts()) await client.get(name);
}

function callsFor(tools) {
  if (scenario in CALLS) return CALLS[scenario];
  if (scenario === 'http-custom-headers') {
    return JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT).toolCalls.map((one) => [one.name, one.arguments]);
  }
  if (scenario === 'http-standard-headers') return tools.map(({ name }) => [name, {}]);
  if (scenario === 'http-invalid-tool-headers') return tools.map(({ name }) => [name, { region: 'north' }]);
  if (scenario === 'json-schema-2020-12-preservation') {
    const { inputSchema } = tools.find(({ name }) => name === 'json_schema_2020_12_tool');
    return [['json_schema_echo', { schema: inputSchema }]];
  }
  return [];
}
