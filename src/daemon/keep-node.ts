import { answeringAddress, answersByDevice } from '../backend/kinds.js';
import { CLUSTER_PORT } from '../cluster/serve.js';
import { messageOf } from '../core/errors.js';
import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import type { Lease } from '../core/lease.js';
import type { Logger } from '../core/logger.js';
import { formatSubnet, type Subnet } from '../core/subnet.js';
import { keepHealth } from '../health/health.js';
import { saveState } from '../state/node-state.js';
import { type EchoSocket, openEchoSocket } from '../system/echo.js';
import { type Underlay, uplinksOf } from '../system/underlay.js';
import { checkPublicIp } from './carriers.js';
import { watchCarrying } from './carry-watch.js';
import { keepCluster } from './cluster.js';
import { keepHost } from './host-keeper.js';
import { keepLastKnown } from './last-known-keeper.js';
import type { Ground, Node, Ready, StartContext } from './node.js';
import { keepPast } from './past.js';
import { sightOf } from './peer-sight.js';
import { watchPeerHealth } from './peer-watch.js';
import { probedSessions } from './probed-sessions.js';
import { readStatus } from './status.js';
import { tunnelMtu } from './tunnel-mtu.js';

/** After READY: remembers what is known, and follows what changes on this host. */
export async function keepNode(context: StartContext, ground: Ground, ready: Ready): Promise<Node> {
  const { options, netlink, membership, log, version } = context;
  const { config, settings, json, underlay, state, publicIp } = ground;
  const {
    subnet,
    backend,
    joined,
    stored,
    announcer,
    admission,
    carrier,
    firewall,
    subnetFile,
    cniFile,
    checkOverlay,
    peerLog,
  } = ready;
  log.info(
    { subnet: formatSubnet(subnet), publicIp: formatIpv4(publicIp), interface: underlay.name, mtu: backend.mtu() },
    'ready',
    'node.ready',
  );
  const { nodeId } = state;
  const { source } = membership;
  const remembered = { source, nodeId, subnet, configJson: json };
  const memory = keepLastKnown(options.stateDir, remembered, joined, log);
  const mtuOver = (carrier: Underlay) => tunnelMtu(options, settings, carrier, log);
  // An address that was given is not this host's to follow.
  const isFollowed = options.publicIp === undefined;
  const check = ({ address }: Underlay) => {
    if (isFollowed) checkPublicIp(address, config);
  };
  const publish = (address: Ipv4) => {
    membership.reconnect();
    if (isFollowed) joined.publish({ publicIp: address });
    announcer.changed();
    // For the next start, which finds it without.
    saveState(options.stateDir, { nodeId, subnet, source, address }).catch((error: unknown) =>
      log.warn({ reason: messageOf(error) }, 'the address cannot be remembered'),
    );
  };
  const writeEnv = async () => {
    await subnetFile.write();
    announcer.changed();
  };
  const lookAtEnv = async () => {
    const looks = await Promise.allSettled([subnetFile.look(), cniFile.look()]);
    for (const look of looks) if (look.status === 'rejected') throw look.reason;
  };
  const { network } = config;
  const checkRoutes = async (carriedBy: Underlay) => {
    carrier.address = carriedBy.address;
    const { all } = await checkOverlay();
    const uplinks = await uplinksOf(netlink, all, carriedBy);
    await firewall?.adapt({
      localAddress: carriedBy.address,
      uplinks,
      devices: backend.ways(),
      bareWay: backend.bareWay?.(),
    });
  };
  const events = await netlink.watch(backend.device ?? underlay.name, network, {
    neighbours: backend.packetPath === undefined,
  });
  const seen = { netlink, choice: options.underlay, underlay, events };
  const host = keepHost({
    ...seen,
    backend,
    check,
    checkRoutes,
    mtuOver,
    publish,
    writeEnv,
    lookAtEnv,
    log,
  });
  const { type } = config.backend;
  const isAtBridge = !answersByDevice(type);
  const overlayAddressOf = (of: Subnet) => answeringAddress(type, of);
  const health = keepHealth({
    peers: () => joined.state().peers,
    socket: options.probes ? openProbeSocket(subnet, type, log) : undefined,
    addressOf: ({ subnet }) => overlayAddressOf(subnet),
    // A socket that is bound to a bridge's address would have to follow it.
    sourceOf: (lease) => (isAtBridge ? lease.publicIp : overlayAddressOf(lease.subnet)),
    isSureToAnswer: !isAtBridge,
    isByKernel: backend.packetPath === undefined && !isAtBridge,
    sessions: probedSessions(backend.sessions),
    log,
  });
  const see = (lease: Lease) => sightOf(lease, { backend, admission, health });
  const peerWatch = watchPeerHealth({
    peers: () => joined.state().peers,
    healthOf(lease) {
      const { problem, heardSecondsAgo } = see(lease);
      return health.of(lease, problem, heardSecondsAgo);
    },
    tell: peerLog.health,
  });
  const past = keepPast({ peers: () => joined.state().peers, backend, health, sightOf: see });
  const cluster = keepCluster({
    own: subnet,
    host: options.nodeName,
    version,
    key: ground.key,
    overlayAddressOf,
    isAtBridge,
    guard: async (address) => firewall?.adapt({ asked: { address, port: CLUSTER_PORT } }),
    publicIp: () => joined.state().publicIp,
    peers: () => joined.state().peers,
    isMember: (lease) => admission.problemOf(lease) === undefined,
    status: () => readStatus(sources),
    look: health.look,
    view: (lease) => {
      const { problem, heardSecondsAgo, traffic } = see(lease);
      const { outBytes, inBytes } = traffic;
      return {
        subnet: formatSubnet(lease.subnet),
        ...health.facts(lease, problem, heardSecondsAgo),
        outBytes,
        inBytes,
      };
    },
    lost: past.lost,
    history: past.curves,
    probeNow: health.probeNow,
    log,
  });
  const parts = { health, host, netlink, membership, backend, joined, stored, admission, firewall };
  const sources = { version, options, nodeId, config, settings, subnet, ...parts };
  const carrying = watchCarrying({ joined, backend, host, netlink });
  return { backend, joined, firewall, health, peerWatch, past, cluster, host, carrying, memory, sources };
}

/** From the address of our device, where there is one: by that peers know whom they hear. */
function openProbeSocket(own: Subnet, type: string, log: Logger): EchoSocket | undefined {
  try {
    return openEchoSocket({ address: answersByDevice(type) ? own.address : undefined });
  } catch (error) {
    log.warn({ reason: messageOf(error) }, 'peers are not probed');
    return undefined;
  }
}
