import { execFile } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { errnoOf, messageOf, RudderError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import { createRepeatLimit } from '../core/rate-limit.js';
import {
  CHAINS,
  type Chain,
  type FirewallSettings,
  isThere,
  ownChains,
  removalOf,
  repairOf,
  tablesIn,
} from './firewall-rules.js';
import type { Netlink } from './netlink.js';

/** How long another program may hold the tables' lock, and how long a call may take at all. */
const LOCK_SECONDS = 5;
const CALL_TIMEOUT_MS = 10_000;
/** kube-proxy's rules for some thousands of services are megabytes. */
const MOST_OUTPUT_BYTES = 256 * 1024 * 1024;

interface CallOptions {
  readonly input?: string;
  /** Ends the command: each table is changed in one step, or not at all. */
  readonly signal?: AbortSignal;
}

/** Runs a command to its end and returns its output. @throws with what it said on stderr, its cause is what failed */
function call(command: string, args: readonly string[], { input = '', signal }: CallOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    const limits = { timeout: CALL_TIMEOUT_MS, maxBuffer: MOST_OUTPUT_BYTES, signal };
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
  signal?: AbortSignal,
): Promise<Change> {
  const tables = tablesIn(await call('iptables-save', [], { signal }));
  const savedOf = ({ table }: Chain) => tables.get(table) ?? '';
  const inputs = chains.flatMap((chain) => changeOf(chain, savedOf(chain)) ?? []);
  if (inputs.length > 0) {
    const options = { input: inputs.join(''), signal };
    await call('iptables-restore', ['--noflush', '--wait', String(LOCK_SECONDS)], options);
  }
  return { changed: inputs.length > 0, found: chains.some((chain) => isThere(chain, savedOf(chain))) };
}

/** Whether the rules are in nf_tables, where the kernel numbers changes, and not in its older tables. */
async function areNumbered(signal: AbortSignal): Promise<boolean> {
  return (await call('iptables-save', ['--version'], { signal })).includes('(nf_tables)');
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

/** Docker rewrites its rules when it starts, administrators flush them. The kernel is asked this often for changes... */
const ASK_INTERVAL_MS = 1000;
/** ... and where it cannot tell, the rules themselves are looked at, which starts a process. */
const LOOK_INTERVAL_MS = 3000;
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

/**
 * Sets the rules and keeps them until the signal is aborted or stop() is called. A host without iptables is told so and
 * runs on: it may have no Docker either.
 */
export async function keepFirewall(
  settings: FirewallSettings,
  netlink: Pick<Netlink, 'rulesGeneration'>,
  log: Logger,
  signal: AbortSignal,
): Promise<Firewall> {
  const chains = ownChains(settings);
  const limit = createRepeatLimit();
  const repairLimit = createRepeatLimit();
  let isNew = false;
  let isNumbered: boolean | undefined;
  let checks = 0;
  let repairs = 0;
  let problem: string | undefined;
  /** The rules' generation that was found right; undefined: it has no number, or was not. */
  let seen: number | undefined;
  const stopping = new AbortController();
  const abort = () => stopping.abort();
  signal.addEventListener('abort', abort);
  if (signal.aborted) abort();

  const generation = () => netlink.rulesGeneration().catch(() => undefined);

  /** Looks, and puts right what is wrong: a change too, which is looked at again. */
  async function look(): Promise<void> {
    seen = undefined;
    try {
      isNumbered ??= await areNumbered(stopping.signal);
      // Before the look: what changes meanwhile is seen by the next one.
      const current = isNumbered ? await generation() : undefined;
      const result = await change(chains, repairOf, stopping.signal);
      // The first time they are not put back, but set.
      if (checks === 0) isNew = !result.found;
      else if (result.changed) {
        repairs++;
        repairLimit((suppressed) =>
          log.warn({ repairs, suppressed }, 'firewall rules were missing or not first: put back'),
        );
      }
      checks++;
      problem = undefined;
      seen = current;
    } catch (error) {
      if (stopping.signal.aborted) return;
      problem = messageOf(error);
      limit((suppressed) =>
        log.warn(
          { reason: problem, suppressed },
          'the firewall cannot be kept: overlay traffic may be dropped or translated; install iptables, or run with --no-firewall',
        ),
      );
    }
  }

  async function keep(): Promise<void> {
    let rest = 0;
    for (;;) {
      const interval = seen === undefined ? LOOK_INTERVAL_MS : ASK_INTERVAL_MS;
      await delay(Math.max(interval, rest), undefined, { signal: stopping.signal });
      rest = 0;
      if (seen !== undefined && (await generation()) === seen) continue;
      const start = performance.now();
      await look();
      rest = (performance.now() - start) / MOST_OF_THE_TIME;
    }
  }

  await look();
  const keeping = keep().catch(() => undefined); // the signal's reason
  return {
    isNew,
    state: () => ({ checks, repairs, problem }),
    async stop() {
      signal.removeEventListener('abort', abort);
      abort();
      await keeping;
    },
  };
}
