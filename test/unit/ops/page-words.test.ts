import { describe, expect, it } from 'vitest';
import { overviewOf } from '../../../src/cluster/overview.js';
import type { Status } from '../../../src/ops/status.js';
import { pageModule } from '../../helpers/page-module.js';
import { createStatus } from '../../helpers/status.js';

const { UNCOUNTED, bitRate, digits, milliseconds } = await pageModule('words.js');
const { NODE_CHARTS } = await pageModule('charts.js');
const [traffic, , drops] = NODE_CHARTS;

/** What is counted, by a status of this node. */
function countedBy(changes: Partial<Status>) {
  return overviewOf({
    status: createStatus({ peers: [], ...changes }),
    own: { summary: null, problem: null, rates: new Map() } as never,
    answerOf: () => undefined,
    whyNotAsked: () => undefined,
    isNew: () => false,
    lost: [],
  });
}
const kernel = { kernel: { wanted: 3, present: 3 }, direct: null };
const BY_PROCESS = countedBy({});
const PLAIN = countedBy({ packetPath: null, backend: { ...kernel, type: 'vxlan', countsTraffic: false } });
const ENCRYPTED = countedBy({
  packetPath: null,
  backend: { ...kernel, type: 'wireguard', cipher: 'kernel', countsTraffic: true },
});

/** Three steps of which nobody knows anything. */
const NOTHING = { length: 3, curves: { out: [null, null, null], in: [null, null, null] }, drops: {} };

describe('what the page says of that which is not counted', () => {
  it('is that the kernel does not count by node, where it does not', () => {
    expect(UNCOUNTED[PLAIN.traffic]).toMatch(/^no traffic is shown: the kernel moves the packets/);
    expect(traffic.none(PLAIN)).toMatch(/^not known: the kernel .* does not count them by node$/);
  });

  it("is nothing where the kernel's WireGuard counts the bytes, although it tells of no drops", () => {
    expect(UNCOUNTED[ENCRYPTED.traffic]).toBe('');
    expect(traffic.none(ENCRYPTED)).toBe('nothing has been counted yet');
  });

  it.each([
    ['a packet path of ours', BY_PROCESS, [0, 0, 0]],
    ['the kernel', PLAIN, [null, null, null]],
    ["the kernel's WireGuard", ENCRYPTED, [null, null, null]],
  ])('is of drops a matter of its own: %s', (_, overview, values) => {
    expect(drops.pick(NOTHING, overview)[0].values).toEqual(values);
    expect(drops.none(overview)).toMatch(/^not known: the kernel .* tells of none that it drops$/);
  });

  it('is that drops are not known, of another node that says so', () => {
    const other = { ...NOTHING, drops: { all: [null, null, null] } };
    expect(drops.pick(other, BY_PROCESS)[0].values).toEqual([null, null, null]);
  });
});

describe('what stands along an axis', () => {
  const UNITS: Record<string, number> = { 'bit/s': 1, 'kbit/s': 1e3, 'Mbit/s': 1e6, 'Gbit/s': 1e9, ms: 1 };
  it.each<[string, (value: number) => string, number]>([
    ['a round trip', milliseconds, 0.005],
    ['a rate of drops', digits, 0.02],
    ['traffic', bitRate, 1],
  ])('is where its line is: %s', (_, say, least) => {
    // An axis begins at 0 and has few lines, in steps of 1, 2 or 5.
    const steps = [1, 2, 5].flatMap((first) => Array.from({ length: 12 }, (_, i) => first * 10 ** (i - 3)));
    for (const step of steps.filter((each) => each >= least)) {
      for (let k = 0; k <= 9; k++) {
        const [number, unit = 'ms'] = say(k * step).split(' ');
        expect(Number(number) * UNITS[unit], `${k} times ${step}`).toBeCloseTo(k * step, 6);
      }
    }
  });
});
