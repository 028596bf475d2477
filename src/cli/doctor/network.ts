import { expiryWarning } from '../../core/certificates.js';
import { counted } from '../../core/counted.js';
import { inParallel } from '../../core/in-parallel.js';
import type { EchoSeries } from '../../health/echo-series.js';
import { nameOf, type PeerStatus, type Status } from '../../ops/status.js';
import { bad, ok, unknown, warn } from './findings.js';
import type { Facts, Finding } from './host.js';
import { traitsOf } from './traits.js';

/** What `rudder netcheck` asks beside the doctor: the network under the overlay, peer by peer. */

/** Peers that are asked; more would take minutes. */
const MOST_PEERS = 100;
const PARALLEL = 8;
/** What every host of IPv4 takes. */
const SMALLEST_PACKET = 576;

/** Those that packets are sent to. */
const peersOf = ({ peers }: Status) =>
  peers.filter(({ problem, reserved }) => problem === null && !reserved).slice(0, MOST_PEERS);

const eachPeer = <T>(status: Status, ask: (peer: PeerStatus) => Promise<T>): Promise<T[]> =>
  inParallel(peersOf(status), PARALLEL, ask);

/** Whether the other hosts are there, whatever runs on them. */
export async function underlay({ status, echoes }: Facts): Promise<Finding[]> {
  if (status === undefined) return [];
  return eachPeer(status, async (peer) => {
    const series = await echoes(peer.nextHop);
    const name = nameOf(peer);
    const answered = series.rttsMs.length;
    if (answered === series.sent && answered > 0) return ok('underlay', `${name} answers in ${medianOf(series)} ms`);
    if (series.refusal !== undefined) {
      return bad(
        'underlay',
        `${name} cannot be sent to: ${series.refusal.message}`,
        'see "ip route get" of its address',
      );
    }
    if (answered === 0) {
      const isHeard = peer.health.state === 'ok';
      const remedy = isHeard
        ? 'nothing: its overlay works, so a firewall only drops pings'
        : 'is that host up, and on the network?';
      return warn('underlay', `${name} answers no ping`, remedy);
    }
    const lost = `${series.sent - answered} of ${series.sent} pings to ${name} had no answer`;
    return warn('underlay', lost, 'see whether the network between the hosts loses packets');
  });
}

const medianOf = ({ rttsMs }: EchoSeries) => [...rttsMs].sort((a, b) => a - b)[rttsMs.length >> 1].toFixed(2);

/** The port of the backend, out and in, as the node's own probes have seen it. */
export async function port({ status }: Facts): Promise<Finding[]> {
  if (status === undefined) return [];
  const { port: number } = status.node;
  const through = number === null ? `backend ${status.backend.type}` : `UDP port ${number}`;
  return eachPeer(status, async (peer) => {
    const { state, reason, lastHeardSeconds } = peer.health;
    const name = nameOf(peer);
    if (state === 'ok') return ok('port', `${through} is open to and from ${name}`);
    if (state === 'unreachable') {
      const heard = lastHeardSeconds !== null && reason?.includes('is heard');
      const remedy = heard
        ? `let ${name} accept ${through} from this host, and this host send it`
        : 'mend what it says there';
      return bad('port', `${name}, ${through}: ${reason}`, remedy);
    }
    if (state === 'silent') {
      const remedy = `is rudder running on ${name}? If it is: open ${through} between the hosts, both ways`;
      return bad('port', `nothing comes from ${name} by ${through}`, remedy);
    }
    return unknown('port', `${name} is ${state}`, 'wait for its probes, or see "rudder peers"');
  });
}

/** The largest packet that each way carries in one piece, found by bisection. */
export async function pathMtu({ status, largestPacket }: Facts): Promise<Finding[]> {
  if (status === undefined) return [];
  const { overheadBytes, mtuFor } = traitsOf(status.backend.type);
  const full = status.device.mtu + overheadBytes;
  return eachPeer(status, async (peer) => {
    const name = nameOf(peer);
    const largest = await largestPacket(peer.nextHop, SMALLEST_PACKET, full);
    if (largest === undefined) {
      return unknown('path MTU', `${name} answers no ping`, 'allow ICMP between the hosts');
    }
    if (largest >= full)
      return ok('path MTU', `packets of ${full} bytes, with what is wrapped around them, reach ${name}`);
    return bad(
      'path MTU',
      `the way to ${name} carries ${largest} bytes, and full packets have ${full}`,
      mtuFor(largest),
    );
  });
}

/** Of what etcd is spoken to with. */
export async function certificates({ status, now }: Facts): Promise<Finding[]> {
  const ends = status?.registry.certificates ?? [];
  return ends.map((end) => {
    const warning = expiryWarning(end, now());
    if (warning === undefined) return ok('certificates', `${end.file} is good until ${end.notAfter}`);
    const [detail, remedy] = warning.split(/: (?=put )/);
    return warn('certificates', detail, remedy);
  });
}

/** So that a reader knows what was asked. */
export async function asked({ status }: Facts): Promise<Finding[]> {
  if (status === undefined) return [];
  const there = status.peers.filter(({ reserved }) => !reserved);
  const all = counted(there.length, 'peer');
  const count = Math.min(peersOf(status).length, MOST_PEERS);
  return [ok('peers', count === there.length ? `all of ${all} were asked` : `${count} of ${all} were asked`)];
}
