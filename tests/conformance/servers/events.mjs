// A store of the events of Streamable HTTP, for a client that comes back with Last-Event-ID; as much as a test needs.

/** Keep every event in memory, in order. */
export class EventStore {
  #events = [];

  async storeEvent(streamId, message) {
    this.#events.push({ streamId, message });
    return String(this.#events.length);
  }

  async replayEventsAfter(lastEventId, { send }) {
    const { streamId } = this.#events[Number(lastEventId) - 1] ?? {};
    for (const [at, event] of this.#events.entries()) {
      const isPriming = Object.keys(event.message ?? {}).length === 0;
      if (event.streamId === streamId && at >= Number(lastEventId) && !isPriming) await send(String(at + 1), event.message);
    }
    return streamId;
  }
}
