import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { reportDrops } from '../../../src/daemon/drop-report.js';
import { createRecordingLog } from '../../helpers/recording-log.js';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

it('says once a minute what was dropped meanwhile, and nothing of what hosts send to many all the time', () => {
  const counters = { out_packets: 1, out_drop_ttl: 5, out_drop_multicast: 1, in_drop_source: 0 };
  const log = createRecordingLog();
  const report = reportDrops(() => ({ ...counters }), log);
  vi.advanceTimersByTime(60_000);
  counters.out_packets += 1000;
  counters.out_drop_multicast += 4;
  vi.advanceTimersByTime(60_000);
  expect(log.lines).toEqual([]);

  counters.out_drop_ttl += 2;
  counters.in_drop_source += 3;
  counters.out_drop_multicast += 4;
  vi.advanceTimersByTime(60_000);
  expect(log.lines).toMatchObject([{ level: 'info', message: 'packets dropped in the last minute' }]);
  expect(log.lines[0].fields).toEqual({ out_drop_ttl: 2, in_drop_source: 3 });
  vi.advanceTimersByTime(600_000);
  expect(log.lines).toHaveLength(1);
  report.stop();
});
