import { expect, it } from 'vitest';
import { answeringAddress, KINDS } from '../../../src/backend/kinds.js';
import { parseSubnet } from '../../../src/core/address-text.js';
import { formatIpv4 } from '../../../src/core/ipv4.js';

it.each([
  ['udp', '10.240.26.0'],
  ['vxlan', '10.240.26.0'],
  ['host-gw', '10.240.26.1'],
  ['alloc', '10.240.26.1'],
])('a node of %s has the overlay address %s: its device, or the bridge of its containers', (type, address) => {
  expect(formatIpv4(answeringAddress(type, parseSubnet('10.240.26.0/24')!)!)).toBe(address);
});

it('of a kind that there is not no address is known', () => {
  expect(answeringAddress('ipsec', parseSubnet('10.240.26.0/24')!)).toBeUndefined();
  expect(KINDS.map(({ type }) => type)).not.toContain('ipsec');
});
