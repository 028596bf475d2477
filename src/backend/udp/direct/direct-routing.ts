import { randomInt } from 'node:crypto';
import { messageOf } from '../../../core/errors.js';
import type { Ipv4 } from '../../../core/ipv4.js';
import { isPortMapped, isUntaken, type Lease } from '../../../core/lease.js';
import type { LeaseChange } from '../../../core/lease-set.js';
import { createRepeatLimit } from '../../../core/rate-limit.js';
import { formatSubnet, type Subnet } from '../../../core/subnet.js';
import { type EchoOptions, type EchoSocket, openEchoSocket } from '../../../system/echo.js';
import { RTN_UNREACHABLE } from '../../../system/netlink.js';
import { createKernelBackend } from '../../kernel/kernel-backend.js';
import { ourRoutes } from '../../kernel/tables.js';
import { onUnderlay } from '../../kernel/underlay-link.js';
import {
  type Entry,
  notOnLink,
  PROBE_TABLE,
  plainRoute,
  ROUTE_PROTOCOL,
  routeEntry,
  type Wants,
} from '../../kernel/wanted.js';
import type { BackendHost } from '../../kind.js';
import type { DirectRouting } from '../../packet-path/tun-backend.js';
import { createProbes, type Probes } from './probes.js';

/** Of the echoes, and of nothing else: by the rule they look into PROBE_TABLE. */
const MARK = PROBE_TABLE;
/** Before what others, such as VPN clients, have. */
const RULE_PRIORITY = 100;
/** An echo that takes another way, because somebody has removed the rule, goes no further than to the next host. */
const TTL = 1;
/** Peers that are told of in each interval. */
const PEERS_TOLD = 3;

export interface DirectRoutingOptions extends BackendHost {
  readonly openEcho?: (options: EchoOptions) => EchoSocket;
  readonly now?: () => number;
}

/** Whether its node takes part, and could be at the other end of a plain route. */
export function saysDirect(lease: Lease, subnetLength: number): boolean {
  // A larger subnet may have another one's in it, which the tunnel tells apart.
  const isOneEntry = lease.subnet.prefixLength === subnetLength;
  return lease.backend.data.DirectRouting === true && isOneEntry && !isPortMapped(lease);
}

/**
 * Why this node cannot take part; undefined: it can.
 * @param openEcho tried, since not every process may
 */
export function whyNotDirect(
  { publicIp, localAddress, portMapped }: Pick<BackendHost, 'publicIp' | 'localAddress' | 'portMapped'>,
  openEcho: (options: EchoOptions) => EchoSocket = openEchoSocket,
): string | undefined {
  if (portMapped || publicIp !== localAddress) return 'a NAT is between this node and its peers';
  try {
    openEcho({ mark: MARK, ttl: TTL }).close();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

/** What packets have to keep when they change between the ways. */
interface Lasting {
  /** This host's own address in the overlay. */
  readonly source: Ipv4;
  /** Of the tunnel: what is larger would be lost in it. */
  readonly mtu: number;
}

function wantsOf(answers: (subnet: Subnet) => boolean, network: Subnet, lasting: () => Lasting): Wants {
  const rule: Entry = {
    kind: 'rule',
    mark: MARK,
    table: PROBE_TABLE,
    priority: RULE_PRIORITY,
    protocol: ROUTE_PROTOCOL,
  };
  return {
    direct: true,
    asksHop: () => true,
    ofPeer(peer, { underlay }, hop) {
      // The tunnel goes on.
      if (notOnLink(peer.endpoint, underlay, hop) !== undefined) return [];
      const route = (table: { table?: number }) => plainRoute(peer, underlay.index, { ...table, ...lasting() });
      const probe = route({ table: PROBE_TABLE });
      return answers(peer.subnet) ? [probe, route({})] : [probe];
    },
    // Echoes to who has no route there shall not look into the tables behind it.
    ofSelf: () => [rule, routeEntry(network, { table: PROBE_TABLE, type: RTN_UNREACHABLE })],
  };
}

/**
 * Peers on our link without the tunnel, as long as an echo over that very way comes back:
 *
 *     peers that say so --> a route each in a table of its own --> echoes with our mark, which a rule sends there
 *                                                                     | answered        | 3 times not
 *                                                            the same route in main     it goes: the tunnel
 *
 * So no packet of anybody takes a way that has not carried an echo. The tunnel knows all peers all the time.
 */
export function createDirectRouting(options: DirectRoutingOptions): DirectRouting {
  const { config, netlink, log, openEcho = openEchoSocket, now = () => performance.now() } = options;
  const limit = createRepeatLimit(PEERS_TOLD);
  const leases = new Map<string, Lease>();
  /** Routes that an earlier run has left. */
  let kept = new Set<string>();
  let source: Ipv4 = 0;
  let socket: EchoSocket | undefined;
  let probes: Probes | undefined;
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  const answers = (subnet: Subnet) => probes?.answers(formatSubnet(subnet)) === true;
  const links = onUnderlay(options);
  const routes = createKernelBackend(
    options,
    links,
    wantsOf(answers, config.network, () => ({ source, mtu: links.mtu() })),
    ({ subnet, publicIp }) => ({ subnet, endpoint: publicIp }),
  );
  const early: LeaseChange[] = [];

  function follow({ type, lease }: LeaseChange): void {
    const peer = formatSubnet(lease.subnet);
    const before = leases.get(peer);
    const takesPart = type !== 'removed' && !isUntaken(lease) && saysDirect(lease, config.subnetLength);
    if (before !== undefined && (!takesPart || before.publicIp !== lease.publicIp)) probes?.forget(peer);
    if (!takesPart) return void leases.delete(peer);
    leases.set(peer, lease);
    probes?.follow(peer, lease.subnet.address, kept.delete(placeOf(peer, lease.publicIp)));
  }

  async function apply(changes: readonly LeaseChange[]): Promise<void> {
    if (probes === undefined) return void early.push(...changes);
    const concerned = changes.filter(({ lease }) => leases.has(formatSubnet(lease.subnet)));
    changes.forEach(follow);
    const results = changes.flatMap((change): LeaseChange[] => {
      if (leases.has(formatSubnet(change.lease.subnet))) return [change];
      return concerned.includes(change) ? [{ type: 'removed', lease: change.lease }] : [];
    });
    if (results.length > 0) await routes.apply(results);
    look(0);
  }

  function look(afterMs: number | undefined): void {
    clearTimeout(timer);
    if (!stopped && afterMs !== undefined) timer = setTimeout(turn, afterMs);
  }

  /** Routes that change are in force before the next look. */
  function turn(): void {
    const changed = (probes?.turn() ?? []).flatMap((peer) => {
      tell(peer);
      return leases.get(peer) ?? [];
    });
    const done =
      changed.length === 0 ? Promise.resolve() : routes.apply(changed.map((lease) => ({ type: 'changed', lease })));
    void done.finally(() => look(probes?.restMs()));
  }

  function tellUnreadable(error: unknown): void {
    limit((suppressed) => log.warn({ reason: messageOf(error), suppressed }, 'echoes of peers cannot be received'));
  }

  function tell(subnet: string): void {
    const isDirect = probes?.answers(subnet) === true;
    limit((suppressed) =>
      isDirect
        ? log.info({ subnet, suppressed }, 'a peer answers without the tunnel: its packets go directly')
        : log.warn(
            { subnet, suppressed },
            'a peer does not answer without the tunnel any more: its packets go through it',
          ),
    );
  }

  return {
    async start(own) {
      source = own.address;
      kept = new Set((await ourRoutes(netlink)).flatMap(keptBy));
      socket = openEcho({ address: own.address, mark: MARK, ttl: TTL });
      probes = createProbes({ socket, id: randomInt(65536), now, onUnreadable: tellUnreadable });
      early.forEach(follow);
      await routes.apply([...leases.values()].map((lease) => ({ type: 'added', lease })));
      // What the kernel refuses is tried again, and the tunnel is there.
      await routes
        .start(own)
        .catch((error: unknown) =>
          log.warn({ reason: messageOf(error) }, 'peers on the link are reached through the tunnel'),
        );
      // Those of peers that are not there are gone now.
      kept.clear();
      look(0);
    },
    apply,
    repair: () => routes.repair().catch(() => undefined),
    adapt: (host) => routes.adapt(host).catch(() => undefined),
    setRouted: (isRouted) => routes.setRouted(isRouted).catch(() => undefined),
    peers: () => routes.directPeers() ?? 0,
    ways: routes.ways,
    persist: routes.persist,
    async stop(remove) {
      stopped = true;
      clearTimeout(timer);
      socket?.close();
      await routes.stop(remove);
    },
  };
}

const placeOf = (subnet: string, gateway: Ipv4 | undefined) => `${subnet} ${gateway}`;

function keptBy(entry: Entry): string[] {
  if (entry.kind !== 'route' || entry.table === PROBE_TABLE || entry.gateway === undefined) return [];
  return [placeOf(formatSubnet(entry.destination), entry.gateway)];
}
