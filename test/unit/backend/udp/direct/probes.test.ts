import { beforeEach, describe, expect, it } from 'vitest';
import { createProbes, type Probes } from '../../../../../src/backend/udp/direct/probes.js';
import { createFakeEcho, type FakeEcho } from '../../../../helpers/fake-echo.js';

const ID = 4711;
const ADDRESS = 0x0af00700;
const peerOf = (number: number) => `10.240.${number}.0/24`;

let clock: number;
let echo: FakeEcho;
let probes: Probes;
let unreadable: unknown[];
/** Each change with its time. */
let changes: [number, string, boolean][];

beforeEach(() => {
  clock = 0;
  changes = [];
  echo = createFakeEcho(() => clock * 1000);
  echo.answer = () => 300;
  unreadable = [];
  probes = createProbes({
    socket: echo.open(),
    id: ID,
    now: () => clock,
    onUnreadable: (error) => unreadable.push(error),
  });
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
    expect(at - cut).toBeGreaterThan(6000);
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
    expect(asked).toBeLessThan(14);
  });

  it('of an earlier run is trusted until its first miss', () => {
    probes.follow(peerOf(7), ADDRESS, true);
    expect(probes.answers(peerOf(7))).toBe(true);
    echo.answer = () => 'nothing';
    pass(2500);
    expect(changes).toEqual([[2000, peerOf(7), false]]);
  });

  it('of an earlier run that answers has three misses as any other', () => {
    probes.follow(peerOf(7), ADDRESS, true);
    pass(3000);
    echo.answer = () => 'nothing';
    pass(6000);
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
  expect(echo.sent.length).toBeGreaterThan(2);
  expect(changes).toEqual([]);
});

it('an answer that comes late is none', () => {
  echo.answer = () => 2_100_000;
  probes.follow(peerOf(7), ADDRESS, false);
  pass(10_000);
  expect(changes).toEqual([]);
});

it('what cannot be read is told, and the peers are asked on', () => {
  const receive = () => {
    throw new Error('no');
  };
  const socket = { ...echo.open(), receive };
  probes = createProbes({ socket, id: ID, now: () => clock, onUnreadable: (error) => unreadable.push(error) });
  probes.follow(peerOf(7), ADDRESS, true);
  pass(10_000);
  expect(unreadable.length).toBeGreaterThan(0);
  expect(unreadable.length).toBeLessThan(20);
  expect(changes).toEqual([[2000, peerOf(7), false]]);
});

describe('of many peers', () => {
  const MANY = 4000;
  const addressOf = (i: number) => (10 << 24) | (i << 8);
  const nameOf = (i: number) => `10.${i >> 8}.${i & 255}.0/24`;
  const followAll = (isKept: boolean, count = MANY) => {
    for (let i = 0; i < count; i++) probes.follow(nameOf(i), addressOf(i), isKept);
  };

  /** The most echoes of any second since then. */
  function mostInASecond(since = 0): number {
    const sent = echo.sent.map(({ sentAt }) => sentAt / 1000).filter((at) => at >= since);
    let [most, first] = [0, 0];
    sent.forEach((at, i) => {
      while (sent[first] <= at - 1000) first++;
      most = Math.max(most, i - first + 1);
    });
    return most;
  }

  it('all that answer are in use within 100 s, at 40 echoes a second, and are asked in 40 s, at 100', () => {
    followAll(false);
    pass(100_100);
    expect(changes).toHaveLength(MANY);
    pass(10_000);
    const { length } = echo.sent;
    const before = clock;
    pass(40_000);
    expect(echo.sent.length - length).toBe(MANY);
    expect(new Set(echo.sent.slice(length).map(({ destination }) => destination)).size).toBe(MANY);
    expect(mostInASecond(before)).toBe(100);
    expect(mostInASecond()).toBeLessThanOrEqual(140);
    expect(changes).toHaveLength(MANY);
  });

  // As docs/backends.md says.
  describe.each([
    [200, 10, 10],
    [1000, 20, 40],
    [4000, 50, 150],
  ])('%i in use', (count, oneSeconds, allSeconds) => {
    beforeEach(() => {
      followAll(true, count);
      pass(60_000);
      expect(changes).toEqual([]);
    });

    it(`one that answers no more is left within ${oneSeconds} s, and no other`, () => {
      const cut = clock;
      const broken = count - 57;
      echo.answer = ({ destination }) => (destination === addressOf(broken) ? 'nothing' : 300);
      pass(60_000);
      expect(changes).toEqual([[expect.any(Number), nameOf(broken), false]]);
      expect(changes[0][0] - cut).toBeLessThan(oneSeconds * 1000);
    });

    it(`all that answer no more are left within ${allSeconds} s, at no more than 140 echoes a second`, () => {
      const cut = clock;
      echo.answer = () => 'nothing';
      pass(160_000);
      expect(changes).toHaveLength(count);
      expect(Math.max(...changes.map(([at]) => at)) - cut).toBeLessThan(allSeconds * 1000);
      expect(mostInASecond()).toBeLessThanOrEqual(140);
    });
  });

  it('a way in use among those that never answer is left as soon as if there were no others', () => {
    echo.answer = ({ destination }) => (destination === addressOf(1700) ? 300 : 'nothing');
    followAll(false);
    pass(110_000);
    expect(changes).toEqual([[expect.any(Number), nameOf(1700), true]]);
    const cut = clock;
    echo.answer = () => 'nothing';
    pass(10_000);
    expect(changes.slice(1)).toEqual([[expect.any(Number), nameOf(1700), false]]);
    expect(changes[1][0] - cut).toBeLessThan(8100);
    expect(mostInASecond()).toBeLessThanOrEqual(60);
  });
});
