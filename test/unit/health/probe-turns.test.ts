import { beforeEach, describe, expect, it } from 'vitest';
import { newProbe, type Probe } from '../../../src/core/echo-turns.js';
import { createProbeTurns, ECHOES, type ProbeTurns } from '../../../src/health/probe-turns.js';

const SECOND = 1000;
const LIFE_MS = 120 * SECOND;

let turns: ProbeTurns<Probe>;
/** When the session of each was begun, by its address. */
let begunAt: Map<number, number>;
let begun: [number, number][];
let answers: (address: number) => boolean;
let now: number;

beforeEach(() => {
  [begunAt, begun, now] = [new Map(), [], 0];
  answers = () => true;
  turns = createProbeTurns<Probe>({
    lastsMs: 180 * SECOND,
    isFresh: ({ address }) => begunAt.has(address) && now - begunAt.get(address)! < LIFE_MS,
    begin({ address }) {
      begun.push([now, address]);
      if (answers(address)) begunAt.set(address, now);
    },
  });
});

function add(address: number): Probe {
  const probe = newProbe(address);
  turns.add(probe);
  return probe;
}

/** Who is sent an echo when; those that answer a handshake answer that too. */
function run(ms: number): [number, number][] {
  const sent: [number, number][] = [];
  for (const end = now + ms; now < end; now += ECHOES.tickMs) {
    turns.missed(now);
    for (const probe of turns.take(now)) {
      sent.push([now, probe.address]);
      if (answers(probe.address)) turns.answered(probe, probe.sequence);
    }
  }
  return sent;
}

it('asks for a session before the first echo, which follows at once', () => {
  const probe = add(1);
  const [[first]] = run(SECOND);
  expect(begun).toEqual([[0, 1]]);
  expect(first).toBeLessThanOrEqual(ECHOES.tickMs);
  expect(probe.misses).toBe(0);
});

it('sends echoes as to any peer while a session is fresh, and asks for the next one when it is not', () => {
  const probe = add(1);
  const sent = run(LIFE_MS);
  expect(sent.length).toBeGreaterThanOrEqual(59);
  expect(begun).toHaveLength(1);
  run(10 * SECOND);
  expect(begun).toHaveLength(2);
  expect(probe.misses).toBe(0);
});

it('misses who does not answer, without an echo to it', () => {
  answers = () => false;
  const probe = add(1);
  expect(run(14 * SECOND + 500)).toEqual([]);
  expect(begun).toHaveLength(3);
  expect(probe.misses).toBe(3);
  turns.remove(probe);
  run(10 * SECOND);
  expect(begun).toHaveLength(3);
});

it('sends an echo when the peer has begun a session', () => {
  answers = () => false;
  const probe = add(1);
  run(3 * SECOND);
  answers = () => true;
  begunAt.set(1, now);
  expect(run(6 * SECOND).map(([, address]) => address)).toContain(1);
  expect(probe.misses).toBe(0);
});

it('sends one by order, whatever there is', () => {
  answers = () => false;
  const probe = add(1);
  run(3 * SECOND);
  turns.begin(probe, now);
  expect(turns.answered(probe, probe.sequence)).toBe(true);
  expect(probe.misses).toBe(0);
});

describe('of thousands', () => {
  it('asks four a second for a session, all of them in turn, whether they answer or not', () => {
    answers = (address) => address % 2 === 0;
    for (let i = 0; i < 4000; i++) add(i);
    run(1010 * SECOND);
    expect(begun.length).toBeLessThanOrEqual(4 * 1010);
    expect(new Set(begun.map(([, address]) => address)).size).toBe(4000);
  });

  it('keeps to the rate of echoes', () => {
    for (let i = 0; i < 4000; i++) add(i);
    run(300 * SECOND);
    expect(run(10 * SECOND).length).toBeLessThanOrEqual(200);
  });

  it('does not take for long to be well who was last heard before its session ended', () => {
    const probes = Array.from({ length: 4000 }, (_, i) => add(i));
    expect(turns.roundMs(probes[0])).toBe(60 * SECOND);
  });
});

describe('where a packet alone begins a session', () => {
  beforeEach(() => {
    turns = createProbeTurns<Probe>({
      lastsMs: 180 * SECOND,
      isFresh: ({ address }) => begunAt.has(address) && now - begunAt.get(address)! < LIFE_MS,
      begin: undefined,
    });
  });

  it('sends who has none an echo for it, as seldom as it would ask, and others echoes as ever', () => {
    answers = () => false;
    const probe = add(1);
    expect(run(14 * SECOND + 500).map(([at]) => at)).toEqual([0, 6 * SECOND, 12 * SECOND]);
    expect(probe.misses).toBe(3);
    answers = () => true;
    run(6 * SECOND);
    expect(probe.misses).toBe(0);
    begunAt.set(1, now);
    expect(run(10 * SECOND).length).toBeGreaterThanOrEqual(5);
  });

  it('sends four a second of them, and keeps to the rate of the others', () => {
    for (let i = 0; i < 4000; i++) add(i);
    expect(run(100 * SECOND)).toHaveLength(400);
    // Of a peer with as many of its own nothing else can be expected.
    expect(turns.peersRoundMs()).toBe(1000 * SECOND);
  });
});

it('has turns as ever where no sessions are', () => {
  turns = createProbeTurns<Probe>(undefined);
  add(1);
  expect(turns.take(0)).toHaveLength(1);
  expect([turns.roundMs(undefined), turns.peersRoundMs()]).toEqual([2000, 2000]);
});
