import type { Ipv4 } from '../../core/ipv4.js';
import type { Lease } from '../../core/lease.js';
import type { LeaseChange } from '../../core/lease-set.js';
import { formatSubnet, formatSubnetKey, type Subnet } from '../../core/subnet.js';
import type { PeerNumbers } from '../packet-path/peer-tables.js';
import { NO_PEER } from '../packet-path/tables/peers.js';
import { peerOf } from './lease-data.js';
import type { Handshakes } from './protocol/handshakes.js';

export interface PeerLinesOptions {
  readonly handshakes: Pick<Handshakes, 'addPeer' | 'removePeer'>;
  readonly setEndpoint: (line: number, endpoint: { address: Ipv4; port: number }) => void;
  readonly ownKey: () => Buffer;
  readonly presharedKey: Buffer;
  readonly listenPort: number;
  readonly keepaliveMs: number;
}

export interface PeerLines extends PeerNumbers {
  /** The line of the node with that subnet. */
  lineOf(subnet: Subnet): number | undefined;
  /** Why that subnet has no peer; undefined: it has, or is not known. */
  problemOf(subnet: Subnet): string | undefined;
  /** Refused leases that may be taken now: whoever had their key is gone. */
  freed(): LeaseChange[];
}

interface Known {
  readonly line: number;
  readonly publicKey: Buffer;
  address: Ipv4;
  port: number;
  /** A node may hold more than one. */
  readonly subnets: Set<string>;
}

/**
 * Who a peer is says its key. A node's lease with another key is another peer, which has nothing of the former one; two nodes
 * with one key cannot be told apart, so the second is none.
 */
export function createPeerLines(options: PeerLinesOptions): PeerLines {
  const { handshakes, listenPort, presharedKey, keepaliveMs } = options;
  const byKey = new Map<string, Known>();
  const byLine = new Map<number, Known>();
  const bySubnet = new Map<string, Known>();
  const refused = new Map<string, Lease>();

  function problemWith(lease: Lease): string | undefined {
    const publicKey = peerOf(lease, listenPort)?.publicKey;
    if (publicKey === undefined) return undefined;
    if (publicKey.equals(options.ownKey()))
      return "its PublicKey is this node's own: one of them needs another, `rudder keys rotate`";
    const known = byKey.get(nameOf(publicKey));
    if (known === undefined || known.address === lease.publicIp) return undefined;
    const [other] = [...known.subnets].filter((subnet) => subnet !== formatSubnet(lease.subnet));
    return other && `its PublicKey is that of ${other} too: one of them needs another, \`rudder keys rotate\``;
  }

  function know(lease: Lease, publicKey: Buffer, port: number): Known {
    const address = lease.publicIp;
    const before = byKey.get(nameOf(publicKey));
    if (before === undefined) {
      const endpoint = { address, port };
      const line = handshakes.addPeer({ publicKey, presharedKey, endpoint, keepaliveMs });
      const known = { line, publicKey, address, port, subnets: new Set<string>() };
      byKey.set(nameOf(publicKey), known);
      byLine.set(line, known);
      return known;
    }
    // Where it was heard last is as good as what its lease says, until that says something new.
    if (before.address !== address || before.port !== port) options.setEndpoint(before.line, { address, port });
    before.address = address;
    before.port = port;
    return before;
  }

  function admit(lease: Lease): Known | undefined {
    const key = formatSubnetKey(lease.subnet);
    refused.delete(key);
    const peer = peerOf(lease, listenPort);
    if (peer === undefined) return undefined;
    if (problemWith(lease) === undefined) return know(lease, peer.publicKey, peer.port);
    refused.set(key, lease);
    return undefined;
  }

  function forget(known: Known): void {
    handshakes.removePeer(known.line);
    byKey.delete(nameOf(known.publicKey));
    byLine.delete(known.line);
  }

  return {
    numberOf({ type, lease }) {
      const key = formatSubnetKey(lease.subnet);
      if (type === 'removed') refused.delete(key);
      const known = type === 'removed' ? undefined : admit(lease);
      if (known === undefined) bySubnet.delete(key);
      else bySubnet.set(key, known);
      known?.subnets.add(formatSubnet(lease.subnet));
      return known?.line ?? NO_PEER;
    },
    settle({ lease: { subnet } }, before) {
      const known = byLine.get(before);
      if (known === undefined || bySubnet.get(formatSubnetKey(subnet)) === known) return;
      known.subnets.delete(formatSubnet(subnet));
      if (known.subnets.size === 0) forget(known);
    },
    lineOf: (subnet) => bySubnet.get(formatSubnetKey(subnet))?.line,
    problemOf(subnet) {
      const lease = refused.get(formatSubnetKey(subnet));
      return lease && problemWith(lease);
    },
    freed: () =>
      [...refused.values()]
        .filter((lease) => problemWith(lease) === undefined)
        .map((lease) => ({ type: 'changed', lease })),
  };
}

const nameOf = (publicKey: Buffer) => publicKey.toString('hex');
