import { execFile } from 'node:child_process';
import { errnoOf, messageOf, RudderError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import { createRepeatLimit } from '../core/rate-limit.js';
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
const CHAINS = [
  { table: 'filter', parent: 'FORWARD', name: 'RUDDER-FORWARD' },
  { table: 'nat', parent: 'POSTROUTING', name: 'RUDDER-POSTROUTING' },
] as const;

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

const isThere = ({ name }: Chain, saved: string) => saved.includes(`\n:${name} `);

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

/** How long another program may hold the tables' lock, and how long a call may take at all. */
const LOCK_SECONDS = 5;
const CALL_TIMEOUT_MS = 10_000;
/** kube-proxy's rules for some thousands of services are megabytes. */
const MOST_OUTPUT_BYTES = 256 * 1024 * 1024;

/** Runs a command to its end and returns its output. @throws with what it said on stderr, its cause is what failed */
function call(command: string, args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const limits = { timeout: CALL_TIMEOUT_MS, maxBuffer: MOST_OUTPUT_BYTES };
    const child = execFile(command, args, limits, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout);
      const reason = errnoOf(error) === 'ENOENT' ? 'it is not installed' : stderr || error.message;
      reject(new Error(`${command}: ${messageOf(reason.trim())}`, { cause: error }));
    });
    child.stdin?.on('error', () => undefined); // it ended without reading: its exit status says why
    child.stdin?.end(input);
  });
}

interface Change {
  /** Whether anything was not as it should be. */
  readonly changed: boolean;
  /** Whether any of our chains was there before. */
  readonly found: boolean;
}

/** Looks at all tables and changes what is not as it should be. */
async function change<C extends Chain>(
  chains: readonly C[],
  changeOf: (chain: C, saved: string) => string | undefined,
): Promise<Change> {
  const tables = tablesIn(await call('iptables-save', []));
  const savedOf = ({ table }: Chain) => tables.get(table) ?? '';
  const inputs = chains.flatMap((chain) => changeOf(chain, savedOf(chain)) ?? []);
  if (inputs.length > 0) await call('iptables-restore', ['--noflush', '--wait', String(LOCK_SECONDS)], inputs.join(''));
  return { changed: inputs.length > 0, found: chains.some((chain) => isThere(chain, savedOf(chain))) };
}

/** The parts of `iptables-save`'s output by table; each begins with `*table`. A table nobody has used is not there. */
export function tablesIn(saved: string): Map<string, string> {
  const parts = saved.split(/^\*/m).slice(1);
  return new Map(parts.map((part) => [part.slice(0, part.indexOf('\n')).trim(), part]));
}

/** Removes our chains, whoever made them. A host without iptables has none. @throws RudderError `firewall` */
export async function removeFirewall(): Promise<void> {
  try {
    await change<Chain>(CHAINS, removalOf);
  } catch (error) {
    if (errnoOf((error as Error).cause) === 'ENOENT') return;
    throw new RudderError(
      'firewall',
      `cannot remove the firewall rules: ${messageOf(error)}; run as root, or leave them with --no-firewall`,
      { cause: error },
    );
  }
}

/** Docker rewrites its rules when it starts, administrators flush them: rules are looked at this often. */
const CHECK_INTERVAL_MS = 3000;
/** But where a look takes long, as among very many rules, it may not take more than this part of the time. */
const MOST_OF_THE_TIME = 1 / 20;

export interface FirewallState {
  /** How often the rules were looked at. */
  readonly checks: number;
  /** How often they had to be put back. */
  readonly repairs: number;
  /** What kept us from looking the last time, if anything did. */
  readonly problem: string | undefined;
}

export interface Firewall {
  /** Whether our chains are of this run, and not of an earlier one. */
  readonly isNew: boolean;
  state(): FirewallState;
  /** Resolves when nothing is under way any more. The rules stay. */
  stop(): Promise<void>;
}

/** Sets the rules and keeps them. A host without iptables is told so and runs on: it may have no Docker either. */
export async function keepFirewall(settings: FirewallSettings, log: Logger): Promise<Firewall> {
  const chains = ownChains(settings);
  const limit = createRepeatLimit();
  const repairLimit = createRepeatLimit();
  let isNew = false;
  let checks = 0;
  let repairs = 0;
  let problem: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  let checking = check();

  async function check(): Promise<void> {
    const start = performance.now();
    try {
      const { changed, found } = await change(chains, repairOf);
      // The first time they are not put back, but set.
      if (checks === 0) isNew = !found;
      else if (changed) {
        repairs++;
        repairLimit((suppressed) =>
          log.warn({ repairs, suppressed }, 'firewall rules were missing or not first: put back'),
        );
      }
      checks++;
      problem = undefined;
    } catch (error) {
      problem = messageOf(error);
      limit((suppressed) =>
        log.warn(
          { reason: problem, suppressed },
          'the firewall cannot be kept: overlay traffic may be dropped or translated; install iptables, or run with --no-firewall',
        ),
      );
    }
    if (stopped) return;
    const rest = Math.max(CHECK_INTERVAL_MS, (performance.now() - start) / MOST_OF_THE_TIME);
    timer = setTimeout(() => {
      checking = check();
    }, rest);
  }

  await checking;
  return {
    isNew,
    state: () => ({ checks, repairs, problem }),
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await checking;
    },
  };
}
