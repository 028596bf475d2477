import { messageOf } from '../core/errors.js';
import { areaOf, type EventKind, type NodeEvent } from '../core/event.js';
import type { Logger } from '../core/logger.js';
import { createRepeatLimit } from '../core/rate-limit.js';
import { eventFileIn, readEvents, writeEvents } from './event-file.js';
import { createEventList } from './event-list.js';
import { eventOf } from './event-text.js';

/** What a crash may lose... */
export const SAVE_MS = 3000;
/** ... unless so much happens that the file, which is written whole, would be written faster than this. */
const SAVED_BYTES_PER_MS = 10;
/** After a save that has failed, whether or not anything more happens. */
const RETRY_MS = 30_000;
/** Clients that wait at one time: who comes later has his answer at once. */
const MOST_WAITING = 16;

/** What has happened on this node, in this run and in earlier ones. */
export interface EventLog {
  /** The same log: what it is told with a kind of event is remembered too. */
  tellingBy(log: Logger): Logger;
  note(kind: EventKind, fields: object, message: string): void;
  /** Told of each from now on; of one listener. */
  onEvent(listener: (event: Pick<NodeEvent, 'kind' | 'line'>) => void): void;
  /** The last event of this area; undefined: there is none. */
  last(area: string): NodeEvent | undefined;
  /** Those after that one; if there are none the first that comes, or none after so long. */
  after(id: number, waitMs: number): Promise<readonly NodeEvent[]>;
  /** Writes what is not written yet. */
  close(): Promise<void>;
}

/** With those of earlier runs, if they can be read: a node without a past is a node too. */
export async function openEventLog(stateDirectory: string, log: Logger): Promise<EventLog> {
  let tell: (event: Pick<NodeEvent, 'kind' | 'line'>) => void = () => undefined;
  const path = eventFileIn(stateDirectory);
  const earlier = await readEvents(path).catch((error: unknown) => {
    log.warn({ path, reason: messageOf(error) }, 'the events of earlier runs cannot be read');
    return [];
  });
  const list = createEventList(earlier);
  const waiting = new Set<() => void>();
  const limit = createRepeatLimit();
  let timer: NodeJS.Timeout | undefined;
  let saving: Promise<void> = Promise.resolve();
  let nextSaveAt = 0;

  function note(kind: EventKind, fields: object, message: string): void {
    const event = eventOf(kind, message, fields);
    list.add(event);
    tell(event);
    for (const wake of waiting) wake();
    saveIn(SAVE_MS);
  }

  function saveIn(ms: number): void {
    timer ??= setTimeout(save, Math.max(ms, nextSaveAt - performance.now())).unref();
  }

  function save(): void {
    clearTimeout(timer);
    timer = undefined;
    saving = saving.then(async () => {
      try {
        const bytes = await writeEvents(path, list.after(0));
        nextSaveAt = performance.now() + bytes / SAVED_BYTES_PER_MS;
      } catch (error) {
        limit((suppressed) => log.warn({ reason: messageOf(error), suppressed }, 'events cannot be saved'));
        saveIn(RETRY_MS);
      }
    });
  }

  function someNews(waitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(late);
        waiting.delete(wake);
        resolve();
      };
      const late = setTimeout(wake, waitMs).unref();
      waiting.add(wake);
    });
  }

  return {
    note,
    onEvent(listener) {
      tell = listener;
    },
    tellingBy(log) {
      const telling =
        (level: 'debug' | 'info' | 'warn' | 'error'): Logger['info'] =>
        (fields, message, event) => {
          log[level](fields, message);
          if (event !== undefined) note(event, fields, message);
        };
      return {
        debug: telling('debug'),
        info: telling('info'),
        warn: telling('warn'),
        error: telling('error'),
        isLevelEnabled: (level) => log.isLevelEnabled(level),
      };
    },
    last: (area) => list.after(0).findLast(({ kind }) => areaOf(kind) === area),
    async after(id, waitMs) {
      const known = list.after(id);
      if (known.length > 0 || waitMs === 0 || waiting.size >= MOST_WAITING) return known;
      await someNews(waitMs);
      return list.after(id);
    },
    async close() {
      if (timer !== undefined) save();
      await saving;
      for (const wake of waiting) wake();
    },
  };
}
