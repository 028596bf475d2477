import { expect, it } from 'vitest';
import { createSum, deviceDrops } from '../../../src/system/queue-drops.js';

const DEVICES = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
rudder0:7465101346  759366    0    3    0     0          0         0 79988619207 10820695    0 2080043    0     0       0          0
`;

it.each([
  ['rudder0', 2080043],
  ['lo', 12],
  ['rudder', undefined],
])('reads what %s has dropped on the way out', (device, drops) => {
  expect(deviceDrops(DEVICES, device)).toBe(drops);
});

it.each<[string, (number | undefined)[], number[]]>([
  ['begins at 0, whatever the device has dropped before', [500, 503, 503], [0, 3, 3]],
  ['is as it was while the counter cannot be read', [undefined, 5, 8, undefined, 9], [0, 0, 3, 3, 4]],
  ['goes on where another device or socket begins', [10, 14, 0, 6], [0, 4, 4, 10]],
])('%s', (_, counters, sums) => {
  const sum = createSum();
  expect(counters.map((counter) => sum(counter))).toEqual(sums);
});
