import { beforeEach, expect, it } from 'vitest';
import { loggedRegistry, REQUEST_BOUNDS } from '../../../../src/control/etcd/logged-registry.js';
import type { Registry } from '../../../../src/control/etcd/registry.js';
import { createHistogram, type Histogram } from '../../../../src/core/histogram.js';
import { createMemoryRegistry } from '../../../helpers/memory-registry.js';
import { createRecordingLog, type RecordingLog } from '../../../helpers/recording-log.js';

let log: RecordingLog;
let times: Histogram;
const timed = () => times.counts().counts.reduce((sum, count) => sum + count, 0);
beforeEach(() => {
  log = createRecordingLog();
  times = createHistogram(REQUEST_BOUNDS);
});

const told = () => log.lines.map(({ level, message, fields }) => ({ level, message, ...fields }));
const answered = (request: string, fields: object) => ({
  level: 'debug',
  message: 'etcd answered',
  request,
  ...fields,
  ms: expect.any(Number),
});

it('tells what is asked and answered, and no value', async () => {
  const registry = loggedRegistry(createMemoryRegistry(), log, times);
  await registry.createConfig('secret');
  expect(await registry.getConfig()).toBe('secret');
  const holding = await registry.createLease('10.240.1.0-24', 'secret', 60);
  await registry.keepAlive(holding!.ttlId);
  await registry.listLeases();
  expect(timed()).toBe(5);
  expect(told()).toEqual([
    answered('create config', { created: true }),
    answered('read config', { found: true }),
    answered('create lease', { written: true }),
    answered('renew lease', { renewed: true }),
    answered('list leases', { revision: expect.any(Number), leases: 1 }),
  ]);
  expect(JSON.stringify(log.lines)).not.toContain('secret');
});

it('tells why something was not done, and throws the same', async () => {
  const error = new Error('away');
  const failing: Registry = { ...createMemoryRegistry(), listLeases: () => Promise.reject(error) };
  await expect(loggedRegistry(failing, log, times).listLeases()).rejects.toBe(error);
  // One that fails takes its time too.
  expect(timed()).toBe(1);
  expect(told()).toEqual([
    {
      level: 'debug',
      message: 'etcd did not do what it was asked',
      request: 'list leases',
      reason: 'away',
      ms: expect.any(Number),
    },
  ]);
});

it('tells of watches that begin, tell and end, and hands everything on', async () => {
  const memory = createMemoryRegistry();
  const registry = loggedRegistry(memory, log, times);
  const seen: string[] = [];
  registry.watch(1, {
    opened: () => undefined,
    events: (events) => seen.push(`${events.length} events`),
    ended: (reason) => seen.push(reason.message),
  });
  memory.putRaw('10.240.1.0-24', '{}');
  await new Promise(setImmediate);
  registry.reconnect();
  await new Promise(setImmediate);
  expect(seen[0]).toBe('1 events');
  expect(seen).toHaveLength(2);
  expect(told().map(({ message }) => message)).toEqual([
    'watching etcd',
    'etcd told of changes',
    'connecting to etcd anew',
    'the watch of etcd has ended',
  ]);
});
