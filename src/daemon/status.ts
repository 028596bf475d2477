import type { Backend, SessionReport } from '../backend/backend.js';
import type { BackendSettings } from '../backend/kind.js';
import type { Joined, JoinedState, Membership } from '../control/membership.js';
import { shorten } from '../core/errors.js';
import { formatIpv4 } from '../core/ipv4.js';
import type { Lease } from '../core/lease.js';
import type { NetworkConfig } from '../core/network-config.js';
import { formatSubnet, type Subnet } from '../core/subnet.js';
import type { Health } from '../health/health.js';
import type { FirewallSettingsStatus, PeerStatus, SessionStatus, Status } from '../ops/status.js';
import { problemsOf, warningsOf } from '../ops/status-problems.js';
import type { Firewall, FirewallState } from '../system/firewall.js';
import type { Netlink } from '../system/netlink.js';
import type { ConfigWatch } from './config-watch.js';
import type { HostKeeper } from './host-keeper.js';
import type { DaemonOptions } from './options.js';
import type { PeerAdmission } from './peer-admission.js';
import { countsTraffic, sightOf } from './peer-sight.js';

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
      countsTraffic: countsTraffic(backend),
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

function peerStatus(sources: StatusSources, lease: Lease): PeerStatus {
  const { subnet, publicIp, host = null, version = null } = lease;
  const { problem, heardSecondsAgo, traffic } = sightOf(lease, sources);
  const { backend, health } = sources;
  return {
    host,
    version,
    subnet: formatSubnet(subnet),
    nextHop: formatIpv4(publicIp),
    problem: problem ?? null,
    reserved: lease.reserved === true && heardSecondsAgo === undefined,
    health: health.of(lease, problem, heardSecondsAgo),
    ...traffic,
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
