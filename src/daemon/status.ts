import type { Backend, KernelTraffic, SessionReport } from '../backend/backend.js';
import type { BackendSettings } from '../backend/kind.js';
import type { Joined, JoinedState, Membership } from '../control/membership.js';
import { shorten } from '../core/errors.js';
import { formatIpv4 } from '../core/ipv4.js';
import type { Lease } from '../core/lease.js';
import type { NetworkConfig } from '../core/network-config.js';
import { formatSubnet, type Subnet } from '../core/subnet.js';
import type { Health, ProbePackets } from '../health/health.js';
import type { FirewallSettingsStatus, PeerStatus, SessionStatus, Status } from '../ops/status.js';
import { problemsOf, warningsOf } from '../ops/status-problems.js';
import { ECHO_HEADER_BYTES } from '../system/echo.js';
import type { Firewall, FirewallState } from '../system/firewall.js';
import type { Netlink } from '../system/netlink.js';
import type { ConfigWatch } from './config-watch.js';
import type { HostKeeper } from './host-keeper.js';
import type { DaemonOptions } from './options.js';
import type { PeerAdmission } from './peer-admission.js';

export interface StatusSources {
  readonly version: string;
  readonly options: DaemonOptions;
  readonly nodeId: string;
  readonly config: NetworkConfig;
  readonly settings: BackendSettings;
  readonly subnet: Subnet;
  readonly health: Health;
  readonly host: HostKeeper;
  readonly netlink: Netlink;
  readonly membership: Pick<Membership, 'kind' | 'endpoints' | 'certificates' | 'requestTimes'>;
  readonly backend: Backend;
  readonly joined: Joined;
  readonly stored: ConfigWatch;
  readonly admission: PeerAdmission;
  readonly firewall: Firewall | undefined;
}

/** One look at everything. */
export async function readStatus(sources: StatusSources): Promise<Status> {
  const { options, config, host, membership, backend, firewall } = sources;
  const joined = sources.joined.state();
  const { lease } = joined;
  const forwarding = await firewall?.forwarding();
  const rules = firewall?.state();
  const packetPath = backend.packetPath ?? null;
  sources.health.look();
  const device = backend.device ?? host.underlay().name;
  const status = {
    version: sources.version,
    uptimeSeconds: process.uptime(),
    node: {
      id: sources.nodeId,
      name: options.nodeName ?? null,
      publicIp: formatIpv4(joined.publicIp),
      interface: host.underlay().name,
      network: formatSubnet(config.network),
      subnet: formatSubnet(sources.subnet),
      subnetFile: options.subnetFile,
      cniConf: options.cniConf ?? null,
      port: sources.settings.tunnel?.port ?? null,
    },
    device: { name: device, mtu: backend.mtu(), up: await isUp(sources.netlink, device), repairs: host.repairs() },
    hostProblem: host.problem() ?? null,
    lease: {
      ttlSeconds: lease.ttlSeconds ?? null,
      remainingSeconds: lease.remainingSeconds ?? null,
      key: lease.ownKey,
      recoveries: lease.recoveries,
      problem: lease.problem ?? null,
    },
    registry: {
      kind: membership.kind,
      endpoints: membership.endpoints,
      current: joined.isCurrent,
      staleSeconds: joined.staleSeconds,
      problem: joined.problem ?? null,
      lastContactSeconds: joined.contactAgeSeconds ?? null,
      certificates: membership.certificates(),
    },
    config: sources.stored.status(),
    backend: {
      type: config.backend.type,
      kernel: backend.kernelEntries() ?? null,
      direct: backend.directPeers() ?? null,
      cipher: backend.sessions?.cipher() ?? null,
      implementation: backend.sessions?.implementation ?? null,
      clockBehindSeconds: backend.sessions?.clockBehindSeconds() ?? 0,
    },
    packetPath: packetPath && { heartbeatSeconds: packetPath.heartbeatAgeMs() / 1000, counters: packetPath.counters() },
    offloads: backend.packetPath?.offloads() ?? {},
    firewall: {
      kept: rules !== undefined && rules.problem === undefined,
      checks: rules?.checks ?? 0,
      repairs: rules?.repairs ?? 0,
      problem: rules?.problem ?? null,
      forwarding: forwarding ?? null,
      settings: rules === undefined ? null : settingsOf(rules),
    },
    peers: joined.peers.map((lease) => peerStatus(sources, lease)),
    latencies: { probes: sources.health.rtts(), registry: membership.requestTimes?.() ?? null },
    ignoredLeases: ignoredLeasesOf(joined),
  };
  return { ...status, problems: problemsOf(status), warnings: warningsOf(status) };
}

function peerStatus({ backend, admission, health }: StatusSources, lease: Lease): PeerStatus {
  const { subnet, publicIp, host = null, version = null } = lease;
  const { heardSecondsAgo } = countsOf(subnet, backend);
  const problem = problemWith(lease, backend, admission);
  return {
    host,
    version,
    subnet: formatSubnet(subnet),
    nextHop: formatIpv4(publicIp),
    problem: problem ?? null,
    reserved: lease.reserved === true && heardSecondsAgo === undefined,
    health: health.of(lease, problem, heardSecondsAgo),
    ...trafficWith(lease, backend, health),
    heardSecondsAgo: heardSecondsAgo ?? null,
    session: sessionStatus(backend.sessions?.of(subnet)),
  };
}

function sessionStatus(session: SessionReport | undefined): SessionStatus | null {
  if (session === undefined) return null;
  const { hasSession, handshakeAgeMs, tryingForMs, endpoint } = session;
  const seconds = (ms: number | undefined) => (ms === undefined ? null : ms / 1000);
  return {
    state: tryingForMs !== undefined ? 'trying' : hasSession ? 'up' : 'none',
    handshakeSeconds: seconds(handshakeAgeMs),
    tryingSeconds: seconds(tryingForMs),
    endpoint: endpoint === undefined ? null : `${formatIpv4(endpoint.address)}:${endpoint.port}`,
  };
}

/** Why nothing is sent to a peer; undefined: it is one. */
export function problemWith(
  lease: Lease,
  backend: Pick<Backend, 'problemOf'>,
  admission: Pick<PeerAdmission, 'problemOf'>,
): string | undefined {
  return admission.problemOf(lease) ?? backend.problemOf(lease.subnet);
}

/** What containers and hosts have exchanged with a peer. */
export function trafficWith(
  lease: Lease,
  backend: Pick<Backend, 'packetPath' | 'kernelTraffic'>,
  health: Pick<Health, 'probePackets'>,
): PeerStatusTraffic {
  const { heardSecondsAgo: _, sizeOnTheWay, ...traffic } = countsOf(lease.subnet, backend);
  return withoutProbes(traffic, health.probePackets(lease), sizeOnTheWay(ECHO_HEADER_BYTES));
}

/** What is counted of a peer, by whoever moves the packets. */
export function countsOf(
  subnet: Subnet,
  { packetPath, kernelTraffic }: Pick<Backend, 'packetPath' | 'kernelTraffic'>,
): Counts {
  return { ...UNKNOWN_TRAFFIC, ...(packetPath?.traffic(subnet) ?? kernelTraffic?.(subnet)) };
}

/** Null where nothing is counted. An answer is counted by the packet path before it is read by us, or after. */
function withoutProbes(traffic: PeerStatusTraffic, probes: ProbePackets, probeBytes: number): PeerStatusTraffic {
  const less = (count: number | null, by: number) => (count === null ? null : Math.max(0, count - by));
  return {
    outPackets: less(traffic.outPackets, probes.out),
    outBytes: less(traffic.outBytes, probes.out * probeBytes),
    inPackets: less(traffic.inPackets, probes.in),
    inBytes: less(traffic.inBytes, probes.in * probeBytes),
  };
}

type PeerStatusTraffic = Pick<PeerStatus, 'outPackets' | 'outBytes' | 'inPackets' | 'inBytes'>;
type Counts = PeerStatusTraffic & Pick<KernelTraffic, 'heardSecondsAgo' | 'sizeOnTheWay'>;

/** The kernel does not count by peer, or bytes alone. */
const UNKNOWN_TRAFFIC: Counts = {
  outPackets: null,
  outBytes: null,
  inPackets: null,
  inBytes: null,
  heardSecondsAgo: undefined,
  sizeOnTheWay: (bytes) => bytes,
};

function settingsOf({ settings }: FirewallState): FirewallSettingsStatus {
  const { devices, bareWay = null, tunnel = null, ipMasq, isTracked, localAddress, uplinks } = settings;
  return { devices, bareWay, tunnel, ipMasq, isTracked, localAddress: formatIpv4(localAddress), uplinks };
}

/** Somebody may write as many keys as he likes. */
const MOST_IGNORED_TOLD = 20;

function ignoredLeasesOf({ ignored }: JoinedState): Status['ignoredLeases'] {
  const first = [...ignored.values()].slice(0, MOST_IGNORED_TOLD);
  return {
    count: ignored.size,
    first: first.map(({ key, host = null, version = null, backend, publicIp, problem }) => ({
      key,
      host,
      version,
      backend: backend === undefined ? null : shorten(backend, 40),
      nextHop: publicIp === undefined ? null : formatIpv4(publicIp),
      problem,
    })),
  };
}

async function isUp(netlink: Netlink, device: string): Promise<boolean> {
  return (await netlink.link(device).catch(() => undefined))?.up === true;
}
