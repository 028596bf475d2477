import { beforeEach, describe, expect, it } from 'vitest';
import { createProbes, PROBE_INTERVAL_MS, PROBE_SPACING_MS, type Probes } from '../../../src/health/probes.js';

let probes: Probes;
beforeEach(() => {
  probes = createProbes();
});

/** Who is probed when, as if time went by in steps of a millisecond. */
function run(from: number, to: number): [number, number][] {
  const sent: [number, number][] = [];
  for (let now = from; now < to; now++) {
    const probe = probes.take(now);
    if (probe !== undefined) sent.push([now, probe.address]);
  }
  return sent;
}

const times = (sent: [number, number][], address: number) => sent.flatMap(([at, to]) => (to === address ? [at] : []));

it('has nothing to do without peers', () => {
  expect(probes.take(0)).toBeUndefined();
  expect(probes.msUntilNext(0)).toBeUndefined();
});

it('probes a new peer at once, and then every two seconds', () => {
  probes.add(1);
  expect(probes.msUntilNext(100)).toBe(0);
  const sent = run(100, 6200);
  expect(times(sent, 1)).toEqual([100, 2100, 4100, 6100]);
  expect(probes.msUntilNext(6200)).toBe(1900);
});

it('probes forty within two seconds, each as often as one', () => {
  for (let i = 1; i <= 40; i++) probes.add(i);
  const sent = run(0, 10_000);
  for (let i = 1; i <= 40; i++) expect(times(sent, i).length).toBeGreaterThanOrEqual(5);
  expect(probes.roundMs()).toBe(PROBE_INTERVAL_MS);
});

describe('where they are more', () => {
  it('sends twenty a second and no more, to each in turn', () => {
    for (let i = 1; i <= 400; i++) probes.add(i);
    const sent = run(0, 20_000);
    expect(sent).toHaveLength(400);
    expect(new Set(sent.map(([, to]) => to)).size).toBe(400);
    for (let i = 1; i < sent.length; i++) expect(sent[i][0] - sent[i - 1][0]).toBe(PROBE_SPACING_MS);
    expect(probes.roundMs()).toBe(20_000);
  });

  it('does not let a new one wait', () => {
    for (let i = 1; i <= 400; i++) probes.add(i);
    run(0, 10_000);
    probes.add(999);
    expect(run(10_000, 10_100)).toContainEqual([10_000, 999]);
  });
});

it('does not probe who has left', () => {
  const probe = probes.add(1);
  probes.add(2);
  probes.remove(probe);
  expect(times(run(0, 5000), 1)).toEqual([]);
});

describe('an answer', () => {
  it('ends a silence', () => {
    const probe = probes.add(1);
    run(0, 4100);
    expect(probe).toMatchObject({ misses: 2, silentSince: 0, answeredAt: undefined });
    probes.answered(probe, probe.sequence, 4200, 0.4);
    expect(probe).toMatchObject({ misses: 0, silentSince: undefined, answeredAt: 4200, rttMs: 0.4 });
  });

  it('to an earlier probe, or a second one to the last, is none', () => {
    const probe = probes.add(1);
    run(0, 2100);
    probes.answered(probe, probe.sequence - 1, 2200, 9);
    expect(probe).toMatchObject({ isAnswered: false, answeredAt: undefined });
    probes.answered(probe, probe.sequence, 2300, 1);
    probes.answered(probe, probe.sequence, 2400, 2);
    expect(probe).toMatchObject({ answeredAt: 2300, rttMs: 1 });
  });

  it('before anything was asked is none', () => {
    const probe = probes.add(1);
    probes.answered(probe, 0, 1, 1);
    expect(probe.answeredAt).toBeUndefined();
  });
});

it('says why a probe could not be sent, until one can', () => {
  const probe = probes.add(1);
  run(0, 1);
  probes.failed(probe, 'no route');
  expect(probe).toMatchObject({ sendError: 'no route' });
  run(2000, 2001);
  expect(probe).toMatchObject({ sendError: undefined });
});
