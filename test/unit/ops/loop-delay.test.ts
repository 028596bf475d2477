import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { watchLoopDelay } from '../../../src/ops/loop-delay.js';

/** How many took longer than so long. */
const above = ({ bounds, counts }: ReturnType<ReturnType<typeof watchLoopDelay>>, seconds: number) =>
  counts.filter((_, i) => (bounds[i - 1] ?? 0) >= seconds).reduce((sum, count) => sum + count, 0);

function block(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

it('tells who was held up, and never falls', async () => {
  const read = watchLoopDelay();
  await delay(200);
  const before = read();
  for (let i = 0; i < 3; i++) {
    block(300);
    await delay(30);
  }
  const after = read();
  expect(above(after, 0.1) - above(before, 0.1)).toBeGreaterThanOrEqual(3);
  expect(after.sum).toBeGreaterThan(before.sum + 0.6);
  let last = after;
  for (let i = 0; i < 20; i++) {
    await delay(20);
    const next = read();
    let [upToLast, upToNext] = [0, 0];
    for (const [bucket, count] of next.counts.entries()) {
      expect(count).toBeGreaterThanOrEqual(0);
      upToLast += last.counts[bucket];
      upToNext += count;
      expect(upToNext).toBeGreaterThanOrEqual(upToLast);
    }
    last = next;
  }
});
