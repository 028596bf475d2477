import { beforeEach, describe, expect, it } from 'vitest';
import { ANSWER_MS, createEchoTurns, newProbe, type Probe, type Turns } from '../../../src/core/echo-turns.js';

const INTERVAL_MS = 2000;
const TICK_MS = 50;
const MANY = 4000;

let turns: Turns<Probe>;
beforeEach(() => {
  turns = createEchoTurns({ intervalMs: INTERVAL_MS, perTick: 1, tickMs: TICK_MS });
});

function add(address: number): Probe {
  const probe = newProbe(address);
  turns.add(probe);
  return probe;
}

/** Who is asked when, as if time went by in steps of a millisecond; of those that miss one `again` is asked soon. */
function run(from: number, to: number, again: (probe: Probe) => boolean = () => false): [number, number][] {
  const sent: [number, number][] = [];
  for (let now = from; now < to; now++) {
    turns.missed(now).filter(again).forEach(turns.hasten);
    for (const { address } of turns.take(now)) sent.push([now, address]);
  }
  return sent;
}

const times = (sent: [number, number][], address: number) => sent.flatMap(([at, to]) => (to === address ? [at] : []));

/** The most that were sent within any second. */
function mostInASecond(sent: [number, number][]): number {
  let [most, first] = [0, 0];
  sent.forEach(([at], i) => {
    while (sent[first][0] <= at - 1000) first++;
    most = Math.max(most, i - first + 1);
  });
  return most;
}

it('has nothing to do without peers', () => {
  expect(turns.take(0)).toEqual([]);
  expect(turns.missed(0)).toEqual([]);
  expect(turns.msUntilNext(0)).toBeUndefined();
});

it('asks a new one at once, and then in its interval', () => {
  const probe = add(1);
  expect(turns.msUntilNext(100)).toBe(0);
  const sent = run(100, 6200);
  expect(times(sent, 1)).toEqual([100, 2100, 4100, 6100]);
  turns.answered(probe, probe.sequence);
  expect(turns.msUntilNext(6200)).toBe(1900);
});

it('asks forty within two seconds, each as often as one', () => {
  for (let i = 1; i <= 40; i++) add(i);
  const sent = run(0, 10_000);
  for (let i = 1; i <= 40; i++) expect(times(sent, i).length).toBeGreaterThanOrEqual(5);
  expect(turns.roundMs()).toBe(INTERVAL_MS);
});

describe('where they are more', () => {
  it('asks one in each tick and no more, each in turn', () => {
    for (let i = 1; i <= 400; i++) add(i);
    const sent = run(0, 20_000);
    expect(sent).toHaveLength(400);
    expect(new Set(sent.map(([, to]) => to)).size).toBe(400);
    for (let i = 1; i < sent.length; i++) expect(sent[i][0] - sent[i - 1][0]).toBe(TICK_MS);
    expect(turns.roundMs()).toBe(20_000);
  });

  it('does not let a new one wait', () => {
    for (let i = 1; i <= 400; i++) add(i);
    run(0, 20_000);
    add(999);
    expect(run(20_000, 20_100)).toContainEqual([20_000, 999]);
  });

  it('asks one that is hastened before the others', () => {
    for (let i = 1; i <= 400; i++) add(i);
    run(0, 20_000);
    const sent = run(20_000, 40_000, ({ address }) => address === 7);
    expect(times(sent, 7).length).toBe(10);
    expect(times(sent, 8).length).toBe(1);
  });
});

describe(`of ${MANY}`, () => {
  it.each([
    ['of whom nobody answers', () => false],
    ['who are all asked again at each miss', () => true],
  ])('%s it sends no more in any second than it was told', (_, again) => {
    turns = createEchoTurns({ intervalMs: INTERVAL_MS, perTick: 5, tickMs: TICK_MS });
    for (let i = 1; i <= MANY; i++) add(i);
    const sent = run(0, 41_000, again);
    expect(mostInASecond(sent)).toBe(100);
    expect(sent.length).toBe(4100);
    expect(turns.roundMs()).toBe(40_000);
  });
});

it('does not ask who has left, and hears nothing of it', () => {
  const probe = add(1);
  add(2);
  run(0, 1);
  turns.remove(probe);
  turns.hasten(probe);
  expect(times(run(1, 5000), 1)).toEqual([]);
  expect(probe.misses).toBe(0);
});

it('who goes over to other turns has its next one there when its interval is over', () => {
  const probe = add(1);
  run(0, 1);
  turns.remove(probe);
  const others = createEchoTurns<Probe>({ intervalMs: 10_000, perTick: 1, tickMs: TICK_MS });
  others.add(probe);
  expect(others.msUntilNext(0)).toBe(10_000);
});

describe('an answer', () => {
  it('ends a silence', () => {
    const probe = add(1);
    run(0, 4100);
    expect(probe.misses).toBe(2);
    expect(turns.answered(probe, probe.sequence)).toBe(true);
    expect(probe.misses).toBe(0);
  });

  it('to an earlier request, a second one to the last, or one that is too late, is none', () => {
    const probe = add(1);
    run(0, 2100);
    expect(turns.answered(probe, probe.sequence - 1)).toBe(false);
    expect(turns.answered(probe, probe.sequence)).toBe(true);
    expect(turns.answered(probe, probe.sequence)).toBe(false);
    turns.take(4000);
    expect(turns.missed(6000)).toEqual([probe]);
    expect(turns.answered(probe, probe.sequence)).toBe(false);
  });

  it('before anything was asked is none', () => {
    const probe = add(1);
    expect(turns.answered(probe, 0)).toBe(false);
  });
});

describe('a miss', () => {
  it('is told once, when the time for the answer is over', () => {
    const probe = add(1);
    turns.take(0);
    expect(turns.missed(ANSWER_MS - 1)).toEqual([]);
    expect(turns.msUntilNext(ANSWER_MS - 1)).toBe(1);
    expect(turns.missed(ANSWER_MS)).toEqual([probe]);
    expect(turns.missed(ANSWER_MS)).toEqual([]);
    expect(probe.misses).toBe(1);
  });

  it('is what another request finds unanswered, whatever its turn', () => {
    const probe = add(1);
    add(2);
    turns.take(0);
    turns.begin(probe, 10);
    expect(probe.misses).toBe(1);
    // Nor does it keep the other one from its turn.
    expect(turns.take(60).map(({ address }) => address)).toEqual([2]);
  });
});
