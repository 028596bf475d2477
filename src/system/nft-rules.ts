import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import { formatSubnet } from '../core/subnet.js';
import type { FirewallSettings } from './firewall-rules.js';

/**
 * What must be dropped, or kept from connection tracking, is in an nft table of our own: a drop in any table is final,
 * and nft has sets, one look-up for 4,000 members.
 *
 *     arriving    before everything else: counts what enters the overlay's way; drops datagrams that claim to come from a
 *                 member and come from inside this host; keeps tracking off datagrams of members
 *     sending     keeps tracking off our own datagrams to members
 *     forwarding  drops what others on this host send to a member's tunnel port
 *     leaving     after everything else: counts what has passed, and what was translated
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

/** What the table counts. `out` is from our containers to foreign ones, `in` the other way. */
export const TABLE_COUNTERS = [
  'out_entered',
  'out_left',
  'out_translated',
  'in_entered',
  'in_left',
  'in_translated',
  'dropped_forged',
  'dropped_forwarded',
] as const;
export type TableCounter = (typeof TABLE_COUNTERS)[number];

/** Makes the table anew, in one step. */
export function tableOf(settings: FirewallSettings, members: Members): string {
  const { device, port } = settings;
  const own = formatSubnet(settings.subnet);
  const all = formatSubnet(settings.network);
  const local = formatIpv4(settings.localAddress);
  const address = formatIpv4(settings.subnet.address); // of the device
  const tunnel = `udp sport ${port} udp dport ${port}`;
  const translated = 'ct status snat ct original ip';
  // Each chain parts by the cheapest question first: most of a host's packets do not concern us, and those of the tunnel
  // come a hundred thousand a second.
  return `add table ip ${TABLE}
delete table ip ${TABLE}
table ip ${TABLE} {
  set ${SETS.direct} { type ipv4_addr; ${elements([...members.direct].map(formatIpv4))}}
  set ${SETS.portMapped} { type ipv4_addr; ${elements([...members.portMapped].map(formatIpv4))}}
  set uplinks { type ifname; ${elements(settings.uplinks.map((name) => `"${name}"`))}}
${TABLE_COUNTERS.map((name) => `  counter ${name} { }`).join('\n')}
  chain arriving {
    type filter hook prerouting priority -350; policy accept;
    udp dport ${port} goto to_port
    ip daddr ${own} iifname "${device}" goto from_tunnel
    ip saddr ${own} iifname != "${device}" ip daddr ${all} ip daddr != ${own} fib daddr type != local counter name "out_entered"
  }
  chain to_port {
    iifname != @uplinks goto inside
    ip daddr ${local} udp sport ${port} ip saddr @${SETS.direct} notrack accept
    ip daddr ${local} ip saddr @${SETS.portMapped} notrack accept
  }
  chain inside {
    ip saddr @${SETS.direct} fib saddr . iif oif missing counter name "dropped_forged" drop
    ip saddr @${SETS.portMapped} fib saddr . iif oif missing counter name "dropped_forged" drop
    ip daddr ${local} udp sport ${port} ip saddr @${SETS.direct} notrack
    ip daddr ${local} ip saddr @${SETS.portMapped} notrack
  }
  chain from_tunnel {
    ip daddr != ${address} ip saddr ${all} ip saddr != ${own} fib daddr type != local counter name "in_entered"
  }
  chain sending {
    type filter hook output priority -350; policy accept;
    ${tunnel} ip saddr ${local} goto to_member
  }
  chain to_member {
    ip daddr @${SETS.direct} notrack accept
    ip daddr @${SETS.portMapped} notrack
  }
  chain forwarding {
    type filter hook forward priority -350; policy accept;
    udp dport ${port} goto forwarded_to_port
  }
  chain forwarded_to_port {
    ip saddr @${SETS.direct} accept
    ip saddr @${SETS.portMapped} accept
    ip daddr @${SETS.direct} counter name "dropped_forwarded" drop
    ip daddr @${SETS.portMapped} counter name "dropped_forwarded" drop
  }
  chain leaving {
    type filter hook postrouting priority 500; policy accept;
    oifname "${device}" goto into_tunnel
    ip daddr ${own} ip saddr ${all} ip saddr != ${own} counter name "in_left" accept
    ip daddr ${own} ${translated} saddr ${all} ct original ip saddr != ${own} counter name "in_translated"
  }
  chain into_tunnel {
    ip saddr ${address} ${translated} saddr ${own} ct original ip daddr ${all} counter name "out_translated" accept
    ip saddr ${own} ip saddr != ${address} counter name "out_left" accept
    ip saddr != ${own} ${translated} saddr ${own} ct original ip daddr ${all} counter name "out_translated"
  }
}
`;
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
