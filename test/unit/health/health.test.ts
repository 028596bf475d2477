import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { parseIpv4, parseSubnet } from '../../../src/core/address-text.js';
import type { Ipv4 } from '../../../src/core/ipv4.js';
import type { Lease } from '../../../src/core/lease.js';
import { type Health, keepHealth } from '../../../src/health/health.js';
import type { Echo } from '../../../src/system/echo.js';
import { udp } from '../../helpers/leases.js';
import { createRecordingLog } from '../../helpers/recording-log.js';

const lease = (third: number, changes: Partial<Lease> = {}): Lease => ({
  subnet: parseSubnet(`10.42.${third}.0/24`)!,
  publicIp: parseIpv4(`192.0.2.${third}`)!,
  nodeId: 'n',
  backend: udp(),
  ...changes,
});
const ONE = lease(1);
const at = (third: number) => parseIpv4(`10.42.${third}.0`)!;

let peers: readonly Lease[];
let health: Health;
/** Sends that the kernel took. */
let sent: { to: Ipv4; id: number; sequence: number }[];
let inbox: Echo[];
let refusal: NodeJS.ErrnoException | undefined;

const socket = {
  send(to: Ipv4, id: number, sequence: number) {
    if (refusal !== undefined) throw refusal;
    sent.push({ to, id, sequence });
    return 1_000_000;
  },
  receive: () => inbox.splice(0),
  close: vi.fn(),
};

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  [peers, sent, inbox, refusal] = [[ONE], [], [], undefined];
  health = start(socket);
});
afterEach(() => {
  health.stop();
  vi.useRealTimers();
});

function start(
  using: typeof socket | undefined,
  list = () => peers,
  sourceOf = ({ subnet }: Lease) => subnet.address,
): Health {
  return keepHealth({
    peers: list,
    socket: using,
    addressOf: ({ subnet }) => subnet.address,
    sourceOf,
    isSureToAnswer: true,
    isByKernel: false,
    log: createRecordingLog(),
  });
}

const answer = (changes: Partial<Echo> = {}) => {
  const { to, id, sequence } = sent.at(-1)!;
  inbox.push({ type: 'reply', source: to, id, sequence, payloadBytes: 0, receivedAt: 1_000_400, ...changes });
};
const stateOf = (of = ONE) => {
  health.look();
  return health.of(of, undefined, undefined);
};

it('knows a peer by the answer to a probe, with its time of flight by the clock of the kernel', () => {
  expect(stateOf().state).toBe('unknown');
  vi.advanceTimersByTime(10);
  expect(sent).toMatchObject([{ to: at(1) }]);
  answer();
  expect(stateOf()).toMatchObject({ state: 'ok', rttMs: 0.4, lastHeardSeconds: 0 });
  expect(health.rtts()).toMatchObject({ sum: 0.0004 });
});

it('is seldom awake among many that come and go', () => {
  let lists = 0;
  peers = Array.from({ length: 200 }, (_, i) => lease(i));
  const wakes = vi.spyOn(socket, 'receive');
  health.stop();
  health = start(socket, () => {
    lists++;
    return [...peers];
  });
  // Up to the last turn of these ten seconds, and not the first of the next.
  vi.advanceTimersByTime(9_990);
  expect(sent.length).toBeGreaterThanOrEqual(195);
  expect(sent.length).toBeLessThanOrEqual(205);
  expect(wakes.mock.calls.length).toBeLessThanOrEqual(22);
  expect(lists).toBeLessThanOrEqual(11);
});

it('begins with some of thousands that come at once, and asks all of them in the end', () => {
  const subnet = (i: number) => ({ address: at(0) + i * 256, prefixLength: 24 });
  peers = Array.from({ length: 1200 }, (_, i) => ({ ...ONE, subnet: subnet(i) }));
  health.stop();
  const addresses = vi.fn(({ subnet }: Lease) => subnet.address);
  health = start(socket, () => peers, addresses);
  health.look();
  expect(addresses.mock.calls.length).toBeLessThanOrEqual(500);
  vi.advanceTimersByTime(90_000);
  expect(new Set(sent.map(({ to }) => to)).size).toBe(1200);
});

it('finds it silent after three probes', () => {
  vi.advanceTimersByTime(5_900);
  expect(stateOf().state).toBe('unknown');
  vi.advanceTimersByTime(200);
  expect(stateOf().state).toBe('silent');
});

describe('what is no answer', () => {
  it.each<[string, Partial<Echo>]>([
    ['of a ping', { id: 7 }],
    ['of somebody else', { source: at(9) }],
    ['to an earlier probe', { sequence: 0 }],
  ])('%s', (_, changes) => {
    vi.advanceTimersByTime(10);
    answer(changes);
    expect(stateOf().state).toBe('unknown');
  });
});

it('hears a peer by probes that come from another address than it answers at, while it has that one', () => {
  const request = {
    type: 'request',
    source: ONE.publicIp,
    id: 0x5244,
    sequence: 9,
    payloadBytes: 0,
    receivedAt: 0,
  } as const;
  health.stop();
  health = start(
    socket,
    () => peers,
    ({ publicIp }) => publicIp,
  );
  vi.advanceTimersByTime(10);
  inbox.push(request);
  expect(stateOf()).toMatchObject({ state: 'ok', rttMs: null, lastHeardSeconds: 0 });
  const moved = lease(1, { publicIp: parseIpv4('192.0.2.99')! });
  peers = [moved];
  vi.advanceTimersByTime(1010);
  inbox.push(request);
  expect(stateOf(moved).lastHeardSeconds).toBeNull();
});

it('does not judge who has just taken a subnet by the probes of who had it', () => {
  vi.advanceTimersByTime(10);
  answer();
  expect(stateOf().state).toBe('ok');
  const next = lease(1, { publicIp: parseIpv4('192.0.2.99')! });
  peers = [next];
  // Peers are not followed at each question.
  expect(health.of(next, undefined, undefined)).toMatchObject({ state: 'unknown', lastHeardSeconds: null });
  expect(health.facts(next, undefined, undefined)).toMatchObject({ answeredSeconds: null, heardSeconds: null });
});

it('hears a peer by its own probes too', () => {
  vi.advanceTimersByTime(10);
  answer({ type: 'request' });
  expect(stateOf()).toMatchObject({ state: 'ok', rttMs: null });
  expect(health.facts(ONE, undefined, undefined)).toMatchObject({ heardSeconds: 0, answeredSeconds: null });
});

it('hears the probe of a peer that has come a moment ago, which is no traffic', () => {
  // So many that it is awake twice a second.
  peers = Array.from({ length: 20 }, (_, i) => lease(i));
  health.stop();
  health = start(socket);
  vi.advanceTimersByTime(10);
  const newcomer = lease(30);
  peers = [...peers, newcomer];
  for (const source of [at(30), at(31)]) {
    inbox.push({ type: 'request', source, id: sent[0].id, sequence: 1, payloadBytes: 0, receivedAt: 1_000_400 });
  }
  // Sooner than peers are followed by themselves.
  vi.advanceTimersByTime(510);
  expect(health.probePackets(newcomer)).toEqual({ out: 1, in: 1 });
});

it.each([
  ['EPERM', /firewall rule of this host/],
  ['ENETUNREACH', /no route/],
  ['EHOSTUNREACH', /no route/],
  ['ENETDOWN', /device .* is down/],
])('a probe that the kernel does not take (%s) makes it unreachable, and says why, until one is taken', (code, why) => {
  refusal = Object.assign(new Error('no'), { code });
  vi.advanceTimersByTime(10);
  expect(stateOf()).toMatchObject({ state: 'unreachable', reason: expect.stringMatching(why) });
  refusal = undefined;
  vi.advanceTimersByTime(2000);
  answer();
  expect(stateOf().state).toBe('ok');
});

it('follows peers that come, and forgets those that leave', () => {
  vi.advanceTimersByTime(10);
  peers = [lease(2)];
  vi.advanceTimersByTime(4000);
  expect(sent.filter(({ to }) => to === at(1))).toHaveLength(1);
  expect(sent.filter(({ to }) => to === at(2)).length).toBeGreaterThanOrEqual(2);
});

it('begins anew with another node at the same subnet', () => {
  vi.advanceTimersByTime(10);
  answer();
  expect(stateOf().state).toBe('ok');
  const other = lease(1, { publicIp: parseIpv4('192.0.2.99')! });
  peers = [other];
  expect(stateOf(other).state).toBe('unknown');
});

it('counts the packets of both nodes’ probes, also over a change of the node', () => {
  vi.advanceTimersByTime(10);
  answer();
  inbox.push({ type: 'request', source: at(1), id: sent[0].id, sequence: 5, payloadBytes: 0, receivedAt: 0 });
  // Somebody's ping is traffic.
  inbox.push({ type: 'request', source: at(1), id: 77, sequence: 5, payloadBytes: 56, receivedAt: 0 });
  stateOf();
  expect(health.probePackets(ONE)).toEqual({ out: 2, in: 2 });
  peers = [lease(1, { version: '2' })];
  stateOf();
  expect(health.probePackets(ONE)).toEqual({ out: 2, in: 2 });
});

it('without a socket goes by what is heard', () => {
  health.stop();
  health = start(undefined);
  expect(health.of(ONE, undefined, 1)).toMatchObject({ state: 'ok', rttMs: null, lastHeardSeconds: 1 });
  expect(health.of(ONE, undefined, undefined)).toMatchObject({ state: 'unknown', lastHeardSeconds: null });
});

describe('a probe on order', () => {
  beforeEach(() => {
    health.stop();
    vi.useRealTimers();
    sent = [];
    health = start(socket);
  });

  it('is sent at once, and waited for', async () => {
    await vi.waitFor(() => expect(sent).toHaveLength(1));
    answer();
    health.look();
    const ordered = health.probeNow(ONE);
    await vi.waitFor(() => expect(sent).toHaveLength(2));
    answer();
    await ordered;
    expect(stateOf()).toMatchObject({ state: 'ok' });
  });

  it('does not take the place of one that may be answered still, however many there are', async () => {
    const orders: Promise<void>[] = [];
    for (let i = 0; i < 8; i++) {
      orders.push(health.probeNow(ONE));
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
    expect(sent.length).toBeLessThanOrEqual(2);
    answer();
    await Promise.all(orders);
    expect(health.facts(ONE, undefined, undefined)).toMatchObject({ misses: 0, rttMs: 0.4 });
  });

  it('comes after one that has had no answer, and comes to an end', async () => {
    await vi.waitFor(() => expect(sent).toHaveLength(1));
    const began = performance.now();
    await Promise.all([health.probeNow(ONE), health.probeNow(ONE), health.probeNow(ONE)]);
    expect(sent).toHaveLength(2);
    expect(performance.now() - began).toBeLessThan(2000);
  });
});
