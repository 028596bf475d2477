import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { parseIpv4, parseSubnet } from '../../../src/core/address-text.js';
import { MOST_AT_ONCE } from '../../../src/core/in-turns.js';
import type { Lease } from '../../../src/core/lease.js';
import { keepPast, type Past, type PastOptions } from '../../../src/daemon/past.js';
import { STEP_SECONDS } from '../../../src/history/history.js';
import { udp } from '../../helpers/leases.js';

const lease = (subnet: string, host: string): Lease => ({
  subnet: parseSubnet(subnet)!,
  publicIp: parseIpv4('192.0.2.2')!,
  nodeId: host,
  host,
  version: '1.2.3',
  backend: udp(),
});
const [A, B] = [lease('10.240.1.0/24', 'a'), lease('10.240.2.0/24', 'b')];

let peers: readonly Lease[];
let bytes: number;
let state: 'ok' | 'silent';
let options: PastOptions;
let past: Past;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance', 'Date'] });
  [peers, bytes, state] = [[A, B], 0, 'ok'];
  const sight = { problem: undefined, heardSecondsAgo: undefined };
  const traffic = () => ({ outPackets: 9, outBytes: bytes, inPackets: 0, inBytes: 0 });
  const counters = () => ({ out_packets: bytes, in_drop_source: bytes / 100 });
  options = {
    peers: () => peers,
    backend: { packetPath: { counters } } as unknown as PastOptions['backend'],
    health: {
      look: () => undefined,
      of: () => ({ state, reason: null, rttMs: 0.5, lastHeardSeconds: 1 }),
    },
    sightOf: () => ({ ...sight, traffic: traffic() }),
  };
  past = keepPast(options);
});
afterEach(() => {
  past.stop();
  vi.useRealTimers();
});

it('looks every few seconds, whoever asks, at what flows, what is dropped and who is not well', async () => {
  bytes = 10_000;
  state = 'silent';
  await vi.advanceTimersByTimeAsync(STEP_SECONDS * 1000);
  const { curves, drops, endsAt } = past.history(-1, undefined)!;
  expect(curves).toMatchObject({ out: [null, 2000], peers: [2, 2], unwell: [0, 2] });
  // Of the counters those of drops, and no others.
  expect(drops).toEqual({ in_drop_source: [null, 10] });
  expect(endsAt).toBe(new Date().toISOString());
  expect(past.history(-1, '10.240.1.0/24')?.curves.out).toEqual([null, 1000]);
});

it('tells another node the sum of its drops, and that nobody knows of any where the kernel moves the packets', async () => {
  bytes = 10_000;
  await vi.advanceTimersByTimeAsync(STEP_SECONDS * 1000);
  expect(past.curves().curves.drops).toEqual([0, 10]);
  past.stop();
  const uncounted = { outPackets: null, outBytes: null, inPackets: null, inBytes: null };
  const sightOf = () => ({ problem: undefined, heardSecondsAgo: undefined, traffic: uncounted });
  past = keepPast({ ...options, backend: { packetPath: undefined }, sightOf });
  await vi.advanceTimersByTimeAsync(STEP_SECONDS * 1000);
  const { drops, out, peers: seen } = past.curves().curves;
  expect([seen.at(-1), new Set(drops), new Set(out)]).toEqual([2, new Set([null]), new Set([null])]);
});

it('remembers who left, also between two looks', () => {
  vi.advanceTimersByTime(1000);
  peers = [A];
  expect(past.lost()).toEqual([
    { host: 'b', version: '1.2.3', subnet: '10.240.2.0/24', nextHop: '192.0.2.2', seconds: 0 },
  ]);
  vi.advanceTimersByTime(60_000);
  expect(past.lost()).toMatchObject([{ host: 'b', seconds: 60 }]);
});

it('looks at thousands in turns, and at all of them', async () => {
  past.stop();
  peers = Array.from({ length: 2000 }, (_, i) => lease(`10.${240 + (i >> 8)}.${i & 255}.0/24`, `n${i}`));
  let seen = 0;
  const sightOf = (of: Lease) => {
    seen++;
    return options.sightOf(of);
  };
  past = keepPast({ ...options, sightOf });
  expect(seen).toBeLessThanOrEqual(MOST_AT_ONCE);
  expect(past.history(-1, undefined)).toMatchObject({ curves: { peers: [] } });
  await vi.waitFor(() => expect(past.curves().curves.peers).toEqual([2000]));
  expect(seen).toBe(2000);
});

it('stops', () => {
  past.stop();
  expect(vi.getTimerCount()).toBe(0);
});
