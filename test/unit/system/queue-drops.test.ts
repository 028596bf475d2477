import { expect, it } from 'vitest';
import { parseIpv4 } from '../../../src/core/address-text.js';
import { deviceDrops, socketDrops } from '../../../src/system/queue-drops.js';

const DEVICES = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
rudder0:7465101346  759366    0    3    0     0          0         0 79988619207 10820695    0 2080043    0     0       0          0
`;

it.each([
  ['rudder0', 2080043],
  ['lo', 12],
  ['rudder', 0],
])('reads what %s has dropped on the way out', (device, drops) => {
  expect(deviceDrops(DEVICES, device)).toBe(drops);
});

const SOCKETS = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  177: 0BE91EAC:205D 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1234 2 00000000deadbeef 42
  178: 00000000:205D 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1235 2 00000000deadbeef 7
`;

it.each([
  ['172.30.233.11', 8285, 42],
  ['0.0.0.0', 8285, 7],
  ['172.30.233.12', 8285, 0],
  ['172.30.233.11', 8286, 0],
])('reads what the socket of %s:%i has dropped', (address, port, drops) => {
  expect(socketDrops(SOCKETS, parseIpv4(address)!, port)).toBe(drops);
});
