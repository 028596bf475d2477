import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { describeEvent, type EventsOptions, events } from '../../../src/cli/events.js';
import { parseEventKind } from '../../../src/cli/values.js';
import type { NodeEvent } from '../../../src/core/event.js';
import { eventFileIn, writeEvents } from '../../../src/events/event-file.js';
import { serveHttp } from '../../../src/ops/http.js';
import { createRecordingLog } from '../../helpers/recording-log.js';
import { createStatus } from '../../helpers/status.js';

const eventOf = (id: number, changes: Partial<NodeEvent> = {}): NodeEvent => ({
  id,
  time: new Date().toISOString(),
  kind: 'peer.silent',
  subject: 'n2',
  line: 'peer is silent',
  fields: {},
  ...changes,
});

let directory: string;
let stdout: string;
let stderr: string;
const closing: (() => void)[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rudder-events-'));
  stdout = '';
  stderr = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    stdout += text;
    return true;
  });
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    stderr += text;
    return true;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  for (const close of closing.splice(0)) close();
  rmSync(directory, { recursive: true });
});

const run = (options: Partial<EventsOptions> = {}) =>
  events(join(directory, 'subnet.env'), directory, {
    follow: false,
    json: false,
    since: undefined,
    kind: undefined,
    ...options,
  });

/** A daemon that answers this. */
async function serve(answer: readonly unknown[]): Promise<void> {
  const http = await serveHttp({
    socketPath: join(directory, 'rudder.sock'),
    tcp: undefined,
    status: async () => createStatus(),
    survey: async () => ({}),
    cluster: () => ({ nodes: [] }),
    history: () => undefined,
    events: async () => answer as NodeEvent[],
    store: { kind: 'etcd', settings: { endpoints: [], prefix: '/x' } },
    setLogLevel: () => undefined,
    log: createRecordingLog(),
  });
  closing.push(http.close);
}

describe('rudder events', () => {
  it('asks the daemon', async () => {
    await serve([eventOf(1), eventOf(2, { kind: 'lease.lost', subject: null, line: 'the own lease key is gone' })]);
    expect(await run()).toBe(0);
    expect(stderr).toBe('');
    expect(stdout.split('\n')).toEqual([
      expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC {2}peer\.silent +n2 +peer is silent$/),
      expect.stringMatching(/ lease\.lost +- +the own lease key is gone$/),
      '',
    ]);
  });

  it('reads what the daemon has left where there is none, and says so', async () => {
    await writeEvents(eventFileIn(directory), [eventOf(1)]);
    expect(await run({ json: true })).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject([{ id: 1, kind: 'peer.silent', subject: 'n2' }]);
    expect(stderr).toMatch(/^rudder: no daemon runs: these are of the file that it has left, .*events\.jsonl\n$/);
  });

  it('says that there are none', async () => {
    await run();
    expect(stdout).toBe('No events.\n');
    stdout = '';
    await run({ json: true });
    expect(stdout).toBe('[]\n');
  });

  it('chooses by kind, area and time', async () => {
    const old = new Date(Date.now() - 7200_000).toISOString();
    await serve([
      eventOf(1, { time: old }),
      eventOf(2),
      eventOf(3, { kind: 'peer.ok' }),
      eventOf(4, { kind: 'lease.lost' }),
    ]);
    const idsOf = async (options: Partial<EventsOptions>) => {
      stdout = '';
      await run({ json: true, ...options });
      return (JSON.parse(stdout) as NodeEvent[]).map(({ id }) => id);
    };
    expect(await idsOf({ kind: 'peer' })).toEqual([1, 2, 3]);
    expect(await idsOf({ kind: 'peer.silent' })).toEqual([1, 2]);
    expect(await idsOf({ since: 3600 })).toEqual([2, 3, 4]);
  });

  it('shows nothing that turns a terminal over, whoever answers', async () => {
    await serve([eventOf(1, { line: '\u001b[2J', subject: '\u009b2J\n' }), { kind: '\u001b[2J' }, 'x']);
    await run();
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it must not have
    expect(stdout.trimEnd()).not.toMatch(/[\u0000-\u001f\u0080-\u009f]/);
    expect(stdout.trimEnd()).toContain('peer.silent');
  });
});

it('an event stands on one line', () => {
  expect(describeEvent(eventOf(1, { time: '2026-11-27T09:30:00.123Z' }))).toMatch(
    /^2026-11-27 09:30:00 UTC {2}peer\.silent +n2 +peer is silent$/,
  );
});

it('a kind or an area is one that there is', () => {
  expect(parseEventKind('peer')).toBe('peer');
  expect(parseEventKind('host.problem')).toBe('host.problem');
  for (const text of ['', 'peers', 'peer.', 'peer.sad']) expect(() => parseEventKind(text)).toThrow('Expected one of');
});
