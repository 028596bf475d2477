import { describe, expect, it } from 'vitest';
import {
  createHistory,
  MOST_NEW,
  MOST_PEERS,
  type PeerSample,
  STEP_SECONDS,
  STEPS,
} from '../../../src/history/history.js';
import { createRing } from '../../../src/history/ring.js';
import { addStep } from '../../helpers/history.js';

const peer = (subnet: string, outBytes: number | null, rttMs: number | null = 1): PeerSample => ({
  subnet,
  outBytes,
  inBytes: outBytes,
  rttMs,
  isWell: rttMs !== null,
});
const subnetOf = (i: number) => `10.${i >> 8}.${i & 255}.0/24`;

describe('a ring', () => {
  it('keeps the last values, and knows of none that was not said', () => {
    const ring = createRing(4);
    for (const [step, value] of [
      [0, 1],
      [1, 2],
      [3, 4],
      [5, 1234.56],
    ] as const)
      ring.set(step, value);
    expect(ring.from(0, 6)).toEqual([null, null, null, 4, null, 1230, null]);
    ring.set(100, null);
    expect(ring.from(95, 100)).toEqual([null, null, null, null, null, null]);
  });
});

describe('the history of a node', () => {
  it('tells bytes and drops by the second, from the second look on', () => {
    const history = createHistory();
    addStep(history, [peer('a', 1000), peer('b', 0, null)], { out_drop_ttl: 0 }, 0);
    addStep(history, [peer('a', 3000), peer('b', 500, null)], { out_drop_ttl: 20 }, STEP_SECONDS);
    expect(history.after(-1)).toEqual({
      stepSeconds: STEP_SECONDS,
      last: 1,
      curves: { out: [null, 250], in: [null, 250], rtt: [1, 1], peers: [2, 2], unwell: [1, 1] },
      drops: { out_drop_ttl: [null, 2] },
    });
    expect(history.after(0, 'a')).toMatchObject({ last: 1, curves: { out: [200], rtt: [1] } });
    expect(history.after(-1, 'c')).toBeUndefined();
  });

  it('tells of a step when all of it is there', () => {
    const history = createHistory();
    addStep(history, [peer('a', 0)], {}, 0);
    const step = history.begin(STEP_SECONDS);
    step.peer(peer('a', 1000));
    expect(history.after(-1)?.last).toBe(0);
    step.end({});
    expect(history.after(0)).toMatchObject({ last: 1, curves: { out: [100], peers: [1] } });
  });

  it('says that nothing is known where the kernel does not count, and that nothing flowed after a counter began anew', () => {
    const history = createHistory();
    addStep(history, [peer('a', null), peer('b', 5000)], {}, 0);
    addStep(history, [peer('a', null), peer('b', 0)], {}, STEP_SECONDS);
    expect(history.after(0, 'a')?.curves.out).toEqual([null]);
    expect(history.after(0, 'b')?.curves.out).toEqual([0]);
  });

  it('leaves a gap where the host slept, and forgets what is older than its bound', () => {
    const history = createHistory();
    addStep(history, [peer('a', 0)], {}, 0);
    addStep(history, [peer('a', 0)], {}, 4 * STEP_SECONDS);
    expect(history.after(-1)?.curves.peers).toEqual([1, null, null, null, 1]);
    for (let i = 5; i < STEPS + 100; i++) addStep(history, [peer('a', 0)], {}, i * STEP_SECONDS);
    const { last, curves } = history.after(-1)!;
    expect(last).toBe(STEPS + 99);
    expect(curves.peers).toHaveLength(STEPS);
    expect(curves.peers).not.toContain(null);
  });

  it('has a bound whatever the number of peers, and keeps room for those that talk', () => {
    const history = createHistory();
    const all = (bytes: (i: number) => number) => Array.from({ length: 4000 }, (_, i) => peer(subnetOf(i), bytes(i)));
    const before = process.memoryUsage().arrayBuffers;
    let step = 0;
    const look = (bytes: (i: number) => number) => addStep(history, all(bytes), {}, step++ * STEP_SECONDS);
    const followed = () => Array.from({ length: 4000 }, (_, i) => subnetOf(i)).filter((name) => history.after(0, name));
    look(() => 0);
    expect(followed()).toHaveLength(MOST_NEW);
    while (followed().length < MOST_PEERS && step < 100) look(() => 0);
    look((i) => (i === 3999 ? 1000 : 0));
    expect(followed()).toHaveLength(MOST_PEERS);
    expect(history.after(step - 2, subnetOf(3999))?.curves.out).toEqual([100]);
    while (step < 20) look((i) => 2000 * step * i);
    const talking = followed();
    look((i) => 2000 * step * i);
    expect(talking).toHaveLength(MOST_PEERS);
    // Where all talk nobody loses what is drawn of him.
    expect(followed()).toEqual(talking);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(MOST_PEERS * 3 * STEPS * 4);
  });
});
