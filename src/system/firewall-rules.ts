import { formatSubnet, type Subnet } from '../core/subnet.js';

/**
 * Keeps Docker from translating and dropping overlay traffic. Docker masquerades all that leaves its bridge and, where
 * it turned forwarding on itself, drops what it did not start. An accept in an nft table of our own would stop neither:
 * every base chain of a hook has its say. So our rules are in the tables that Docker uses, by the `iptables` that
 * Docker finds too, and come first:
 *
 *     filter FORWARD      -> RUDDER-FORWARD      accept between our subnet and the overlay
 *     nat    POSTROUTING  -> RUDDER-POSTROUTING  accept (which in nat means: translate no more) within the overlay,
 *                                                but for what kube-proxy has marked as its own to masquerade
 */
export interface FirewallSettings {
  readonly device: string;
  readonly network: Subnet;
  /** Our own subnet. */
  readonly subnet: Subnet;
  /** Also masquerade what our containers send to the outside, and let it pass. */
  readonly ipMasq: boolean;
}

/** One of our chains, and the built-in chain that jumps to it. */
export interface Chain {
  readonly table: 'filter' | 'nat';
  readonly parent: 'FORWARD' | 'POSTROUTING';
  readonly name: string;
}

export interface OwnChain extends Chain {
  /** As `iptables-save` prints them. */
  readonly rules: readonly string[];
}

/** Our chains' names, which is all that removing them takes. */
export const CHAINS: readonly [Chain, Chain] = [
  { table: 'filter', parent: 'FORWARD', name: 'RUDDER-FORWARD' },
  { table: 'nat', parent: 'POSTROUTING', name: 'RUDDER-POSTROUTING' },
];

/**
 * The mark by which kube-proxy remembers, until POSTROUTING, that the answer has to come back through this node: a pod
 * that reaches itself through its service, say. It is kube-proxy's default (`--iptables-masquerade-bit 14`).
 */
const KUBE_PROXY = '-m mark --mark 0x4000/0x4000 -j RETURN';

export function ownChains({ device, network, subnet, ipMasq }: FirewallSettings): OwnChain[] {
  const own = formatSubnet(subnet);
  const all = formatSubnet(network);
  const outward = [`-s ${own} ! -d ${all} -j ACCEPT`, `-d ${own} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`];
  return [
    {
      ...CHAINS[0],
      rules: [`-s ${own} -o ${device} -j ACCEPT`, `-d ${own} -i ${device} -j ACCEPT`, ...(ipMasq ? outward : [])],
    },
    {
      ...CHAINS[1],
      rules: [
        KUBE_PROXY,
        `-s ${all} -d ${all} -j ACCEPT`,
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

/**
 * What `iptables-restore --noflush` has to be given so that the chain is as it should be and comes first; undefined if
 * it is so already. One table is changed in one step, so no packet ever meets half of it.
 * @param saved output of `iptables-save` of that table
 */
export function repairOf(chain: OwnChain, saved: string): string | undefined {
  const jump = `-j ${chain.name}`;
  const inParent = appended(chain.parent, saved);
  const jumps = inParent.filter((rule) => rule === jump).length;
  const rules = appended(chain.name, saved);
  const isRight = rules.length === chain.rules.length && rules.every((rule, i) => rule === chain.rules[i]);
  if (isRight && jumps === 1 && inParent[0] === jump) return undefined;
  return [
    `*${chain.table}`,
    `:${chain.name} - [0:0]`, // creates the chain, or empties it
    ...chain.rules.map((rule) => `-A ${chain.name} ${rule}`),
    ...Array(jumps).fill(`-D ${chain.parent} ${jump}`),
    `-I ${chain.parent} 1 ${jump}`,
    'COMMIT',
    '',
  ].join('\n');
}

export const isThere = ({ name }: Chain, saved: string) => saved.includes(`\n:${name} `);

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
