/**
 * The packet path's clock: milliseconds of CLOCK_MONOTONIC that wrap at 2^31, so that they fit an Int32Array and V8's
 * small integers.
 */
const CLOCK_MASK = 0x7fffffff;

export const nowMs = (): number => Number(process.hrtime.bigint() / 1_000_000n) & CLOCK_MASK;

/** From one reading to a later one, over a wrap too. A "later" one that is earlier gives almost 2^31. */
export const elapsedMs = (from: number, to: number): number => (to - from) & CLOCK_MASK;
