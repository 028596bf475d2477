import type { Ipv4 } from '../../../core/ipv4.js';
import type { Allocate } from './memory.js';

/**
 * How each peer is reached, by peer number, on shared memory:
 *
 *     routes (subnet number -> peer number)      peers (peer number -> endpoint)
 *     | 0 | 2 | 0 | 1 | 2 |                      | none | 10.1.1.9:8285 | 10.1.1.7:8285 |
 *
 * Several subnets of one node are one peer. The control side writes an endpoint before it publishes its number in the route
 * table, and never changes it afterwards: a peer that moves gets another number. Numbers are given again as late as
 * possible, since the packet path may have loaded one just before its route was removed.
 */
export type Peers = Int32Array;

/** There is none: its endpoint is all 0. */
export const NO_PEER = 0;

/** Fields of an endpoint. Two of them share a cache line. */
const ENDPOINT_INTS = 8;
/** 0: the number is not in use. */
const FAMILY = 0;
const PORT = 1;
/** Room for the slot of a key, when packets are encrypted. */
const KEY_SLOT = 2;
/** Counts the peers that have had the number. */
const GENERATION = 3;
/** Four int32, in network order; an IPv4 address is the first. */
const ADDRESS = 4;
const IPV4 = 4;

/** Room for that many peers at once. */
export function createPeers(most: number, allocate: Allocate): Peers {
  return allocate((most + 1) * ENDPOINT_INTS);
}

/**
 * Of a sealed wire, where a packet comes from a peer and not from an address: each number stands for itself in the place of the
 * address, and how the peer is reached is written with its session.
 */
export function createSelves(most: number, allocate: Allocate): Peers {
  const peers = createPeers(most, allocate);
  for (let peer = NO_PEER + 1; peer <= most; peer++) peers[peer * ENDPOINT_INTS + ADDRESS] = peer;
  return peers;
}

/** 0.0.0.0 of no peer. Called for each packet that is received, and for each train that is sent. */
export function ipv4Of(peers: Peers, peer: number): Ipv4 {
  return peers[peer * ENDPOINT_INTS + ADDRESS];
}

export function portOf(peers: Peers, peer: number): number {
  return peers[peer * ENDPOINT_INTS + PORT];
}

/** The control side of it. */
export interface PeerSet {
  /** The number of the peer with that endpoint, which is written by then. To be released as often as it was taken. */
  take(address: Ipv4, port: number): number;
  /** No route may name it any more, if it was taken by nobody else. */
  release(peer: number): void;
}

export function createPeerSet(peers: Peers): PeerSet {
  const numbers = new Map<string, number>();
  /** By peer number; a node may hold more than one lease. */
  const taken = new Map<number, { readonly key: string; leases: number }>();
  /** Released, the longest ago first. */
  const free: number[] = [];
  let unused = NO_PEER + 1;

  function write(peer: number, address: Ipv4, port: number): void {
    const endpoint = peer * ENDPOINT_INTS;
    Atomics.store(peers, endpoint + ADDRESS, address);
    Atomics.store(peers, endpoint + PORT, port);
    Atomics.store(peers, endpoint + KEY_SLOT, 0);
    Atomics.add(peers, endpoint + GENERATION, 1);
    Atomics.store(peers, endpoint + FAMILY, IPV4);
  }

  return {
    take(address, port) {
      const key = `${address}:${port}`;
      const known = numbers.get(key);
      if (known !== undefined) {
        taken.get(known)!.leases++;
        return known;
      }
      const peer = (unused + 1) * ENDPOINT_INTS <= peers.length ? unused++ : free.shift();
      if (peer === undefined) throw new RangeError(`no room for more than ${taken.size} peers`);
      write(peer, address, port);
      numbers.set(key, peer);
      taken.set(peer, { key, leases: 1 });
      return peer;
    },
    release(peer) {
      const entry = taken.get(peer);
      if (entry === undefined || --entry.leases > 0) return;
      numbers.delete(entry.key);
      taken.delete(peer);
      free.push(peer);
      // The address stays: the packet path may be about to send the last packet there.
      Atomics.store(peers, peer * ENDPOINT_INTS + FAMILY, 0);
    },
  };
}
