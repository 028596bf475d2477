import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import { formatSubnet, type Subnet } from '../core/subnet.js';
import { ACCEPT_MEMBER } from './member-mark.js';

/** What all of our rules are made of, those in the tables of `iptables` (here) and those in our own (nft-rules.ts). */
export interface FirewallSettings {
  /** Interfaces that the overlay's packets leave and arrive by: the tunnel's device, or the underlay itself. */
  readonly devices: readonly string[];
  /**
   * One of these, by which what other nodes themselves send comes from their addresses in the underlay, which are in no
   * subnet; undefined: it comes from their overlay addresses.
   */
  readonly bareWay?: string | undefined;
  readonly network: Subnet;
  /** Our own subnet. */
  readonly subnet: Subnet;
  /** Also masquerade what our containers send to the outside, and let it pass. */
  readonly ipMasq: boolean;
  /** This host's in the underlay, to which the tunnel's datagrams come. */
  readonly localAddress: Ipv4;
  /** Undefined: packets go as they are, without a tunnel. */
  readonly tunnel: Tunnel | undefined;
  /** Where other nodes ask this one; undefined: nowhere. */
  readonly asked?: OverlayDoor | undefined;
  /**
   * Somebody on this host has connections tracked, as Docker does. Else no rule of ours may ask for their state: the
   * kernel would begin to track each packet of this host, and to drop new ones when its table is full.
   */
  readonly isTracked: boolean;
  /** Names of the interfaces that lead to other hosts: that of the underlay, and those of default routes. */
  readonly uplinks: readonly string[];
}

/** TCP, at our overlay address. */
export interface OverlayDoor {
  readonly address: Ipv4;
  readonly port: number;
}

/** What the kernel's VXLAN sends is from any port, what its WireGuard does from any address; both take what comes to any address of this host. */
export const UNBOUND = ['port', 'address'] as const;
export type Unbound = (typeof UNBOUND)[number];

/** The datagrams that nodes send each other. */
export interface Tunnel {
  /** To which all are sent. */
  readonly port: number;
  /** Of VXLAN. */
  readonly vni?: number | undefined;
  /**
   * What of their source the kernel leaves open, which then takes them at any address of this host; undefined: all are from
   * and to its address in the underlay, and `port`.
   */
  readonly unbound?: Unbound | undefined;
}

/**
 * What must be *accepted* is accepted in the tables that Docker uses, by the `iptables` that Docker finds too, and comes
 * first. An accept in an nft table of our own would accept nothing: every base chain of a hook has its say. Each
 * exemption is as narrow as its purpose, and leaves what an operator says in DOCKER-USER in force, and network policies.
 *
 *     raw    PREROUTING   -> RUDDER-PREROUTING   from foreign subnets through the tunnel into ours: Docker drops since
 *                                                version 28 what comes to a container by another way than its bridge
 *     filter FORWARD      -> RUDDER-FORWARD      between our subnet and foreign ones, through the tunnel
 *       both of these too                        what comes from a member's own address, where packets go as they are,
 *                                                and the answers: member-mark.ts
 *     filter INPUT,OUTPUT -> RUDDER-INPUT, ...   the tunnel's own datagrams, which connection tracking does not see
 *                                                (nft-rules.ts), so that they are never "established"; where others'
 *                                                are tracked
 *     nat    POSTROUTING  -> RUDDER-POSTROUTING  an accept means here: translate no more. For what crosses the tunnel;
 *                                                not within our subnet, where Docker translates what a container sends
 *                                                to its own published port, nor what kube-proxy has marked as its own
 */
export interface Chain {
  readonly table: 'raw' | 'filter' | 'nat';
  readonly parent: 'PREROUTING' | 'INPUT' | 'FORWARD' | 'OUTPUT' | 'POSTROUTING';
  readonly name: string;
}

export interface OwnChain extends Chain {
  /** As `iptables-save` prints them; none: the chain is not wanted. */
  readonly rules: readonly string[];
  /** Others' chains that are asked first, where they exist, since an accept of ours is the last word. */
  readonly asks?: readonly string[];
  /** Wanted only where others have rules in the parent, or drop by its policy: every packet of the tunnel would pay for it. */
  readonly onlyBesideOthers?: boolean;
}

/** Our chains' names, which is all that removing them takes. */
export const CHAINS = {
  prerouting: { table: 'raw', parent: 'PREROUTING', name: 'RUDDER-PREROUTING' },
  forward: { table: 'filter', parent: 'FORWARD', name: 'RUDDER-FORWARD' },
  input: { table: 'filter', parent: 'INPUT', name: 'RUDDER-INPUT' },
  output: { table: 'filter', parent: 'OUTPUT', name: 'RUDDER-OUTPUT' },
  postrouting: { table: 'nat', parent: 'POSTROUTING', name: 'RUDDER-POSTROUTING' },
} as const satisfies Record<string, Chain>;

/**
 * The mark by which kube-proxy remembers, until POSTROUTING, that the answer has to come back through this node: a pod
 * that reaches itself through its service, say. It is kube-proxy's default (`--iptables-masquerade-bit 14`).
 */
const KUBE_PROXY = '-m mark --mark 0x4000/0x4000 -j RETURN';
/** Who refuses packets on purpose: Docker's chain for the operator's own rules, and those of network policy controllers. */
export const REFUSING: readonly string[] = ['DOCKER-USER', 'KUBE-ROUTER-FORWARD', 'cali-FORWARD'];

export function ownChains(settings: FirewallSettings): OwnChain[] {
  const { devices, bareWay, tunnel, ipMasq, isTracked, uplinks } = settings;
  const own = formatSubnet(settings.subnet);
  const all = formatSubnet(settings.network);
  // What is not tracked was looked at before, its address too.
  const isAnyAddress = tunnel?.unbound === 'address';
  const local = (flag: string) => (isAnyAddress ? '' : `${flag} ${formatIpv4(settings.localAddress)}/32 `);
  const answers = '-m conntrack --ctstate RELATED,ESTABLISHED';
  const isTunnelTracked = isTracked && tunnel !== undefined;
  const toPort = `--dport ${tunnel?.port} -m conntrack --ctstate UNTRACKED -j ACCEPT`;
  const fromPort = tunnel?.unbound !== 'port' ? `--sport ${tunnel?.port} ` : '';
  const fromMember = bareWay === undefined ? [] : [`-d ${own} -i ${bareWay} ${ACCEPT_MEMBER}`];
  const toMember = bareWay === undefined ? [] : [`-s ${own} -o ${bareWay} ${ACCEPT_MEMBER}`];
  const outward = [
    ...uplinks.map((name) => `-s ${own} ! -d ${all} -o ${name} -j ACCEPT`),
    `-d ${own} ${answers} -j ACCEPT`,
  ];
  return [
    {
      ...CHAINS.prerouting,
      onlyBesideOthers: true,
      rules: [...devices.map((device) => `-s ${all} -d ${own} -i ${device} -j ACCEPT`), ...fromMember],
    },
    {
      ...CHAINS.forward,
      asks: REFUSING,
      rules: [
        ...devices.flatMap((device) => [
          `-s ${own} -d ${all} -o ${device} -j ACCEPT`,
          `-s ${all} -d ${own} -i ${device} -j ACCEPT`,
          // The ICMP error of a peer's host comes from its address in the underlay.
          ...(isTracked ? [`-d ${own} -i ${device} ${answers} -j ACCEPT`] : []),
        ]),
        ...fromMember,
        ...toMember,
        ...(ipMasq ? outward : []),
      ],
    },
    {
      ...CHAINS.input,
      onlyBesideOthers: true,
      rules: isTunnelTracked ? [`${local('-d')}-p udp -m udp ${toPort}`] : [],
    },
    {
      ...CHAINS.output,
      onlyBesideOthers: true,
      rules: isTunnelTracked ? [`${local('-s')}-p udp -m udp ${fromPort}${toPort}`] : [],
    },
    {
      ...CHAINS.postrouting,
      rules: [
        KUBE_PROXY,
        `-s ${own} -d ${own} -j RETURN`,
        ...devices.map((device) => `-s ${own} -d ${all} -o ${device} -j ACCEPT`),
        `-s ${all} -d ${own} -j ACCEPT`,
        ...(ipMasq ? [`-s ${own} ! -d 224.0.0.0/4 -j MASQUERADE`] : []),
      ],
    },
  ];
}

const appended = (chain: string, saved: string): string[] =>
  saved
    .split('\n')
    .filter((line) => line.startsWith(`-A ${chain} `))
    .map((line) => line.slice(`-A ${chain} `.length).trim());

/** Where the chain should be, and whether that is so: what the node puts right, and what `rudder doctor` tells. */
interface Place {
  readonly isWanted: boolean;
  /** What the chain should hold. */
  readonly rules: readonly string[];
  readonly jumps: number;
  /** In words; undefined: it is as it should be. */
  readonly fault: string | undefined;
}

function placeOf(chain: OwnChain, saved: string): Place {
  const { name, parent, table } = chain;
  const jump = `-j ${name}`;
  const inParent = appended(parent, saved);
  const jumps = inParent.filter((rule) => rule === jump).length;
  const isAlone = jumps === inParent.length && !saved.includes(`\n:${parent} DROP `);
  const isWanted = chain.rules.length > 0 && !(chain.onlyBesideOthers && isAlone);
  const asked = (chain.asks ?? []).filter((other) => exists(other, saved)).map((other) => `-j ${other}`);
  const rules = [...asked, ...chain.rules];
  // Who is asked anyway may come before too: he would else be fought for the first place.
  const before = inParent.find((rule) => !asked.some((one) => rule.endsWith(one)));
  const found = appended(name, saved);
  const isRight = found.length === rules.length && found.every((rule, i) => rule === rules[i]);

  function fault(): string | undefined {
    if (!isWanted) return isThere(chain, saved) ? `${name} is in table ${table}, and has no purpose there` : undefined;
    if (!isThere(chain, saved)) return `${name} is not in table ${table}`;
    if (!isRight) return `${name} in table ${table} has other rules than it was given`;
    if (jumps === 0) return `${parent} of table ${table} has no rule for ${name}`;
    if (before !== jump) return `"${before}" comes before ${name} in ${parent} of table ${table}`;
    return jumps === 1 ? undefined : `${parent} of table ${table} has ${jumps} rules for ${name}`;
  }
  return { isWanted, rules, jumps, fault: fault() };
}

/** What is not as it should be with a chain, in words; undefined: nothing. @param saved output of `iptables-save` of its table */
export const faultOf = (chain: OwnChain, saved: string) => placeOf(chain, saved).fault;

/**
 * What `iptables-restore --noflush` has to be given so that the chain is as it should be and comes first; undefined if
 * it is so already. One table is changed in one step, so no packet ever meets half of it.
 * @param saved output of `iptables-save` of that table
 */
export function repairOf(chain: OwnChain, saved: string): string | undefined {
  const { isWanted, rules, jumps, fault } = placeOf(chain, saved);
  if (fault === undefined) return undefined;
  if (!isWanted) return removalOf(chain, saved);
  const jump = `-j ${chain.name}`;
  return [
    `*${chain.table}`,
    `:${chain.name} - [0:0]`, // creates the chain, or empties it
    ...rules.map((rule) => `-A ${chain.name} ${rule}`),
    ...Array(jumps).fill(`-D ${chain.parent} ${jump}`),
    `-I ${chain.parent} 1 ${jump}`,
    'COMMIT',
    '',
  ].join('\n');
}

const exists = (name: string, saved: string) => saved.includes(`\n:${name} `);

export const isThere = ({ name }: Chain, saved: string) => exists(name, saved);

/** What takes the chain away; undefined if there is none. */
export function removalOf(chain: Chain, saved: string): string | undefined {
  if (!isThere(chain, saved)) return undefined;
  const jump = `-j ${chain.name}`;
  const jumps = appended(chain.parent, saved).filter((rule) => rule === jump).length;
  return [
    `*${chain.table}`,
    `:${chain.name} - [0:0]`,
    ...Array(jumps).fill(`-D ${chain.parent} ${jump}`),
    `-X ${chain.name}`,
    'COMMIT',
    '',
  ].join('\n');
}

/** The parts of `iptables-save`'s output by table; each begins with `*table`. A table nobody has used is not there. */
export function tablesIn(saved: string): Map<string, string> {
  const parts = saved.split(/^\*/m).slice(1);
  return new Map(parts.map((part) => [part.slice(0, part.indexOf('\n')).trim(), part]));
}
