import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Answers, answerOf, keepAnswers } from '../../../src/cluster/answers.js';
import type { Summary } from '../../../src/cluster/summary.js';
import type { Member } from '../../../src/cluster/survey.js';

const subnetOf = (i: number) => `10.${i >> 8}.${i & 255}.0/24`;
const member = (i: number): Member => ({
  host: `n${i}`,
  subnet: subnetOf(i),
  address: '10.1.1.1',
  overlayAddress: i,
  publicKey: 'key',
});
const OWN = '10.240.0.0/24';

const summary = (uptimeSeconds: number, bytes: Record<string, number | null> = {}): Summary => ({
  host: 'n',
  version: '1',
  ready: true,
  about: {
    uptimeSeconds,
    backend: 'udp',
    mtu: 1472,
    leaseSeconds: 1,
    config: 'current',
    firewallProblem: null,
    problems: [],
    warnings: [],
  },
  peers: Object.entries(bytes).map(([subnet, outBytes]) => ({
    subnet,
    heardSeconds: 1,
    answeredSeconds: 1,
    misses: 0,
    rttMs: 1,
    obstacle: null,
    outBytes,
    inBytes: outBytes,
  })),
});

describe('nodes are asked', () => {
  let members: Member[];
  let asked: string[];
  let answers: Answers;

  beforeEach(() => {
    vi.useFakeTimers();
    [members, asked] = [[1, 2, 3].map(member), []];
    answers = keepAnswers({
      own: OWN,
      members: () => members,
      ask: async ({ subnet }) => {
        asked.push(subnet);
        return { summary: summary(1, { [OWN]: 1, [subnetOf(2)]: 1, [subnetOf(400)]: 1 }), problem: null };
      },
    });
  });
  afterEach(() => {
    answers.stop();
    vi.useRealTimers();
  });

  it('while somebody looks, and no longer; then what they said is forgotten', async () => {
    await vi.advanceTimersByTimeAsync(5000);
    expect(asked).toEqual([]);
    answers.want();
    await vi.advanceTimersByTimeAsync(4100);
    expect(asked.length).toBe(9);
    expect(answers.of(subnetOf(1))?.summary).not.toBeNull();
    await vi.advanceTimersByTimeAsync(10_000);
    const { length } = asked;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked.length).toBe(length);
    expect(answers.of(subnetOf(1))).toBeUndefined();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('twenty a second and 300 at most, each in its turn, and what they say of others is left out', async () => {
    members = Array.from({ length: 4000 }, (_, i) => member(i + 1));
    for (let second = 0; second < 16; second++) {
      answers.want();
      await vi.advanceTimersByTimeAsync(1000);
    }
    expect(asked.length).toBeLessThanOrEqual(16 * 20 + 5);
    expect(new Set(asked).size).toBe(299);
    const told = answers.of(subnetOf(1))?.summary?.peers.map(({ subnet }) => subnet);
    expect(told).toEqual([OWN, subnetOf(2)]);
  });

  it('a node that has come at once, and one that is gone no more', async () => {
    answers.want();
    await vi.advanceTimersByTimeAsync(500);
    members = [member(1), member(9)];
    await vi.advanceTimersByTimeAsync(300);
    expect(asked.at(-1)).toBe(subnetOf(9));
    expect(answers.of(subnetOf(3))).toBeUndefined();
  });
});

describe('what has flowed between two answers', () => {
  it("is told by the second of the node's own clock", () => {
    const first = answerOf(summary(100, { a: 1000, b: null }), null, undefined);
    expect(first.rates.size).toBe(0);
    const second = answerOf(summary(104, { a: 3000, b: null, c: 5 }), null, first);
    expect(Object.fromEntries(second.rates)).toEqual({
      a: { out: 500, in: 500 },
      b: { out: null, in: null },
      c: { out: null, in: null },
    });
  });

  it('is what it was before, where the answer is the same; nothing after a restart, or no answer', () => {
    const first = answerOf(summary(100, { a: 1000 }), null, undefined);
    const second = answerOf(summary(104, { a: 3000 }), null, first);
    expect(answerOf(summary(104, { a: 3000 }), null, second).rates).toBe(second.rates);
    expect(answerOf(summary(1, { a: 3000 }), null, second).rates.size).toBe(0);
    expect(answerOf(null, 'no answer', second)).toMatchObject({ summary: null, problem: 'no answer' });
  });
});
