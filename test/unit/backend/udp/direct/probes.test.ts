import { beforeEach, describe, expect, it } from 'vitest';
import { createProbes, type Probes } from '../../../../../src/backend/udp/direct/probes.js';
import { createFakeEcho, type FakeEcho } from '../../../../helpers/fake-echo.js';

const ID = 4711;
const ADDRESS = 0x0af00700;
const peerOf = (number: number) => `10.240.${number}.0/24`;

let clock: number;
let echo: FakeEcho;
let probes: Probes;
/** Each change with its time. */
let changes: [number, string, boolean][];

beforeEach(() => {
  clock = 0;
  changes = [];
  echo = createFakeEcho(() => clock * 1000);
  echo.answer = () => 300;
  probes = createProbes({ socket: echo.open(), id: ID, now: () => clock });
});

/** As the timer would. */
function pass(ms: number): void {
  for (const end = clock + ms; ; ) {
    for (const peer of probes.turn()) changes.push([clock, peer, probes.answers(peer)]);
    const next = clock + (probes.restMs() ?? ms);
    if (next > end) {
      clock = end;
      return;
    }
    clock = next;
  }
}

describe('a peer', () => {
  it('is trusted at its first answer, and asked every two seconds', () => {
    probes.follow(peerOf(7), ADDRESS, false);
    expect(probes.answers(peerOf(7))).toBe(false);
    pass(10_000);
    expect(changes).toEqual([[50, peerOf(7), true]]);
    expect(echo.sent).toHaveLength(6);
    expect(echo.sent[0]).toMatchObject({ destination: ADDRESS, id: ID, payloadBytes: 0 });
    expect(new Set(echo.sent.map(({ sequence }) => sequence)).size).toBe(6);
  });

  it('is trusted no more after three misses, within ten seconds, and again at the next answer', () => {
    probes.follow(peerOf(7), ADDRESS, false);
    pass(5000);
    const cut = clock;
    echo.answer = () => 'nothing';
    pass(15_000);
    expect(changes).toHaveLength(2);
    const [[at, peer, answers]] = changes.slice(-1);
    expect([peer, answers]).toEqual([peerOf(7), false]);
    expect(at - cut).toBeGreaterThan(4000);
    expect(at - cut).toBeLessThan(8100);
    echo.answer = () => 300;
    const lifted = clock;
    pass(15_000);
    expect(changes[2][2]).toBe(true);
    expect(changes[2][0] - lifted).toBeLessThan(10_100);
  });

  it('stays trusted with two misses in a row', () => {
    probes.follow(peerOf(7), ADDRESS, false);
    let count = 0;
    echo.answer = () => (count++ % 3 === 0 ? 300 : 'nothing');
    pass(60_000);
    expect(changes).toEqual([[50, peerOf(7), true]]);
  });

  it('that cannot be sent to has missed, and is asked ever more rarely', () => {
    echo.answer = () => ({ code: 'EHOSTUNREACH' });
    probes.follow(peerOf(7), ADDRESS, false);
    let asked = 0;
    echo.answer = () => {
      asked++;
      return { code: 'EHOSTUNREACH' };
    };
    pass(100_000);
    expect(changes).toEqual([]);
    expect(asked).toBeGreaterThan(9);
    expect(asked).toBeLessThan(16);
  });

  it('of an earlier run is trusted until its first miss', () => {
    probes.follow(peerOf(7), ADDRESS, true);
    expect(probes.answers(peerOf(7))).toBe(true);
    echo.answer = () => 'nothing';
    pass(1500);
    expect(changes).toEqual([[1000, peerOf(7), false]]);
  });

  it('of an earlier run that answers has three misses as any other', () => {
    probes.follow(peerOf(7), ADDRESS, true);
    pass(3000);
    echo.answer = () => 'nothing';
    pass(4000);
    expect(changes).toEqual([]);
  });

  it('that is told of again is followed on; one that is forgotten is not', () => {
    probes.follow(peerOf(7), ADDRESS, false);
    pass(1000);
    probes.follow(peerOf(7), ADDRESS, false);
    expect(probes.answers(peerOf(7))).toBe(true);
    probes.forget(peerOf(7));
    expect(probes.answers(peerOf(7))).toBe(false);
    expect(probes.restMs()).toBeUndefined();
    const { length } = echo.sent;
    pass(5000);
    expect(echo.sent).toHaveLength(length);
  });
});

it.each([
  ['of another sender', { source: 1 }],
  ['of another process', { id: ID + 1 }],
  ['of another request', { sequence: 1 }],
  ['that is a request', { type: 'request' as const }],
])('an echo %s is no answer', (_, change) => {
  echo.answer = (request) => {
    const { id, sequence } = request;
    const right = { type: 'reply' as const, source: ADDRESS, id, sequence, payloadBytes: 0, receivedAt: 0 };
    echo.arrives({ ...right, ...('sequence' in change ? { sequence: (sequence + 1) & 0xffff } : change) });
    return 'nothing';
  };
  probes.follow(peerOf(7), ADDRESS, false);
  pass(10_000);
  expect(echo.sent.length).toBeGreaterThan(3);
  expect(changes).toEqual([]);
});

it('an answer that comes late is none', () => {
  echo.answer = () => 1_500_000;
  probes.follow(peerOf(7), ADDRESS, false);
  pass(10_000);
  expect(changes).toEqual([]);
});

it('of many no more are asked at one time than there is room for the answers, and all are within a few seconds', () => {
  const MANY = 1000;
  for (let i = 0; i < MANY; i++) probes.follow(`10.${i >> 8}.${i & 255}.0/24`, (10 << 24) | (i << 8), false);
  pass(2000);
  const perTime = new Map<number, number>();
  for (const { sentAt } of echo.sent) perTime.set(sentAt, (perTime.get(sentAt) ?? 0) + 1);
  expect(Math.max(...perTime.values())).toBe(100);
  expect(changes).toHaveLength(MANY);
});
