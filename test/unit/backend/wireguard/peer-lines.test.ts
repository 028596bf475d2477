import { beforeEach, expect, it } from 'vitest';
import { createPeerRoutes } from '../../../../src/backend/packet-path/peer-tables.js';
import { sharedInts } from '../../../../src/backend/packet-path/tables/memory.js';
import { createRouteTable, nextHopOf } from '../../../../src/backend/packet-path/tables/routes.js';
import { createPeerLines, type PeerLines } from '../../../../src/backend/wireguard/peer-lines.js';
import { parseIpv4, parseSubnet } from '../../../../src/core/address-text.js';
import { formatIpv4 } from '../../../../src/core/ipv4.js';
import type { LeaseChange } from '../../../../src/core/lease-set.js';
import { parseCommonConfig } from '../../../../src/core/network-config.js';

const ip = (text: string) => parseIpv4(text)!;
const key = (byte: number) => Buffer.alloc(32, byte);
const OWN = key(99);

let told: string[];
let lines: PeerLines;
let apply: (...changes: LeaseChange[]) => void;
let lineTo: (address: string) => number;
beforeEach(() => {
  told = [];
  let last = 0;
  lines = createPeerLines({
    handshakes: {
      addPeer({ publicKey, endpoint, presharedKey, keepaliveMs }) {
        told.push(`add ${publicKey[0]} at ${formatIpv4(endpoint!.address)}:${endpoint!.port}`);
        expect([presharedKey, keepaliveMs]).toEqual([key(7), 25_000]);
        return ++last;
      },
      removePeer: (line) => void told.push(`remove ${line}`),
    },
    setEndpoint: (line, { address, port }) => void told.push(`${line} is at ${formatIpv4(address)}:${port}`),
    ownKey: () => OWN,
    presharedKey: key(7),
    listenPort: 51820,
    keepaliveMs: 25_000,
  });
  const config = parseCommonConfig('{"Network":"10.240.0.0/16"}');
  const routes = createRouteTable(config, sharedInts);
  const follow = createPeerRoutes(config, routes, lines);
  apply = (...changes) => {
    follow(changes);
    for (let freed = lines.freed(); freed.length > 0; freed = lines.freed()) follow(freed.slice(0, 1));
  };
  lineTo = (address) => nextHopOf(routes, ip(address));
});

const change = (
  type: LeaseChange['type'],
  subnet: string,
  address: string,
  publicKey: Buffer,
  Port = 51820,
): LeaseChange => ({
  type,
  lease: {
    subnet: parseSubnet(subnet)!,
    publicIp: ip(address),
    nodeId: undefined,
    backend: { type: 'wireguard', data: { PublicKey: publicKey.toString('base64'), Port } },
  },
});
const problem = (subnet: string) => lines.problemOf(parseSubnet(subnet)!);

it('a peer has a line, which its subnet leads to until it goes', () => {
  apply(
    change('added', '10.240.1.0/24', '10.1.1.1', key(1)),
    change('added', '10.240.2.0/24', '10.1.1.2', key(2), 4000),
  );
  expect(told).toEqual(['add 1 at 10.1.1.1:51820', 'add 2 at 10.1.1.2:4000']);
  expect([lineTo('10.240.1.9'), lineTo('10.240.2.9'), lineTo('10.240.3.9')]).toEqual([1, 2, 0]);
  apply(change('removed', '10.240.1.0/24', '10.1.1.1', key(1)));
  expect(told.slice(2)).toEqual(['remove 1']);
  expect(lineTo('10.240.1.9')).toBe(0);
});

it('a node with another key is another peer, and nothing of the former one stays', () => {
  apply(change('added', '10.240.1.0/24', '10.1.1.1', key(1)));
  apply(change('changed', '10.240.1.0/24', '10.1.1.1', key(2)));
  expect(told).toEqual(['add 1 at 10.1.1.1:51820', 'add 2 at 10.1.1.1:51820', 'remove 1']);
  expect(lineTo('10.240.1.9')).toBe(2);
});

it('a node at another address is the same peer, and its session stays', () => {
  apply(change('added', '10.240.1.0/24', '10.1.1.1', key(1)));
  apply(change('changed', '10.240.1.0/24', '10.1.1.1', key(1)));
  apply(change('changed', '10.240.1.0/24', '10.1.1.8', key(1), 4000));
  expect(told).toEqual(['add 1 at 10.1.1.1:51820', '1 is at 10.1.1.8:4000']);
  expect(lineTo('10.240.1.9')).toBe(1);
});

it('a node with two leases is one peer until the last of them goes', () => {
  apply(change('added', '10.240.1.0/24', '10.1.1.1', key(1)), change('added', '10.240.2.0/24', '10.1.1.1', key(1)));
  expect(told).toEqual(['add 1 at 10.1.1.1:51820']);
  expect([lineTo('10.240.1.9'), lineTo('10.240.2.9')]).toEqual([1, 1]);
  apply(change('removed', '10.240.1.0/24', '10.1.1.1', key(1)));
  expect([lineTo('10.240.1.9'), lineTo('10.240.2.9')]).toEqual([0, 1]);
  apply(change('removed', '10.240.2.0/24', '10.1.1.1', key(1)));
  expect(told.slice(1)).toEqual(['remove 1']);
});

it('two nodes with one key: the second is refused, and taken when the first is gone', () => {
  apply(change('added', '10.240.1.0/24', '10.1.1.1', key(1)));
  apply(change('added', '10.240.2.0/24', '10.1.1.2', key(1)), change('added', '10.240.3.0/24', '10.1.1.3', key(1)));
  expect([lineTo('10.240.1.9'), lineTo('10.240.2.9'), lineTo('10.240.3.9')]).toEqual([1, 0, 0]);
  expect(problem('10.240.1.0/24')).toBeUndefined();
  expect(problem('10.240.2.0/24')).toBe(
    'its PublicKey is that of 10.240.1.0/24 too: one of them needs another, `rudder keys rotate`',
  );
  apply(change('removed', '10.240.1.0/24', '10.1.1.1', key(1)));
  expect([lineTo('10.240.2.9'), lineTo('10.240.3.9')]).toEqual([2, 0]);
  expect(problem('10.240.2.0/24')).toBeUndefined();
  expect(problem('10.240.3.0/24')).toContain('10.240.2.0/24');
  apply(change('removed', '10.240.3.0/24', '10.1.1.3', key(1)));
  expect(problem('10.240.3.0/24')).toBeUndefined();
});

it('a peer whose lease takes the key of another one is none any more', () => {
  apply(change('added', '10.240.1.0/24', '10.1.1.1', key(1)), change('added', '10.240.2.0/24', '10.1.1.2', key(2)));
  apply(change('changed', '10.240.2.0/24', '10.1.1.2', key(1)));
  expect([lineTo('10.240.1.9'), lineTo('10.240.2.9')]).toEqual([1, 0]);
  expect(told.slice(2)).toEqual(['remove 2']);
});

it('our own key is nobody else’s', () => {
  apply(change('added', '10.240.1.0/24', '10.1.1.1', OWN));
  expect(lineTo('10.240.1.9')).toBe(0);
  expect(problem('10.240.1.0/24')).toContain("this node's own");
});

it('a peer that takes the other’s subnet and gives its own is not lost', () => {
  apply(change('added', '10.240.1.0/24', '10.1.1.1', key(1)), change('added', '10.240.2.0/24', '10.1.1.2', key(2)));
  apply(change('changed', '10.240.1.0/24', '10.1.1.2', key(2)), change('changed', '10.240.2.0/24', '10.1.1.1', key(1)));
  expect([lineTo('10.240.1.9'), lineTo('10.240.2.9')].every((line) => line > 0)).toBe(true);
});
