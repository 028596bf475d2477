import { beforeEach, expect, it, vi } from 'vitest';
import { createPeerTables, type PeerTables } from '../../../../src/backend/packet-path/peer-tables.js';
import { isMember } from '../../../../src/backend/packet-path/tables/members.js';
import { sharedInts } from '../../../../src/backend/packet-path/tables/memory.js';
import { ipv4Of, portOf } from '../../../../src/backend/packet-path/tables/peers.js';
import { nextHopOf } from '../../../../src/backend/packet-path/tables/routes.js';
import { parseIpv4, parseSubnet } from '../../../../src/core/address-text.js';
import { formatIpv4 } from '../../../../src/core/ipv4.js';
import type { LeaseChange } from '../../../../src/core/lease-set.js';
import { parseCommonConfig } from '../../../../src/core/network-config.js';
import { udp } from '../../../helpers/leases.js';

/** Subnets of nodes with another SubnetLen: several entries of the table, and others may lie inside them. */
const ip = (text: string) => parseIpv4(text)!;
let tables: PeerTables;
beforeEach(() => {
  tables = createPeerTables(parseCommonConfig('{"Network":"10.240.0.0/16"}'), 8285);
});

const change = (type: LeaseChange['type'], subnet: string, address: string): LeaseChange => ({
  type,
  lease: { subnet: parseSubnet(subnet)!, publicIp: ip(address), nodeId: undefined, backend: udp() },
});
const peerOf = (text: string) => nextHopOf(tables.routes, ip(text));
const hops = (...addresses: string[]) => addresses.map((text) => formatIpv4(ipv4Of(tables.peers, peerOf(text))));

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

it('an endpoint is written before a route names it, and stays as long as one does', () => {
  const seen: string[] = [];
  const { routes, peers } = tables;
  const storing = Atomics.store;
  const store = vi.spyOn(Atomics, 'store').mockImplementation(((array: Int32Array, index: number, value: number) => {
    if (array === routes.nextHops) seen.push(`${formatIpv4(ipv4Of(peers, value))}:${portOf(peers, value)}`);
    return storing(array, index, value);
  }) as never);
  try {
    tables.apply([change('added', '10.240.7.0/24', '10.1.1.7')]);
    tables.apply([change('changed', '10.240.7.0/24', '10.1.1.8')]);
    tables.apply([change('removed', '10.240.7.0/24', '10.1.1.8')]);
  } finally {
    store.mockRestore();
  }
  expect(seen).toEqual(['10.1.1.7:8285', '10.1.1.8:8285', '0.0.0.0:0']);
});

it('subnets of one node are one peer, and one that moves is another peer for those that are sending', () => {
  tables.apply([change('added', '10.240.7.0/24', '10.1.1.7'), change('added', '10.240.8.0/24', '10.1.1.7')]);
  const first = peerOf('10.240.7.1');
  expect(peerOf('10.240.8.1')).toBe(first);
  tables.apply([change('changed', '10.240.7.0/24', '10.1.1.9')]);
  expect(hops('10.240.7.1', '10.240.8.1')).toEqual(['10.1.1.9', '10.1.1.7']);
  tables.apply([change('removed', '10.240.8.0/24', '10.1.1.7')]);
  // Whoever has loaded the number before still reaches the node that it meant.
  expect(formatIpv4(ipv4Of(tables.peers, first))).toBe('10.1.1.7');
});

it('a lease that changes in nothing that the packet path knows keeps its number', () => {
  tables.apply([change('added', '10.240.7.0/24', '10.1.1.7')]);
  const number = peerOf('10.240.7.1');
  tables.apply([change('changed', '10.240.7.0/24', '10.1.1.7')]);
  expect(peerOf('10.240.7.1')).toBe(number);
});

it('the tables lie where their maker says', () => {
  const made: Int32Array[] = [];
  const allocate = (ints: number) => {
    made.push(sharedInts(ints));
    return made.at(-1)!;
  };
  const own = createPeerTables(parseCommonConfig('{"Network":"10.240.0.0/16"}'), 8285, allocate);
  const { routes, peers, members, portMapped, counters } = own;
  expect(new Set(made)).toEqual(new Set([routes.nextHops, peers, members, portMapped, counters]));
});
