import { expect, it } from 'vitest';
import { createOneAtATime } from '../../../src/core/one-at-a-time.js';

it('work begins when all before it has ended, failed or not, and everybody hears of their own', async () => {
  const oneAtATime = createOneAtATime();
  const events: string[] = [];
  let finishFirst: () => void = () => undefined;
  const first = oneAtATime(async () => {
    events.push('first begins');
    await new Promise<void>((resolve) => {
      finishFirst = resolve;
    });
    events.push('first fails');
    throw new Error('first');
  });
  const second = oneAtATime(async () => events.push('second'));
  await Promise.resolve();
  await Promise.resolve();
  expect(events).toEqual(['first begins']);

  finishFirst();
  await expect(first).rejects.toThrow('first');
  expect(await second).toBe(3);
  expect(events).toEqual(['first begins', 'first fails', 'second']);
});
