// What both TypeScript servers say alike of what offer.json has, and how they open a session of Streamable HTTP.

import { randomUUID } from 'node:crypto';
import { EventStore } from './events.mjs';

const RETRY = 500; // ms between a dropped stream and the next, so that the runner sees one named

export const CAPABILITIES = {
  tools: { listChanged: true },
  resources: { subscribe: true, listChanged: true },
  prompts: { listChanged: true },
  logging: {},
  completions: {},
};

/** Answer a call with one text. */
export const answerText = (text) => ({ content: [{ type: 'text', text }] });

/** Answer resources/list. */
export const listResources = (offer) => ({
  resources: Object.entries(offer.resources).map(([uri, { name, mimeType }]) => ({ uri, name, mimeType })),
});

/** Answer resources/templates/list. */
export const listTemplates = (offer) => ({
  resourceTemplates: Object.entries(offer.templates).map(([uriTemplate, { name, mimeType }]) => ({ uriTemplate, name, mimeType })),
});

/** Answer prompts/list with these `[name, prompt]`. */
export const listPrompts = (prompts) => ({
  prompts: prompts.map(([name, one]) => ({
    name,
    description: one.description,
    arguments: one.arguments.map((argument) => ({ name: argument, required: true })),
  })),
});

/** Return what opens a session of Streamable HTTP: a transport of this class, connected to a server of its own. */
export function opening(Transport, makeServer) {
  return async (onOpened, onClosed) => {
    const transport = new Transport({
      sessionIdGenerator: randomUUID,
      eventStore: new EventStore(),
      retryInterval: RETRY,
      onsessioninitialized: (id) => onOpened(id, transport),
      onsessionclosed: onClosed,
    });
    await makeServer().connect(transport);
    return transport;
  };
}
