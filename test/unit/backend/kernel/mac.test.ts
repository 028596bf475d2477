import { expect, it } from 'vitest';
import { macOf, parseMac } from '../../../../src/backend/kernel/mac.js';

it('derives a MAC from the node id: always the same, of one host, locally administered', () => {
  const macs = Array.from({ length: 1000 }, (_, number) => macOf(`node ${number}`));
  expect(new Set(macs).size).toBe(1000);
  expect(macOf('node 7')).toBe(macs[7]);
  for (const mac of macs) {
    expect(mac).toMatch(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
    expect(Number.parseInt(mac.slice(0, 2), 16) & 3).toBe(2);
  }
});

it.each([
  ['0e:1f:00:a1:b2:c3', '0e:1f:00:a1:b2:c3'],
  ['0E:1F:00:A1:B2:C3', '0e:1f:00:a1:b2:c3'],
  ['00:00:00:00:00:00', undefined],
  ['ff:ff:ff:ff:ff:ff', undefined],
  ['01:00:5e:00:00:01', undefined],
  ['0e:1f:00:a1:b2', undefined],
  ['0e:1f:00:a1:b2:c3:d4:e5', undefined],
  ['0e-1f-00-a1-b2-c3', undefined],
  [' 0e:1f:00:a1:b2:c3', undefined],
  [undefined, undefined],
  [7, undefined],
])('reads %s as %s', (text, mac) => {
  expect(parseMac(text)).toBe(mac);
});
