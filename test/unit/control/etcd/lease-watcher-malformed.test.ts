import { beforeEach, expect, it, vi } from 'vitest';
import { ip, pass, peerValue, warningsOf } from './cluster.js';
import { createWatching, PEER, RECONNECT, RESYNC, type Watching } from './watching.js';

vi.mock('node:timers/promises', () => import('../fake-delay.js'));

let t: Watching;
let { registry, log, peers } = {} as Watching;

beforeEach(() => {
  vi.useFakeTimers();
  t = createWatching();
  ({ registry, log, peers } = t);
  return () => {
    t.stop.abort();
    vi.useRealTimers();
    vi.restoreAllMocks();
  };
});

const ADDED = 'added 10.240.77.0/24 10.1.1.77';
const REMOVED = 'removed 10.240.77.0/24 10.1.1.77';

async function start(): Promise<void> {
  void t.start();
  await pass(0);
}

const warnedKeys = () => warningsOf(log).map((line) => (line.fields as { key: string }).key);

const MALFORMED: [string, string][] = [
  ['not a subnet', peerValue('10.1.1.1')],
  ['10.240.5.7-24', peerValue('10.1.1.2')],
  ['10.99.5.0-24', peerValue('10.1.1.3')],
  ['10.240.5.0-25', peerValue('10.1.1.4')],
  ['10.240.6.0-24', 'garbage'],
  ['10.240.7.0-24', '{"PublicIP":"10.1.1"}'],
  ['10.240.8.0-24', '{"PublicIP":"127.0.0.1"}'],
  ['10.240.9.0-24', '{"PublicIP":"10.1.1.9","BackendType":"vxlan"}'],
  ['10.240.10.0-24', ''],
];

it.each(['listed', 'watched'])('keys that are no leases are skipped with one warning each, %s', async (when) => {
  if (when === 'watched') await start();
  for (const [name, value] of MALFORMED) registry.putRaw(name, value);
  registry.putRaw(PEER, peerValue('10.1.1.77'));
  if (when === 'listed') await start();
  await pass(0);
  expect(peers).toEqual([ADDED]);
  expect(warnedKeys()).toEqual(MALFORMED.map(([name]) => name));

  await pass(3 * RESYNC);
  expect(warnedKeys()).toHaveLength(MALFORMED.length);
  registry.disconnect();
  await pass(RESYNC);
  expect(warnedKeys().filter((key) => key !== undefined)).toHaveLength(MALFORMED.length);
  expect(peers).toEqual([ADDED]);
});

it('a warning says what is wrong, and is short for any key and value', async () => {
  registry.putRaw('10.240.6.0-24', 'garbage');
  registry.putRaw('k'.repeat(5000), 'v'.repeat(1_000_000));
  await start();
  const [first, second] = warningsOf(log);
  expect(first).toEqual({
    level: 'warn',
    message: 'skipping a key that is no lease',
    fields: { key: '10.240.6.0-24', problem: 'value "garbage" is not JSON with a PublicIP' },
  });
  expect(JSON.stringify(second).length).toBeLessThan(400);
});

it('what is ignored is known with its reason, until it is mended or gone', async () => {
  registry.putRaw('10.240.64.128-25', peerValue('10.1.1.64'));
  registry.putRaw('10.241.3.0-24', peerValue('10.1.1.65'));
  registry.putRaw(PEER, 'garbage');
  await start();
  const smaller = { key: '10.240.64.128-25', publicIp: ip('10.1.1.64'), problem: /smaller than SubnetLen 24/ };
  const outside = { key: '10.241.3.0-24', publicIp: ip('10.1.1.65'), problem: /outside Network/ };
  const garbage = { key: PEER, publicIp: undefined, problem: /is not JSON/ };
  const known = () => [...t.ignored.values()];
  expect(known()).toMatchObject(
    [smaller, outside, garbage].map(({ problem, ...rest }) => ({ ...rest, problem: expect.stringMatching(problem) })),
  );
  registry.putRaw(PEER, peerValue('10.1.1.77'));
  registry.deleteRaw('10.240.64.128-25');
  await pass(0);
  expect(known().map(({ key }) => key)).toEqual(['10.241.3.0-24']);
  registry.disconnect();
  registry.deleteRaw('10.241.3.0-24');
  await pass(RECONNECT);
  expect(known()).toEqual([]);
});

it('a lease that becomes malformed is removed, with a warning, and comes back when it is mended', async () => {
  registry.putRaw(PEER, peerValue('10.1.1.77'));
  await start();
  registry.putRaw(PEER, 'garbage');
  await pass(0);
  expect(peers).toEqual([ADDED, REMOVED]);
  expect(warnedKeys()).toEqual([PEER]);
  registry.putRaw(PEER, peerValue('10.1.1.77'));
  await pass(0);
  expect(peers).toEqual([ADDED, REMOVED, ADDED]);
});

it('a lease that became malformed during a gap is removed', async () => {
  registry.putRaw(PEER, peerValue('10.1.1.77'));
  await start();
  registry.disconnect();
  registry.putRaw(PEER, 'garbage');
  await pass(RECONNECT);
  expect(peers).toEqual([ADDED, REMOVED]);
});

it('a key that is malformed anew is warned of anew: changed, mended and broken, or deleted and put', async () => {
  await start();
  registry.putRaw(PEER, 'garbage');
  registry.putRaw(PEER, 'other garbage');
  await pass(0);
  expect(warnedKeys()).toHaveLength(2);
  registry.putRaw(PEER, peerValue('10.1.1.77'));
  registry.putRaw(PEER, 'garbage');
  await pass(0);
  expect(warnedKeys()).toHaveLength(3);
  registry.deleteRaw(PEER);
  await pass(RESYNC);
  registry.putRaw(PEER, 'garbage');
  await pass(RESYNC);
  expect(warnedKeys()).toHaveLength(4);
});

it('deleting a key that never was a lease changes nothing', async () => {
  registry.putRaw('10.240.5.0-25', 'garbage');
  registry.putRaw('10.240.77.0-25', peerValue('10.1.1.5'));
  registry.putRaw(PEER, peerValue('10.1.1.77'));
  await start();
  registry.deleteRaw('10.240.5.0-25');
  registry.deleteRaw('10.240.77.0-25');
  registry.putRaw('not a subnet', 'x');
  registry.deleteRaw('not a subnet');
  await pass(RESYNC);
  expect(peers).toEqual([ADDED]);
});

it('a flood of bad keys is told at a bounded rate, and each of them in the end', async () => {
  await start();
  for (let i = 0; i < 1000; i++) registry.putRaw(`bad-${i}`, `garbage ${i}`);
  await pass(0);
  expect(warnedKeys()).toHaveLength(20);
  // The same key over and over is a flood too.
  for (let i = 0; i < 1000; i++) registry.putRaw('bad-0', `other garbage ${i}`);
  await pass(1);
  expect(warnedKeys()).toHaveLength(20);
  await pass(RESYNC);
  expect(warnedKeys()).toHaveLength(40);
  expect(warningsOf(log)[20].fields).toMatchObject({ suppressed: 1980 });
  await pass(60 * RESYNC);
  expect(new Set(warnedKeys()).size).toBe(1000);
});
