import { beforeEach, expect, it } from 'vitest';
import { createPeerTables, type PeerTables } from '../../../../src/backend/udp/peer-tables.js';
import { isMember } from '../../../../src/backend/udp/tables/members.js';
import { nextHopOf } from '../../../../src/backend/udp/tables/routes.js';
import { parseIpv4, parseSubnet } from '../../../../src/core/address-text.js';
import { formatIpv4 } from '../../../../src/core/ipv4.js';
import type { LeaseChange } from '../../../../src/core/lease-set.js';
import { parseCommonConfig } from '../../../../src/core/network-config.js';
import { udp } from '../../../helpers/leases.js';

/** Subnets of nodes with another SubnetLen: several entries of the table, and others may lie inside them. */
const ip = (text: string) => parseIpv4(text)!;
let tables: PeerTables;
beforeEach(() => {
  tables = createPeerTables(parseCommonConfig('{"Network":"10.240.0.0/16"}'));
});

const change = (type: LeaseChange['type'], subnet: string, address: string): LeaseChange => ({
  type,
  lease: { subnet: parseSubnet(subnet)!, publicIp: ip(address), nodeId: undefined, backend: udp() },
});
const hops = (...addresses: string[]) => addresses.map((text) => formatIpv4(nextHopOf(tables.routes, ip(text))));

it('a larger subnet is routed whole, and forgotten whole', () => {
  tables.apply([change('added', '10.240.64.0/22', '10.1.1.7')]);
  expect(hops('10.240.63.255', '10.240.64.0', '10.240.66.9', '10.240.67.255', '10.240.68.0')).toEqual([
    '0.0.0.0',
    '10.1.1.7',
    '10.1.1.7',
    '10.1.1.7',
    '0.0.0.0',
  ]);
  tables.apply([change('removed', '10.240.64.0/22', '10.1.1.7')]);
  expect(hops('10.240.64.0', '10.240.67.255')).toEqual(['0.0.0.0', '0.0.0.0']);
  expect(isMember(tables.members, ip('10.1.1.7'))).toBe(false);
});

it.each([
  ['larger first', ['10.240.64.0/22', '10.240.64.0/24']],
  ['smaller first', ['10.240.64.0/24', '10.240.64.0/22']],
])('the most specific one counts, whichever came first: %s', (_, subnets) => {
  const addressOf = (subnet: string) => (subnet.endsWith('/24') ? '10.1.1.24' : '10.1.1.22');
  tables.apply(subnets.map((subnet) => change('added', subnet, addressOf(subnet))));
  expect(hops('10.240.64.9', '10.240.65.9')).toEqual(['10.1.1.24', '10.1.1.22']);
  tables.apply([change('removed', '10.240.64.0/24', '10.1.1.24')]);
  expect(hops('10.240.64.9', '10.240.65.9')).toEqual(['10.1.1.22', '10.1.1.22']);
  expect(isMember(tables.members, ip('10.1.1.22'))).toBe(true);
  expect(isMember(tables.members, ip('10.1.1.24'))).toBe(false);
});

it('half of the Network is one peer, and moves with it', () => {
  tables.apply([change('added', '10.240.128.0/17', '10.1.1.7')]);
  tables.apply([change('changed', '10.240.128.0/17', '10.1.1.8')]);
  expect(hops('10.240.127.255', '10.240.128.0', '10.240.255.255')).toEqual(['0.0.0.0', '10.1.1.8', '10.1.1.8']);
  expect(isMember(tables.members, ip('10.1.1.7'))).toBe(false);
});
