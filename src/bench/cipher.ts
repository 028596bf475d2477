import { randomFillSync } from 'node:crypto';
import { CIPHERS, JOB_INTS, native } from '../system/native.js';

/**
 * How fast is the cipher alone, on one core and with the data in its cache? Batches of packets, of one key as they come from a
 * train; the best of some repetitions, in each code that this CPU has. Prints ns a packet and GB/s.
 */
const BATCH = 512;
const TAG_BYTES = 16;
const REPETITIONS = Number(process.argv[2] ?? 60);
const SIZES = [64, 576, 1420, 1440];

function measure(length: number, isOpen: boolean): number {
  const stride = Math.ceil((length + TAG_BYTES) / 64) * 64;
  const bytes = new Uint8Array(64 + 2 * stride * BATCH);
  randomFillSync(bytes);
  const jobs = new Int32Array(BATCH * JOB_INTS);
  for (let i = 0; i < BATCH; i++) {
    const [source, target] = [64 + i * stride, 64 + (BATCH + i) * stride];
    jobs.set([source, length, target, length, 0, i, 0, 0], i * JOB_INTS);
  }
  native.sealAll(bytes, jobs, BATCH);
  // Out of place, so that the same sealed packets can be opened again and again.
  if (isOpen) {
    for (let i = 0; i < BATCH; i++) {
      jobs.set([64 + (BATCH + i) * stride, length, 64 + i * stride, length], i * JOB_INTS);
    }
  }
  let best = Infinity;
  for (let i = 0; i < REPETITIONS; i++) {
    const start = process.hrtime.bigint();
    const done = isOpen ? native.openAll(bytes, jobs, BATCH) : native.sealAll(bytes, jobs, BATCH);
    const elapsed = Number(process.hrtime.bigint() - start);
    if (done !== BATCH) throw new Error(`${BATCH - done} of ${BATCH} packets are not authentic`);
    best = Math.min(best, elapsed / BATCH);
  }
  return best;
}

for (const [code, name] of CIPHERS.entries()) {
  if (native.useCipher(code) !== code) {
    console.log(`${name}: not on this CPU`);
    continue;
  }
  for (const size of SIZES) {
    const [seal, open] = [measure(size, false), measure(size, true)];
    const speed = (ns: number) => `${ns.toFixed(0).padStart(6)} ns ${(size / ns).toFixed(2).padStart(6)} GB/s`;
    console.log(`${name.padEnd(9)} ${String(size).padStart(5)} B   seal ${speed(seal)}   open ${speed(open)}`);
  }
}
