import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import { formatSubnet, maskOf, subnetCount } from '../core/subnet.js';
import type { FirewallSettings, OverlayDoor, Tunnel } from './firewall-rules.js';
import { markChains, marksArriving, marksForwarded, unmarksForwarded } from './member-mark.js';
import { within } from './nft-match.js';

/**
 * What must be dropped, or kept from connection tracking, is in an nft table of our own: a drop in any table is final,
 * and nft has sets, one look-up for 4,000 members.
 *
 *     arriving    datagrams that claim to come from a member and come from inside this host are dropped; those of members
 *                 are kept from tracking; strangers' are dropped where nobody else asks who has sent them
 *     asking      questions of other nodes to this one come from a node's own overlay address and through the overlay, so
 *                 many in a second of each: no stranger, container or local process connects to the port
 *     sending     so are our own to members; others on this host send nothing to a member's tunnel port, from any of its
 *                 addresses: masqueraded it would be ours
 *     forwarding  nor do containers; what enters the overlay's way is counted, before all others who filter there
 *     leaving     and what has passed them. Only the first packets of connections, where these are tracked: rules let
 *                 established ones through
 *
 * Why tracking is kept off: a container may bind the tunnel's port and send to a member's. Masqueraded, that has the very
 * addresses and ports of the tunnel, and the member's datagrams would go to the container as answers. An entry that is
 * never looked up can neither receive nor rewrite.
 */
export const TABLE = 'rudder';

/** Those who may send to our tunnel port, by address. */
export interface Members {
  /** They send from the tunnel's port. */
  readonly direct: ReadonlySet<Ipv4>;
  /** A NAT on their way changes the port that they send from. */
  readonly portMapped: ReadonlySet<Ipv4>;
}

export const SETS = { direct: 'members', portMapped: 'mapped' } as const;
/** With a bound the kernel looks a member up in a table of fixed size, which is quicker; of 8 bytes for each place. */
const LEAST_PLACES = 8192;
const MOST_PLACES = 65_536;

/**
 * What the table counts. `out` is from our containers to foreign ones, `in` the other way. Translated is what is known as
 * such behind the first packet: its successors and answers, but for what was sent to a published port or a service.
 */
export const TABLE_COUNTERS = [
  'out_entered',
  'out_left',
  'out_translated',
  'in_entered',
  'in_left',
  'in_translated',
  'dropped_forged',
  'dropped_stranger',
  'dropped_foreign',
] as const;
export type TableCounter = (typeof TABLE_COUNTERS)[number];

/** Makes the table anew, in one step. */
export function tableOf(settings: FirewallSettings, members: Members): string {
  const { tunnel } = settings;
  const first = settings.isTracked ? 'ct state new ' : '';
  const forwardedToPort =
    tunnel === undefined ? '' : `    ${toPort(tunnel.port)} ip protocol udp goto forwarded_to_port\n`;
  const subnets = subnetCount(settings.network, settings.subnet.prefixLength);
  const size = Math.min(MOST_PLACES, Math.max(LEAST_PLACES, 2 * subnets));
  const set = `type ipv4_addr; size ${size};`;
  // Each chain parts by the cheapest question first, the port: most of a host's packets do not concern us, and those of the
  // tunnel come a hundred thousand a second. Port and protocol are read out of the packet, which nft does in place (1, 2 or
  // 4 bytes, aligned); `meta l4proto` is a call.
  return `add table ip ${TABLE}
delete table ip ${TABLE}
table ip ${TABLE} {
  set ${SETS.direct} { ${set} ${elements([...members.direct].map(formatIpv4))}}
  set ${SETS.portMapped} { ${set} ${elements([...members.portMapped].map(formatIpv4))}}
  set uplinks { type ifname; ${elements(settings.uplinks.map((name) => `"${name}"`))}}
${TABLE_COUNTERS.map((name) => `  counter ${name} { }`).join('\n')}
${markChains(settings, SETS.direct)}${arrivingChain(settings)}${tunnel === undefined ? '' : tunnelChains(settings, tunnel)}  chain forwarding {
    type filter hook forward priority -350; policy accept;
${marksForwarded(settings)}    ${first}goto entering
${forwardedToPort}  }
  chain entering {
${counted(settings, 'entered')}${forwardedToPort}  }
  chain leaving {
    type filter hook forward priority 500; policy accept;
${unmarksForwarded(settings)}    ${first}goto left
${settings.isTracked ? '    ct status and (snat | dnat) == snat goto translated\n' : ''}  }
  chain left {
${counted(settings, 'left')}  }
${settings.isTracked ? translatedOf(settings) : ''}}
`;
}

/** Addresses first, which cost least. Where nothing is tracked every packet of the containers comes by here, twice. */
function counted({ devices, network, subnet }: FirewallSettings, when: 'entered' | 'left'): string {
  const way = namesOf(devices);
  return `    ${within('saddr', subnet)} ${within('daddr', network)} oifname ${way} counter name "out_${when}"
    ${within('daddr', subnet)} ${within('saddr', network)} iifname ${way} oifname != ${way} counter name "in_${when}"
`;
}

/**
 * Only a packet path of ours asks who has sent a datagram. Where it is the kernel's VXLAN, which does not, others'
 * datagrams of our VNI are dropped here, wherever they come from.
 */
function tunnelChains(settings: FirewallSettings, { port, vni, unbound }: Tunnel): string {
  const { localAddress, uplinks } = settings;
  const local = formatIpv4(localAddress);
  const [only, ...others] = uplinks;
  const uplink = others.length === 0 ? `"${only}"` : '@uplinks';
  const fromPort = unbound === 'port' ? '' : ` th sport ${port}`;
  // Where the kernel looks for an address of this host is asked once all else is so, and first for that which peers know.
  const isAtAny = unbound !== undefined;
  const here = isAtAny ? 'fib daddr type local' : `ip daddr ${local}`;
  const fromHere = unbound === 'address' ? 'fib saddr type local' : `ip saddr ${local}`;
  const stranger = vni === undefined ? 'accept' : 'goto stranger';
  const fromMember = (
    target: string,
  ) => `    ip saddr @${SETS.direct}${fromPort} iifname ${uplink} ${target} notrack accept
    ip saddr @${SETS.portMapped} iifname ${uplink} ${target} notrack accept
`;
  return `  chain to_port {
${fromMember(`ip daddr ${local}`)}${isAtAny ? fromMember(here) : ''}    iifname ${uplink} ${stranger}
    ip saddr @${SETS.direct} goto inside
    ip saddr @${SETS.portMapped} goto inside
${vni === undefined ? '' : `    ${stranger}\n`}  }
${vni === undefined ? '' : strangerChain(vni)}  chain inside {
    fib saddr . iif oif missing counter name "dropped_forged" drop
    ${here} notrack
  }
${isSendingGuarded(settings) ? sendingChains(port, `${fromHere}${fromPort}`) : ''}  chain forwarded_to_port {
    ip saddr @${SETS.direct} accept
    ip saddr @${SETS.portMapped} accept
    ip daddr @${SETS.direct} counter name "dropped_foreign" drop
    ip daddr @${SETS.portMapped} counter name "dropped_foreign" drop
  }
`;
}

/**
 * Of two bytes at one place of every transport's header, the first or second question of a rule: TCP and UDP have their
 * target's port there, and of others it is asked next which they are.
 */
const toPort = (port: number) => `th dport ${port}`;

/**
 * The kernel's VXLAN sends from any port, as anybody may who sends from this host's address: what the chain then drops is
 * what would get that address on its way out, by a translation, and keeps its own datagrams from one. Without tracking
 * there is none.
 */
const isSendingGuarded = ({ tunnel, isTracked }: FirewallSettings) => tunnel?.unbound !== 'port' || isTracked;

/** @param ours what tells our own datagrams: nobody else on this host can have the tunnel's port, at no address that it is bound to */
const sendingChains = (port: number, ours: string) => `  chain sending {
    type filter hook output priority -350; policy accept;
    th dport != ${port} accept
    ip protocol != udp accept
    ip daddr @${SETS.direct} goto to_member
    ip daddr @${SETS.portMapped} goto to_member
  }
  chain to_member {
    ${ours} notrack accept
    counter name "dropped_foreign" drop
  }
`;

/** All that comes to this host, before connection tracking sees it. */
function arrivingChain(settings: FirewallSettings): string {
  const { tunnel, asked, bareWay } = settings;
  if (tunnel === undefined && asked === undefined && bareWay === undefined) return '';
  const tunnelRule = tunnel === undefined ? '' : `    ${toPort(tunnel.port)} ip protocol udp goto to_port\n`;
  const askingRule =
    asked === undefined
      ? ''
      : `    ${toPort(asked.port)} ip daddr ${formatIpv4(asked.address)} ip protocol tcp goto asking\n`;
  return `${asked === undefined ? '' : askingChain(settings, asked)}  chain arriving {
    type filter hook prerouting priority -350; policy accept;
${marksArriving(settings)}${tunnelRule}${askingRule}  }
`;
}

/**
 * Each node's overlay address has the same place in its subnet: the other addresses there are its containers'. What
 * containers of our own send comes by their bridge, and by no device of the overlay.
 */
function askingChain({ devices, network, subnet }: FirewallSettings, { address }: OverlayDoor): string {
  const inSubnet = formatIpv4(~maskOf(subnet.prefixLength));
  return `  set askers { type ipv4_addr; size 65535; flags dynamic, timeout; timeout 10s; }
  chain asking {
    iifname != ${namesOf(devices)} drop
    ip saddr != ${formatSubnet(network)} drop
    ip saddr & ${inSubnet} != ${formatIpv4(address - subnet.address)} drop
    tcp flags & (syn | ack) == syn update @askers { ip saddr limit rate over 20/second burst 100 packets } drop
  }
`;
}

/**
 * The kernel's VXLAN takes what comes to any address of this host: to that of the containers' bridge too, and to those by
 * which it gets broadcasts. Others may use that port, with another VNI: behind the UDP header (64 bits) a VXLAN header has flags
 * and reserved bits (32), then the VNI (RFC 7348, 5). Where it cannot be read, in a fragment that ends before it, it may be ours.
 */
const strangerChain = (vni: number) => `  chain stranger {
    fib daddr type != { local, broadcast, multicast } accept
    @th,96,24 != ${vni} accept
    counter name "dropped_stranger" drop
  }
`;

/**
 * What is not tracked cannot be translated. A changed port is no changed address, as where two of a container's connections
 * would else look alike: only where the answers go tells. Our device has the first address of our subnet.
 */
function translatedOf({ subnet, network }: FirewallSettings): string {
  const [own, all, device] = [formatSubnet(subnet), formatSubnet(network), formatIpv4(subnet.address)];
  return `  chain translated {
    ct original ip saddr ${own} ct original ip daddr ${all} ct original ip daddr != ${own} ct reply ip daddr != ${own} counter name "out_translated"
    ct original ip saddr ${own} ct original ip daddr ${all} ct original ip daddr != ${own} ct reply ip daddr ${device} counter name "out_translated"
    ct original ip saddr != ${all} accept
    ct original ip saddr != ${own} ct original ip daddr ${own} ct reply ip daddr != ${all} counter name "in_translated"
    ct original ip saddr != ${own} ct original ip daddr ${own} ct reply ip daddr ${own} counter name "in_translated"
  }
`;
}

/** `"rudder0"`, or a set of them. */
function namesOf(devices: readonly string[]): string {
  const quoted = devices.map((name) => `"${name}"`);
  return quoted.length === 1 ? quoted[0] : `{ ${quoted.join(', ')} }`;
}

function elements(values: readonly string[]): string {
  return values.length === 0 ? '' : `elements = { ${values.join(', ')} }; `;
}

/** What changes the sets of members, in one step. @param verb what happens to these addresses */
export function elementsChange(verb: 'add' | 'delete', members: Members): string {
  return (['direct', 'portMapped'] as const)
    .filter((kind) => members[kind].size > 0)
    .map((kind) => `${verb} element ip ${TABLE} ${SETS[kind]} { ${[...members[kind]].map(formatIpv4).join(', ')} }\n`)
    .join('');
}
