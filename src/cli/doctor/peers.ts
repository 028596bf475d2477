import { counted } from '../../core/counted.js';
import { nameOf, type PeerStatus } from '../../ops/status.js';
import { addressOn } from './containers.js';
import { bad, ok, unknown, warn } from './findings.js';
import type { Finding, Host } from './host.js';
import { isLossless, LOSS_REMEDY, lossOf, ping } from './ping.js';
import { traitsOf } from './traits.js';

/** Peers that are asked one by one; more would take minutes. */
const MOST_PEERS = 20;

/** IPv4 and ICMP. */
const PING_HEADERS = 28;

/** Ping with "don't fragment", of the size of a full tunnel packet. */
export async function pathMtu(host: Host): Promise<Finding[]> {
  const { status } = host;
  if (status === undefined) return [];
  const { routes, overheadBytes, mtu } = traitsOf(status.backend.type);
  // Which way packets take is not for us to say.
  if (routes === 'others') return [];
  const full = status.device.mtu + overheadBytes;
  const size = full - PING_HEADERS;
  return eachPeer('path MTU', host, async (peer) => {
    const { nextHop } = peer;
    const name = nameOf(peer);
    if ((await ping(host, nextHop, { count: 1 })) === undefined) {
      return warn('path MTU', `${name} answers no ping, so nothing is known`, 'allow ICMP between the hosts');
    }
    const answers = await ping(host, nextHop, { size });
    if (answers === undefined) {
      const remedy = `find the smaller MTU on the way and set ${mtu}`;
      return bad('path MTU', `full packets do not reach ${name}: ${full} bytes are too many`, remedy);
    }
    if (isLossless(answers)) return undefined;
    const remedy = 'see whether the network between the hosts loses packets';
    return warn('path MTU', `of full packets to ${name} ${lossOf(answers)}`, remedy);
  });
}

/** All of the way, both ways. */
export async function overlay(host: Host): Promise<Finding[]> {
  const { status } = host;
  if (status === undefined) return [];
  const { port } = status.node;
  return eachPeer('overlay', host, async (peer) => {
    const name = nameOf(peer);
    const address = addressOn(status, peer.subnet);
    if (address === undefined) return undefined;
    const answers = await ping(host, address);
    if (answers !== undefined && isLossless(answers)) return undefined;
    if (answers !== undefined) {
      return warn('overlay', `of packets to ${address} on ${name} ${lossOf(answers)}`, LOSS_REMEDY);
    }
    if (port === null) {
      const why = `${address}, which the bridge of containers has on ${name}, does not answer`;
      const remedy = 'if there are containers, see "rudder doctor" there: has it the routes, does it forward?';
      return unknown('overlay', why, remedy);
    }
    // Connection tracking does not see the tunnel's datagrams, so that "established" does not let them in.
    const filters = (await host.suspects('input')).join(', ');
    const remedy = `is rudder running on ${name}, and UDP port ${port} (Backend.Port) open between the hosts?`;
    const here =
      filters === '' ? '' : ` Rules of others here that may drop its datagrams: ${filters}: let them accept that port`;
    return bad('overlay', `${address} on ${name} does not answer`, `${remedy}${here}`);
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
