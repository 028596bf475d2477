import { type Ipv4, NO_ADDRESS } from '../../../core/ipv4.js';
import type { Allocate } from './memory.js';

/**
 * Underlay addresses of members on shared memory, for one question of the packet path: is this one of them? There is a
 * table of all members, and one of those whose datagrams come from any port (PortMapped).
 * An open-addressed hash table: an address lies at its hash or in the next slots, up to the first empty one.
 *
 *     hash --> | 10.1.1.7 | 10.1.1.9 | 0 |      0: empty, ends a search
 *
 * The control side stores, the packet path loads. In the moment of a change a member may be missed, and one packet lost.
 */
export type Members = Int32Array;

/** Room for that many members: at most half full, so a search is short. */
export function createMembers(most: number, allocate: Allocate): Members {
  const slots = 2 ** Math.ceil(Math.log2(2 * most + 2));
  return allocate(slots);
}

/** Called for packets whose source lies outside the Network, or that come from another port than nodes send from. */
export function isMember(members: Members, address: Ipv4): boolean {
  return address !== NO_ADDRESS && members[slotOf(members, address)] === address;
}

function homeOf(members: Members, address: Ipv4): number {
  const hash = Math.imul(address, 0x9e3779b1);
  return (hash ^ (hash >>> 15)) & (members.length - 1);
}

/** Slot of the address, or the empty one that says that it is not there. */
function slotOf(members: Members, address: Ipv4): number {
  let slot = homeOf(members, address);
  while (members[slot] !== address && members[slot] !== NO_ADDRESS) slot = (slot + 1) & (members.length - 1);
  return slot;
}

/** Empties a slot, and moves up those behind it that a search would not find any more. */
function empty(members: Members, slot: number): void {
  const mask = members.length - 1;
  let hole = slot;
  for (let next = (slot + 1) & mask; members[next] !== NO_ADDRESS; next = (next + 1) & mask) {
    const fromHome = (next - homeOf(members, members[next])) & mask;
    if (fromHome < ((next - hole) & mask)) continue;
    Atomics.store(members, hole, members[next]);
    hole = next;
  }
  Atomics.store(members, hole, NO_ADDRESS);
}

/** The control side of it: by which address each subnet's lease has a place in the table. */
export interface MemberSet {
  /** @param subnet any number of its own @param address NO_ADDRESS: by none */
  hold(subnet: number, address: Ipv4): void;
}

export function createMemberSet(members: Members): MemberSet {
  const bySubnet = new Map<number, Ipv4>();
  /** A node may hold more than one lease, so each address is counted. */
  const leases = new Map<Ipv4, number>();

  function add(address: Ipv4): void {
    const count = leases.get(address) ?? 0;
    leases.set(address, count + 1);
    if (count === 0) Atomics.store(members, slotOf(members, address), address);
  }

  function remove(address: Ipv4): void {
    const count = leases.get(address) ?? 0;
    if (count > 1) leases.set(address, count - 1);
    if (count !== 1) return;
    leases.delete(address);
    empty(members, slotOf(members, address));
  }

  return {
    hold(subnet, address) {
      const before = bySubnet.get(subnet);
      if (address === before) return;
      if (address === NO_ADDRESS) bySubnet.delete(subnet);
      else {
        bySubnet.set(subnet, address);
        add(address);
      }
      if (before !== undefined) remove(before);
    },
  };
}
