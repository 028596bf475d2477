import type { Backend, KernelTraffic } from '../backend/backend.js';
import type { Lease } from '../core/lease.js';
import type { Health, ProbePackets } from '../health/health.js';
import type { PeerStatus } from '../ops/status.js';
import { ECHO_HEADER_BYTES } from '../system/echo.js';
import type { PeerAdmission } from './peer-admission.js';

/** What this host knows of a peer without asking it. */
export interface PeerSight {
  /** Why nothing is sent there; undefined: it is a peer. */
  readonly problem: string | undefined;
  /** Anything from it, of whoever moves the packets; undefined: never, or nobody knows. */
  readonly heardSecondsAgo: number | undefined;
  /** What containers and hosts have exchanged with it. */
  readonly traffic: PeerTraffic;
}

/** Null where nothing is counted. */
export type PeerTraffic = Pick<PeerStatus, 'outPackets' | 'outBytes' | 'inPackets' | 'inBytes'>;

type Counting = Pick<Backend, 'packetPath' | 'kernelTraffic'>;

export interface SightSources {
  readonly backend: Counting & Pick<Backend, 'problemOf'>;
  readonly admission: Pick<PeerAdmission, 'problemOf'>;
  readonly health: Pick<Health, 'probePackets'>;
}

export function sightOf(lease: Lease, { backend, admission, health }: SightSources): PeerSight {
  const counts = backend.packetPath?.traffic(lease.subnet) ?? backend.kernelTraffic?.(lease.subnet);
  return {
    problem: admission.problemOf(lease) ?? backend.problemOf(lease.subnet),
    heardSecondsAgo: counts?.heardSecondsAgo,
    traffic: counts === undefined ? UNCOUNTED : withoutProbes(counts, health.probePackets(lease)),
  };
}

/** Whether anything is counted of a peer. */
export const countsTraffic = ({ packetPath, kernelTraffic }: Counting) => (packetPath ?? kernelTraffic) !== undefined;

/** The kernel counts bytes alone, if anything. */
type Counts = Partial<PeerTraffic & KernelTraffic>;

/** An answer is counted by the packet path before it is read by us, or after. */
function withoutProbes(counts: Counts, probes: ProbePackets): PeerTraffic {
  const { outPackets = null, outBytes = null, inPackets = null, inBytes = null } = counts;
  const probeBytes = counts.sizeOnTheWay?.(ECHO_HEADER_BYTES) ?? ECHO_HEADER_BYTES;
  return {
    outPackets: less(outPackets, probes.out),
    outBytes: less(outBytes, probes.out * probeBytes),
    inPackets: less(inPackets, probes.in),
    inBytes: less(inBytes, probes.in * probeBytes),
  };
}

const less = (count: number | null, by: number) => (count === null ? null : Math.max(0, count - by));

const UNCOUNTED: PeerTraffic = { outPackets: null, outBytes: null, inPackets: null, inBytes: null };
