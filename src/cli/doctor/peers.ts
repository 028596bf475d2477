import { counted } from '../../core/counted.js';
import type { PeerStatus } from '../../ops/status.js';
import { bad, ok, unknown, warn } from './findings.js';
import type { Finding, Host } from './host.js';
import { isLossless, LOSS_REMEDY, lossOf, ping } from './ping.js';

/** Peers that are asked one by one; more would take minutes. */
const MOST_PEERS = 20;

/** Ping with "don't fragment", of the size of a full tunnel packet: 28 bytes of it are the headers of ping itself. */
export async function pathMtu(host: Host): Promise<Finding[]> {
  const size = host.status?.device.mtu ?? 0;
  return eachPeer('path MTU', host, async ({ nextHop }) => {
    if ((await ping(host, nextHop, { count: 1 })) === undefined) {
      return warn('path MTU', `${nextHop} answers no ping, so nothing is known`, 'allow ICMP between the hosts');
    }
    const answers = await ping(host, nextHop, { size });
    if (answers === undefined) {
      const remedy = `find the smaller MTU on the way and set Backend.MTU or --mtu to it less 28`;
      return bad('path MTU', `full packets do not reach ${nextHop}: ${size + 28} bytes are too many`, remedy);
    }
    if (isLossless(answers)) return undefined;
    const remedy = 'see whether the network between the hosts loses packets';
    return warn('path MTU', `of full packets to ${nextHop} ${lossOf(answers)}`, remedy);
  });
}

/** A peer's device answers at the first address of its subnet: all of the way, both ways. */
export async function overlay(host: Host): Promise<Finding[]> {
  const port = host.status?.node.port;
  // Without a tunnel no device has that address.
  if (port === null) return [];
  return eachPeer('overlay', host, async ({ subnet, nextHop }) => {
    const address = subnet.split('/')[0];
    const answers = await ping(host, address);
    if (answers !== undefined && isLossless(answers)) return undefined;
    if (answers !== undefined) {
      return warn('overlay', `of packets to ${address} on ${nextHop} ${lossOf(answers)}`, LOSS_REMEDY);
    }
    // Connection tracking does not see the tunnel's datagrams, so that "established" does not let them in.
    const filters = (await host.suspects('input')).join(', ');
    const remedy = `is rudder running on ${nextHop}, and UDP port ${port} (Backend.Port) open between the hosts?`;
    const here =
      filters === '' ? '' : ` Rules of others here that may drop its datagrams: ${filters}: let them accept that port`;
    return bad('overlay', `${address} on ${nextHop} does not answer`, `${remedy}${here}`);
  });
}

async function eachPeer(
  check: string,
  host: Host,
  ask: (peer: PeerStatus) => Promise<Finding | undefined>,
): Promise<Finding[]> {
  const there = (host.status?.peers ?? []).filter(({ reserved }) => !reserved);
  const asked = there.filter(({ problem }) => problem === null).slice(0, MOST_PEERS);
  if (asked.length === 0) return [];
  // Without it every peer would look silent.
  if ((await ping(host, '127.0.0.1', { count: 1 })) === undefined) {
    return [unknown(check, 'the command "ping" does not work here', 'install iputils-ping, and run as root')];
  }
  const findings = (await Promise.all(asked.map(ask))).filter((finding) => finding !== undefined);
  const all = counted(there.length, 'peer');
  const count = asked.length === there.length ? all : `${asked.length} of ${all}`;
  return findings.length > 0 ? findings : [ok(check, `good to ${count}`)];
}
