/**
 * Timestamps of initiations: TAI64N, 8 bytes of seconds and 4 of nanoseconds, big-endian, so that they compare as bytes. A
 * responder takes an initiation only if it is later than all before of that peer.
 */
export const TIMESTAMP_BYTES = 12;

/** 1970 in TAI, which was 10 s ahead of UTC then. */
const EPOCH = 0x400000000000000an;
/** As coarse as other implementations make it, 16.8 ms: the exact time tells of what the CPU does. */
const STEP_NS = 2 ** 24;
const STEPS_A_SECOND = Math.floor(1e9 / STEP_NS) + 1;

export interface TimestampSource {
  /** Later than all before, whatever the clock does. */
  next(): Buffer;
  /** Milliseconds since 1970 that the last one says, to be kept for the next start. */
  last(): number;
}

/** How long after a timestamp it may take until it is kept on disk. */
export const KEPT_WITHIN_MS = 10_000;

/**
 * @param wallMs the clock, milliseconds since 1970
 * @param keptMs what `last` was when it was last kept, at most KEPT_WITHIN_MS before the last timestamp; a clock that says
 * less has gone back, and peers would take none of our initiations until it has caught up
 */
export function createTimestamps(wallMs: () => number, keptMs: number | undefined): TimestampSource {
  let last = keptMs === undefined || wallMs() > keptMs ? 0 : stepOf(keptMs + KEPT_WITHIN_MS);
  return {
    next() {
      last = Math.max(last + 1, stepOf(wallMs()));
      return encode(last);
    },
    last: () => msOf(last),
  };
}

/** Steps since 1970; each second begins with one. */
function stepOf(ms: number): number {
  const seconds = Math.floor(ms / 1000);
  return seconds * STEPS_A_SECOND + Math.floor(((ms - seconds * 1000) * 1e6) / STEP_NS);
}

const secondsOf = (step: number) => Math.floor(step / STEPS_A_SECOND);
const nanosecondsOf = (step: number) => (step % STEPS_A_SECOND) * STEP_NS;
const msOf = (step: number) => Math.ceil(secondsOf(step) * 1000 + nanosecondsOf(step) / 1e6);

function encode(step: number): Buffer {
  const bytes = Buffer.alloc(TIMESTAMP_BYTES);
  bytes.writeBigUInt64BE(EPOCH + BigInt(secondsOf(step)), 0);
  bytes.writeUInt32BE(nanosecondsOf(step), 8);
  return bytes;
}
