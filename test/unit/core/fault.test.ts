import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createFaultLog } from '../../../src/core/fault.js';
import { SILENT } from '../../../src/core/logger.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it('a fault is told as long as it lasts, at a bounded rate, and is an event at its two ends', () => {
  const told: unknown[] = [];
  const say = (fields: object, message: string, event?: string) => void told.push([message, fields, event]);
  const log = { ...SILENT, debug: say, info: say, warn: say, error: say };
  const fault = createFaultLog(log, { fault: ['it is lost', 'registry.lost'], over: ['it is back', 'registry.back'] });
  fault.over(); // never was there
  for (let seconds = 0; seconds < 61; seconds++) {
    fault.is('no answer');
    vi.advanceTimersByTime(1000);
  }
  fault.over();
  // Again so soon that it is not told, nor that it is over.
  vi.advanceTimersByTime(100);
  fault.is('no answer');
  fault.over();
  expect(told).toEqual([
    ['it is lost', { reason: 'no answer', suppressed: 0 }, 'registry.lost'],
    ['it is lost', { reason: 'no answer', suppressed: 29 }, undefined],
    ['it is lost', { reason: 'no answer', suppressed: 29 }, undefined],
    ['it is back', {}, 'registry.back'],
  ]);
});
