import { quote } from '../../core/errors.js';
import { type BackendData, isUntaken, type Lease } from '../../core/lease.js';
import { whyOtherType } from '../other-type.js';
import { isLowOrder, parseKeyText } from './protocol/keys.js';

/** As flannel writes it: this node's public key, and the port that it listens on. */
export function leaseDataOf(publicKey: Buffer, port: number, { portMapped = false } = {}): BackendData {
  const mapped = portMapped ? { PortMapped: true } : {};
  return { PublicKey: publicKey.toString('base64'), Port: port, ...mapped };
}

/** Why no session can be had with the node of a lease. */
export function whyUnreachable(lease: Pick<Lease, 'backend' | 'reserved'>): string | undefined {
  const other = whyOtherType(lease, 'wireguard');
  if (other !== undefined || isUntaken(lease)) return other;
  const { PublicKey, Port } = lease.backend.data;
  const key = parseKeyText(PublicKey);
  if (key === undefined) return `PublicKey ${quote(String(PublicKey))} is no WireGuard key`;
  if (isLowOrder(key)) return `PublicKey ${quote(String(PublicKey))} is one by which nothing is secret`;
  return isPort(Port) ? undefined : `Port ${quote(String(Port))} is no UDP port`;
}

/** How the node of a lease is spoken to; undefined: it cannot be. */
export interface WireguardPeer {
  readonly publicKey: Buffer;
  readonly port: number;
}

/** @param listenPort of this cluster: flannel's leases of old do not say theirs */
export function peerOf(lease: Lease, listenPort: number): WireguardPeer | undefined {
  const { PublicKey, Port } = lease.backend.data;
  const publicKey = parseKeyText(PublicKey);
  if (publicKey === undefined || isLowOrder(publicKey) || !isPort(Port)) return undefined;
  return { publicKey, port: (Port as number | undefined | null) || listenPort };
}

/** 0, null and none at all: it does not say. */
const isPort = (port: unknown) =>
  port === undefined ||
  port === null ||
  (Number.isInteger(port) && (port as number) >= 0 && (port as number) <= 65_535);
