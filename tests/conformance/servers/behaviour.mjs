// What a tool, prompt or resource of offer.json does, apart from any SDK. behaviour.py says the same in Python;
// whoever changes one changes the other.

/** Replace `{name}` in every string below a value by the argument of that name. */
export function fill(value, given) {
  if (typeof value === 'string') {
    return value.replace(/\{(\w+)\}/g, (whole, name) => (Object.hasOwn(given, name) ? String(given[name]) : whole));
  }
  if (Array.isArray(value)) return value.map((one) => fill(one, given));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, fill(one, given)]));
}

/** Find the contents of a resource, or undefined. */
export function findResource(offer, uri) {
  const { text, blob, mimeType } = offer.resources[uri] ?? {};
  if (mimeType !== undefined) return text === undefined ? { uri, mimeType, blob } : { uri, mimeType, text };
  for (const [template, found] of Object.entries(offer.templates)) {
    const [before, after] = template.split('{id}');
    if (!uri.startsWith(before) || !uri.endsWith(after)) continue;
    const id = uri.slice(before.length, uri.length - after.length);
    return { uri, mimeType: found.mimeType, text: fill(found.text, { id }) };
  }
  return undefined;
}

/**
 * Decide what a multi-round call still needs: `{ inputRequests, round }`, or null if everything has been answered.
 * `round` is how many rounds the sealed state says are behind us.
 */
export function stillNeeded(does, responses = {}, round = 0, capabilities = null) {
  if (round > 0 && isAnswered(does.rounds[round - 1], responses)) {
    return round < does.rounds.length ? { inputRequests: does.rounds[round], round: round + 1 } : null;
  }
  const wanted = does.able ? onlyAble(does.rounds[0], capabilities ?? {}) : does.rounds[0];
  if (!does.sealed && isAnswered(wanted, responses)) return null;
  return { inputRequests: wanted, round: 1 };
}

/** Ask whether every request has an answer of the shape it asked for. */
function isAnswered(requests, responses) {
  return Object.entries(requests).every(([key, { method, params }]) => {
    const answer = responses[key];
    if (answer === undefined) return false;
    if (method !== 'elicitation/create') return method === 'roots/list' ? Array.isArray(answer.roots) : 'content' in answer;
    const { required, properties } = params.requestedSchema;
    return answer.action === 'accept' && required.every((name) => typeof answer.content?.[name] === properties[name].type);
  });
}

const CAPABILITY = { 'elicitation/create': 'elicitation', 'sampling/createMessage': 'sampling', 'roots/list': 'roots' };

/** Leave out what the client has not declared. */
function onlyAble(requests, capabilities) {
  return Object.fromEntries(Object.entries(requests).filter(([, { method }]) => CAPABILITY[method] in capabilities));
}
