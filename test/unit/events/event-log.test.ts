import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { eventFileIn, readEvents, writeEvents } from '../../../src/events/event-file.js';
import { type EventLog, openEventLog } from '../../../src/events/event-log.js';
import { eventOf } from '../../../src/events/event-text.js';
import { createRecordingLog, type RecordingLog } from '../../helpers/recording-log.js';

let directory: string;
let log: RecordingLog;
const open: EventLog[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rudder-events-'));
  log = createRecordingLog();
});
afterEach(async () => {
  for (const events of open.splice(0)) await events.close();
  rmSync(directory, { recursive: true, force: true });
});

async function opened(): Promise<EventLog> {
  const events = await openEventLog(directory, log);
  open.push(events);
  return events;
}
const kindsOf = async (events: EventLog, after = 0) => (await events.after(after, 0)).map(({ kind }) => kind);

describe('the log of events', () => {
  it('remembers what the log is told with a kind, and nothing else, over restarts', async () => {
    const events = await opened();
    const told = events.tellingBy(log);
    told.warn({ subnet: '10.240.2.0/24' }, 'the own lease key is gone', 'lease.lost');
    told.info({}, 'a line and no more');
    expect(log.lines.map(({ level, message }) => [level, message])).toEqual([
      ['warn', 'the own lease key is gone'],
      ['info', 'a line and no more'],
    ]);
    await events.close();
    const again = await opened();
    expect(await again.after(0, 0)).toMatchObject([
      { kind: 'lease.lost', subject: '10.240.2.0/24', line: 'the own lease key is gone' },
    ]);
    expect(again.last('lease')!.kind).toBe('lease.lost');
    expect(again.last('peer')).toBeUndefined();
    expect(statSync(eventFileIn(directory)).mode & 0o777).toBe(0o600);
  });

  it('lets one wait for what happens next, so long and no longer, and a bounded number at once', async () => {
    const events = await opened();
    const waiting = Array.from({ length: 16 }, () => events.after(0, 60_000));
    expect(await events.after(0, 60_000)).toEqual([]); // the 17th does not wait
    events.note('node.ready', {}, 'ready');
    for (const came of await Promise.all(waiting)) expect(came).toMatchObject([{ kind: 'node.ready' }]);
    const last = (await events.after(0, 0)).at(-1)!.id;
    expect(await events.after(last, 20)).toEqual([]);
    const ending = events.after(last, 60_000);
    await events.close();
    expect(await ending).toEqual([]);
  });

  it('runs on where nothing can be written, and says so', async () => {
    rmSync(directory, { recursive: true });
    writeFileSync(directory, 'a file');
    const events = await opened();
    events.note('node.ready', {}, 'ready');
    await events.close();
    expect(await kindsOf(events)).toEqual(['node.ready']);
    expect(log.lines.map(({ message }) => message)).toContain('events cannot be saved');
  });
});

it('what could not be saved is saved later, also if nothing more happens', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    rmSync(directory, { recursive: true });
    writeFileSync(directory, 'a file');
    const events = await opened();
    events.note('node.ready', {}, 'ready');
    const passUntil = async (holds: () => boolean) => {
      const end = performance.now() + 10_000;
      while (!holds() && performance.now() < end) {
        vi.advanceTimersByTime(1000);
        await new Promise((resolve) => setImmediate(resolve));
      }
      expect(holds()).toBe(true);
    };
    await passUntil(() => log.lines.some(({ message }) => message === 'events cannot be saved'));
    rmSync(directory);
    await passUntil(() => existsSync(eventFileIn(directory)));
    expect((await readEvents(eventFileIn(directory))).map(({ kind }) => kind)).toEqual(['node.ready']);
  } finally {
    vi.useRealTimers();
  }
});

describe('the file of events', () => {
  const event = { id: 7, ...eventOf('peer.silent', 'peer is silent', { host: 'n2' }) };

  it('is read past torn and hostile lines', async () => {
    const path = eventFileIn(directory);
    await writeEvents(path, [event, { ...event, id: 8 }]);
    const text = readFileSync(path, 'utf8');
    const hostile = [
      '[1,2]',
      '{"id":1e300}',
      JSON.stringify({ ...event, id: Number.MAX_SAFE_INTEGER }),
      JSON.stringify({ ...event, kind: 'peer.owned' }),
      JSON.stringify({ ...event, time: '\u001b[2J' }),
      JSON.stringify({ ...event, id: 9, line: '\u001b[2Jx', subject: 'a\nb' }),
    ];
    writeFileSync(path, `${hostile.join('\n')}\n${text.slice(0, -20)}`);
    expect(await readEvents(path)).toEqual([{ ...event, id: 9, line: ' [2Jx', subject: 'a b' }, event]);
  });

  it('is none if it is not there, and is not followed elsewhere', async () => {
    const path = eventFileIn(directory);
    expect(await readEvents(path)).toEqual([]);
    symlinkSync('/etc/passwd', path);
    await expect(readEvents(path)).rejects.toThrow('symbolic link');
    expect(await kindsOf(await opened())).toEqual([]);
    expect(log.lines).toMatchObject([{ message: 'the events of earlier runs cannot be read' }]);
  });
});
