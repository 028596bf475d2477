import { answeringAddress } from '../backend/kinds.js';
import { parseIpv4, parseSubnet } from '../core/address-text.js';
import { RudderError } from '../core/errors.js';
import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import { type EchoSeries, largestPacket, pingSeries } from '../health/echo-series.js';
import { nameOf, type PeerStatus, type Status } from '../ops/status.js';
import { withEchoSocket } from '../system/echo.js';
import { askNode } from './daemon-status.js';
import { EXIT_CODES, EXIT_OK } from './exit-codes.js';
import { findPeer } from './find-peer.js';

/**
 * `rudder ping NODE`: the way to another node in two parts, under the overlay and through it. What is slow or lost below
 * cannot be better above.
 */
export async function pingNode(
  subnetFile: string,
  text: string,
  { count, sizes, json }: { count: number; sizes: boolean; json: boolean },
): Promise<number> {
  refuseUser();
  const status = await askNode(subnetFile);
  const peer = findPeer(status, text);
  const ways = waysTo(status, peer);
  const results: Result[] = [];
  for (const way of ways) results.push(await measure(way, count, sizes));
  process.stdout.write(json ? `${JSON.stringify(toJson(peer, results), null, 2)}\n` : describe(peer, results));
  return results.every(({ series }) => series.rttsMs.length > 0) ? EXIT_OK : EXIT_CODES['not-ready'];
}

/** Raw sockets are root's. @throws RudderError `usage` */
export function refuseUser(): void {
  if (process.getuid?.() !== 0) throw new RudderError('usage', 'pings take a raw socket: run this command as root');
}

interface WayTo {
  readonly name: 'underlay' | 'overlay';
  readonly address: Ipv4;
  /** Of the interface that packets leave by: the most that may pass. */
  readonly mtu: number;
}

function waysTo(status: Status, { subnet, nextHop }: PeerStatus): WayTo[] {
  const inside = answeringAddress(status.backend.type, parseSubnet(subnet)!);
  const overlay = inside === undefined ? [] : [{ name: 'overlay', address: inside, mtu: status.device.mtu } as const];
  return [{ name: 'underlay', address: parseIpv4(nextHop)!, mtu: LARGEST }, ...overlay];
}

/** Of an Ethernet with jumbo frames; the kernel refuses what the interface does not take. */
const LARGEST = 9216;
/** What every host of IPv4 takes (RFC 791, 3.2). */
const SMALLEST = 68;

interface Result extends WayTo {
  readonly series: EchoSeries;
  /** The largest packet that came back; null: none did; undefined: nobody asked. */
  readonly largest: number | null | undefined;
}

async function measure(way: WayTo, count: number, sizes: boolean): Promise<Result> {
  const series = await withEchoSocket(false, (socket) => pingSeries(socket, way.address, { count }));
  if (!sizes) return { ...way, series, largest: undefined };
  const largest = await withEchoSocket(true, (socket) => largestPacket(socket, way.address, SMALLEST, way.mtu));
  return { ...way, series, largest: largest ?? null };
}

function describe(peer: PeerStatus, results: readonly Result[]): string {
  const lines = results.map(({ name, address, series, largest }) => {
    const size =
      largest === undefined ? '' : `; largest packet ${largest === null ? 'none came back' : `${largest} bytes`}`;
    return `${name.padEnd(10)}${formatIpv4(address).padEnd(16)}${answersText(series)}${size}`;
  });
  return `${nameOf(peer)}, ${peer.subnet}\n${lines.join('\n')}\n`;
}

/** Such as `5 of 5 answered, 0.31 ms (0.28 to 0.35)`. */
export function answersText({ sent, rttsMs, refusal }: EchoSeries): string {
  if (refusal !== undefined) return `cannot be sent to: ${refusal.message}`;
  const sorted = [...rttsMs].sort((a, b) => a - b);
  if (sorted.length === 0) return `none of ${sent} answered`;
  const ms = (value: number) => value.toFixed(2);
  const median = sorted[sorted.length >> 1];
  return `${sorted.length} of ${sent} answered, ${ms(median)} ms (${ms(sorted[0])} to ${ms(sorted.at(-1)!)})`;
}

function toJson({ host, subnet, nextHop }: PeerStatus, results: readonly Result[]) {
  const ways = results.map(({ name, address, series, largest }) => ({
    way: name,
    address: formatIpv4(address),
    sent: series.sent,
    answered: series.rttsMs.length,
    rttsMs: series.rttsMs,
    largestPacket: largest,
  }));
  return { host, subnet, address: nextHop, ways };
}
