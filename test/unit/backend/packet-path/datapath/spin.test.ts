import { beforeEach, describe, expect, it } from 'vitest';
import {
  createSpin,
  LONG_SPIN_US,
  QUIET_TURNS,
  SHORT_SPIN_US,
} from '../../../../../src/backend/packet-path/datapath/spin.js';
import { add, COUNTER_INTS, IN_BYTES, OUT_BYTES } from '../../../../../src/backend/packet-path/tables/counters.js';
import { SPUN_IN_VAIN, TUN_READABLE, UDP_READABLE } from '../../../../../src/system/native.js';

const SMALL = 100;
const BULK = 60_000;

describe('how long the loop looks before it sleeps', () => {
  let counters: Int32Array;
  let spinAfter: (ready: number) => number;

  beforeEach(() => {
    counters = new Int32Array(COUNTER_INTS);
    spinAfter = createSpin(counters);
  });

  function turn(bytes: number, ready = UDP_READABLE): number {
    add(counters, ready & TUN_READABLE ? OUT_BYTES : IN_BYTES, bytes);
    return spinAfter(ready);
  }
  function untilLong(): void {
    for (let i = 1; i < QUIET_TURNS; i++)
      expect(turn(SMALL, i % 2 === 0 ? TUN_READABLE : UDP_READABLE)).toBe(SHORT_SPIN_US);
    expect(turn(SMALL)).toBe(LONG_SPIN_US);
  }

  it('is longer after many turns of few bytes, and stays so while that finds work', () => {
    untilLong();
    for (let i = 0; i < 100; i++) expect(turn(SMALL)).toBe(LONG_SPIN_US);
  });

  it.each([
    ['sent', TUN_READABLE],
    ['received', UDP_READABLE],
  ])('is short from the first bulk that is %s on', (_, ready) => {
    untilLong();
    expect(turn(BULK, ready)).toBe(SHORT_SPIN_US);
    untilLong();
  });

  it('is short again when the long look was in vain, so that a trickle does not heat the core', () => {
    untilLong();
    expect(turn(SMALL, UDP_READABLE | SPUN_IN_VAIN)).toBe(SHORT_SPIN_US);
    const spins = Array.from({ length: 10 * (QUIET_TURNS + 1) }, () => turn(SMALL, UDP_READABLE | SPUN_IN_VAIN));
    expect(spins.filter((spin) => spin === LONG_SPIN_US)).toHaveLength(10);
  });

  it('is none on an idle node, and what it was before with the next packet', () => {
    expect(spinAfter(0)).toBe(0);
    untilLong();
    expect(spinAfter(0)).toBe(0);
    expect(turn(SMALL)).toBe(LONG_SPIN_US);
  });

  it('knows bulk also when the counters wrap', () => {
    counters[2 * IN_BYTES] = 2 ** 31 - 50;
    counters[2 * OUT_BYTES] = 2 ** 31 - 50;
    expect(turn(BULK)).toBe(SHORT_SPIN_US);
    untilLong();
    expect(turn(BULK)).toBe(SHORT_SPIN_US);
  });
});
