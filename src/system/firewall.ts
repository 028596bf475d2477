import { setTimeout as delay } from 'node:timers/promises';
import { messageOf, RudderError } from '../core/errors.js';
import { createFaultLog } from '../core/fault.js';
import type { Logger } from '../core/logger.js';
import { createOneAtATime } from '../core/one-at-a-time.js';
import { createRepeatLimit } from '../core/rate-limit.js';
import { isNotInstalled } from './command.js';
import { forgetDatagrams, isTracking } from './conntrack.js';
import { type FirewallSettings, ownChains } from './firewall-rules.js';
import { type Forwarding, watchForwarding } from './forwarding-watch.js';
import { isInNfTables, removeChains, setChains } from './iptables.js';
import type { Netlink } from './netlink.js';
import type { Members } from './nft-rules.js';
import { createNftTable, isNftTableThere, removeNftTable } from './nft-table.js';

export interface FirewallRemoval {
  /** Whether there were any. */
  readonly isRemoved: boolean;
  /** Of these nothing is known, since they are not installed: their rules would be in the kernel all the same. */
  readonly missing: readonly ('iptables' | 'nft')[];
}

/** Removes our rules, whoever made them, as far as they can be looked at. @throws RudderError `firewall` */
export async function removeFirewall(): Promise<FirewallRemoval> {
  const missing: FirewallRemoval['missing'][number][] = [];
  let isRemoved = false;
  const removed = await Promise.allSettled([removeChains(), removeNftTable()]);
  for (const [i, result] of removed.entries()) {
    if (result.status === 'fulfilled') isRemoved ||= result.value;
    else if (isNotInstalled(result.reason)) missing.push(i === 0 ? 'iptables' : 'nft');
    else {
      throw new RudderError(
        'firewall',
        `cannot remove the firewall rules: ${messageOf(result.reason)}; run as root, or leave them with --no-firewall`,
        { cause: result.reason },
      );
    }
  }
  return { isRemoved, missing };
}

/** Docker rewrites its rules when it starts, administrators flush them. The kernel is asked this often for changes... */
const ASK_INTERVAL_MS = 1000;
/** ... and where it cannot tell, the rules themselves are looked at, which starts processes. */
const LOOK_INTERVAL_MS = 3000;
/**
 * But where a look takes long, as among very many rules, it may not take more than this part of the time. That is no bound
 * of what is put back: who changes rules, as Docker does when it starts, changes the next.
 */
const MAX_SHARE = 1 / 20;
/** On a starved host a look takes long too, and what is gone there must be back soon as well. */
const MAX_REST_MS = 5000;
/** Whether packets pass is judged this often, also if nobody asks. */
const JUDGE_INTERVAL_MS = 30_000;
export interface FirewallState {
  /** How often the rules were looked at. */
  readonly checks: number;
  /** How often they had to be put back. */
  readonly repairs: number;
  /** What kept us from looking the last time, if anything did. */
  readonly problem: string | undefined;
  /** What the rules are made of at the moment. */
  readonly settings: FirewallSettings;
}

export interface Firewall {
  /** Whether our chains are of this run, and not of an earlier one. */
  readonly isNew: boolean;
  state(): FirewallState;
  /** Resolves when datagrams between these members and us are kept from connection tracking, or cannot be. */
  addMembers(members: Members): Promise<void>;
  removeMembers(members: Members): Promise<void>;
  /** Makes these the members, and those alone. */
  replaceMembers(members: Members): Promise<void>;
  /** The host has another address, other ways to other hosts, or now answers other nodes. */
  adapt(
    change: Partial<Pick<FirewallSettings, 'localAddress' | 'uplinks' | 'devices' | 'bareWay' | 'asked'>>,
  ): Promise<void>;
  /** Whether packets of containers pass this host; undefined: nobody knows. */
  forwarding(): Promise<Forwarding | undefined>;
  /** Resolves when nothing is under way any more. The rules stay. */
  stop(): Promise<void>;
}

/**
 * Sets the rules and keeps them until the signal is aborted or stop() is called. A host without iptables or nft is told
 * so and runs on: it may have no Docker either.
 */
export async function keepFirewall(
  initial: Omit<FirewallSettings, 'isTracked'>,
  members: Members,
  netlink: Pick<Netlink, 'rulesGeneration' | 'deleteConntrack'>,
  log: Logger,
  signal: AbortSignal,
): Promise<Firewall> {
  const stopping = new AbortController();
  const abort = () => stopping.abort();
  signal.addEventListener('abort', abort);
  if (signal.aborted) abort();

  const fault = createFaultLog(log, {
    fault: [
      'the firewall cannot be kept: overlay traffic may be dropped, translated or taken by containers; install iptables and nftables, or run with --no-firewall',
      'firewall.problem',
    ],
    over: ['the firewall is kept again', 'firewall.restored'],
  });
  const repairLimit = createRepeatLimit();
  const oneAtATime = createOneAtATime();
  const oneLook = createOneAtATime();
  // Masquerading tracks by itself.
  let settings: FirewallSettings = { ...initial, isTracked: initial.ipMasq || (await isTracking()) };
  const table = createNftTable(settings, members, stopping.signal);
  const forwarding = watchForwarding(table, log);
  let isNew = false;
  /** The rules that the next look finds are of other settings. */
  let isAdapted = false;
  let isNumbered: boolean | undefined;
  let checks = 0;
  let repairs = 0;
  let problem: string | undefined;
  /** The rules' generation that was found right; undefined: it has no number, or was not. */
  let seen: number | undefined;
  /** As of the last look: whether what was judged was judged by the same rules. */
  let lastSaved: string | undefined;
  let lastGeneration: number | undefined;

  const generation = () => netlink.rulesGeneration().catch(() => undefined);

  /** Looks, and puts right what is wrong: a change too, which is looked at again. */
  async function look(): Promise<void> {
    seen = undefined;
    const isFirst = checks === 0;
    const start = performance.now();
    try {
      // Before the look: what changes meanwhile is seen by the next one.
      const current = await generation();
      const wasThere = isFirst && (await isNftTableThere().catch(() => false));
      const [chains, own] = await Promise.allSettled([lookAtChains(), oneAtATime(table.look)]);
      for (const result of [own, chains]) if (result.status === 'rejected') throw result.reason;
      const found = chains.status === 'fulfilled' && chains.value.found;
      const changed =
        (chains.status === 'fulfilled' && chains.value.changed) || (own.status === 'fulfilled' && own.value);
      // What others have there: the older tables have no generation.
      const saved = chains.status === 'fulfilled' ? chains.value.saved : undefined;
      // The first time they are not put back, but set.
      if (isFirst) isNew = !found && !wasThere;
      else if (changed && !isAdapted) {
        repairs++;
        // A container may have got an entry for the tunnel in between.
        void forget(table.members());
        repairLimit((suppressed) =>
          log.warn({ repairs, suppressed }, 'firewall rules were missing or not first: put back', 'firewall.repaired'),
        );
      }
      isAdapted = false;
      checks++;
      problem = undefined;
      fault.over();
      log.debug(
        { generation: current, changed, ms: Math.round(performance.now() - start) },
        'firewall rules looked at',
      );
      if (isNumbered) seen = current;
      if (changed || saved !== lastSaved || current !== lastGeneration) await forwarding.forget();
      lastSaved = saved;
      lastGeneration = current;
    } catch (error) {
      if (stopping.signal.aborted) return;
      problem = messageOf(error);
      fault.is(problem);
    }
  }

  async function lookAtChains() {
    isNumbered ??= await isInNfTables(stopping.signal);
    return setChains(ownChains(settings), stopping.signal);
  }

  /** A change of our own need not be looked at again, if it was the only one. */
  async function changeTable(change: () => Promise<void>): Promise<void> {
    const before = seen === undefined ? undefined : await generation();
    await change().catch((error: unknown) => {
      problem = messageOf(error);
    });
    const after = before === undefined ? undefined : await generation();
    const isOnlyOurs = after !== undefined && before === seen && after === before! + 1;
    if (isOnlyOurs) lastGeneration = after;
    seen = isOnlyOurs ? after : undefined;
  }

  async function adapt(change: Partial<FirewallSettings>): Promise<void> {
    if (JSON.stringify({ ...settings, ...change }) === JSON.stringify(settings)) return;
    // What others have changed up to now is put back, and told; what is found from here on is of the former settings.
    await oneLook(look);
    settings = { ...settings, ...change };
    isAdapted = true;
    await oneAtATime(() => changeTable(() => table.adapt(settings)));
    await oneLook(look);
  }

  async function keep(): Promise<void> {
    let rest = 0;
    let judged = performance.now();
    for (;;) {
      const interval = seen === undefined ? LOOK_INTERVAL_MS : ASK_INTERVAL_MS;
      await delay(Math.max(interval, rest), undefined, { signal: stopping.signal });
      rest = 0;
      if (performance.now() - judged > JUDGE_INTERVAL_MS) {
        judged = performance.now();
        await forwarding.now();
      }
      // Others may begin to track at any time, Docker when it starts. From then on our own rules keep it up.
      if (!settings.isTracked && (await isTracking())) await adapt({ isTracked: true });
      if (seen !== undefined && (await generation()) === seen) continue;
      const start = performance.now();
      const repairsBefore = repairs;
      await oneLook(look);
      if (repairs === repairsBefore) rest = Math.min((performance.now() - start) / MAX_SHARE, MAX_REST_MS);
    }
  }

  /** Entries of before: they are not looked up any more, but would be again when our rules are gone. */
  async function forget({ direct, portMapped }: Members): Promise<void> {
    const { localAddress, tunnel } = settings;
    // VXLAN's datagrams come from any port: none of theirs can be named.
    if (tunnel === undefined || tunnel.vni !== undefined) return;
    await forgetDatagrams(netlink, localAddress, [...direct, ...portMapped], tunnel.port, stopping.signal);
  }

  await look();
  void forget(members);
  const keeping = keep().catch(() => undefined); // the signal's reason
  return {
    isNew,
    state: () => ({ checks, repairs, problem, settings }),
    async addMembers(some) {
      await oneAtATime(() => changeTable(() => table.addMembers(some)));
      void forget(some);
    },
    removeMembers: (some) => oneAtATime(() => changeTable(() => table.removeMembers(some))),
    replaceMembers: (all) => oneAtATime(() => changeTable(() => table.replaceMembers(all))),
    adapt,
    forwarding: forwarding.now,
    async stop() {
      signal.removeEventListener('abort', abort);
      abort();
      await keeping;
    },
  };
}
