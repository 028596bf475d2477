import { areaOf, type NodeEvent } from '../core/event.js';

/** Of each area: a peer that comes and goes all day does not wash out that the lease was lost. */
export const MOST_OF_AREA = 200;

export interface EventList {
  /** With the next id. */
  add(event: Omit<NodeEvent, 'id'>): void;
  /** Those that happened after that one, in order. */
  after(id: number): NodeEvent[];
}

/** The last events, in the order in which they happened. @param earlier those of earlier runs */
export function createEventList(earlier: readonly NodeEvent[]): EventList {
  const areas = new Map<string, NodeEvent[]>();
  let lastId = 0;

  function keep(event: NodeEvent): void {
    const area = areaOf(event.kind);
    const events = areas.get(area) ?? [];
    areas.set(area, events);
    events.push(event);
    lastId = event.id;
    if (events.length > MOST_OF_AREA) events.splice(indexOfLeastWorth(events), 1);
  }

  for (const event of [...earlier].sort((a, b) => a.id - b.id)) if (event.id > lastId) keep(event);
  return {
    // By the clock too, so that one who has read what a crash then lost does not take what comes next for that.
    add: (event) => keep({ id: Math.max(lastId + 1, Date.now()), ...event }),
    after: (id) => [...areas.values()].flatMap((events) => events.filter((event) => event.id > id)).sort(byId),
  };
}

const byId = (a: NodeEvent, b: NodeEvent) => a.id - b.id;

/** The oldest of that which has happened most often to one and the same. */
function indexOfLeastWorth(events: readonly NodeEvent[]): number {
  const keyOf = ({ kind, subject }: NodeEvent) => `${kind} ${subject ?? ''}`;
  const counts = new Map<string, number>();
  for (const event of events) counts.set(keyOf(event), (counts.get(keyOf(event)) ?? 0) + 1);
  const most = Math.max(...counts.values());
  return events.findIndex((event) => counts.get(keyOf(event)) === most);
}
