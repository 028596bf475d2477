import type { Backend } from '../backend/backend.js';
import { messageOf } from '../core/errors.js';
import { createFaultLog } from '../core/fault.js';
import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import type { Logger } from '../core/logger.js';
import { createRepeatLimit } from '../core/rate-limit.js';
import type { HostEvents, Netlink } from '../system/netlink.js';
import { selectUnderlay, type Underlay, type UnderlayChoice } from '../system/underlay.js';

export interface HostKeeperOptions {
  readonly netlink: Netlink;
  readonly choice: UnderlayChoice;
  /** As it was when the node became ready. */
  readonly underlay: Underlay;
  readonly backend: Backend;
  /** Throws if the overlay cannot be carried over that underlay. */
  readonly check: (underlay: Underlay) => void;
  /** The tunnel's MTU over that underlay. */
  readonly mtuOver: (underlay: Underlay) => number;
  /** Tells the cluster that this host has another address. */
  readonly publish: (address: Ipv4) => void;
  /** Tells this host's Docker another MTU. */
  readonly writeEnv: () => Promise<void>;
  /** Looks whether that is still what this host's Docker is told. Throws if it is not, and cannot be. */
  readonly lookAtEnv: () => Promise<void>;
  /** What this host's routes mean for the overlay. Throws if they cut it off. */
  readonly checkRoutes: (underlay: Underlay) => Promise<void>;
  /** Tells whether there was any change that matters. */
  readonly events: HostEvents;
  readonly log: Logger;
}

export interface HostKeeper {
  underlay(): Underlay;
  /** How often the device had to be put right. */
  repairs(): number;
  /** Why this host is not as it should be at the moment; undefined: it is. */
  problem(): string | undefined;
  /** Why it cannot carry the overlay: a file that cannot be written is no matter of packets. */
  carryProblem(): string | undefined;
  /** Resolves when nothing is under way any more. */
  stop(): Promise<void>;
}

/** How often the kernel's notifications are asked after, and the subnet file, of which the kernel tells nothing... */
const CHECK_INTERVAL_MS = 1500;
/** ... and how often all is looked at without one: a notification may be lost, and an address be free again. */
const FULL_LOOK_INTERVAL_MS = 120_000;
/**
 * But where a look takes long, as among thousands of peers in the kernel's tables, it may not take more than this part of
 * the time. That is no bound of what is put right or followed, which takes as long as it takes: who changes a thing changes
 * the next.
 */
const MAX_SHARE = 1 / 20;
/** On a starved host a look takes long too, and what is broken then must not stay so. */
const MAX_REST_MS = 10_000;
/** Repairs that are told in each interval: somebody may fight for the device for ever. */
const REPAIRS_TOLD = 3;

/**
 * Looks at this host when it has changed: puts back what somebody has changed of our device, and follows the underlay to
 * another address or MTU. While something is wrong it looks all the time, since not all that heals is told.
 */
export function keepHost(options: HostKeeperOptions): HostKeeper {
  const { netlink, backend, log } = options;
  const fault = createFaultLog(log, {
    fault: ['the host is not as it was, and could not be followed', 'host.problem'],
    over: ['the host is as it should be again', 'host.restored'],
  });
  const repairLimit = createRepeatLimit(REPAIRS_TOLD);
  let underlay = options.underlay;
  // What has been done so far: what fails half way is done by a later look.
  let mtu = backend.mtu();
  let mtuCarried = mtu;
  let mtuTold = mtu;
  let addressTold = underlay.address;
  let repairs = 0;
  let followed = 0;
  let problem: string | undefined;
  let carryProblem: string | undefined;
  let stopped = false;
  let looking: Promise<void> = Promise.resolve();
  let lookedAt = Number.NEGATIVE_INFINITY;
  let timer = setTimeout(look, CHECK_INTERVAL_MS);

  function look(): void {
    // Both, whatever the first says: each tells of a change once.
    const hasChanged = [options.events.take(), backend.takeUntold?.() ?? false].includes(true);
    const isDue = hasChanged || problem !== undefined || performance.now() - lookedAt >= FULL_LOOK_INTERVAL_MS;
    const start = performance.now();
    const doneBefore = repairs + followed;
    if (isDue) lookedAt = start;
    looking = (isDue ? checkAll() : options.lookAtEnv())
      .then(
        () => {
          problem = undefined;
          fault.over();
          if (isDue) log.debug({ hasChanged, interface: underlay.name, mtu }, 'host looked at');
        },
        (error: unknown) => {
          problem = messageOf(error);
          fault.is(problem);
        },
      )
      .finally(() => {
        const rest =
          repairs + followed > doneBefore ? 0 : Math.min((performance.now() - start) / MAX_SHARE, MAX_REST_MS);
        if (!stopped) timer = setTimeout(look, Math.max(CHECK_INTERVAL_MS, rest));
      });
  }

  async function checkAll(): Promise<void> {
    const [host] = await Promise.allSettled([check()]);
    carryProblem = host.status === 'rejected' ? messageOf(host.reason) : undefined;
    const [env] = await Promise.allSettled([tellMtu().then(options.lookAtEnv)]);
    for (const result of [host, env]) if (result.status === 'rejected') throw result.reason;
  }

  async function check(): Promise<void> {
    const [repaired] = await Promise.allSettled([backend.repair()]);
    if (repaired.status === 'fulfilled') tellRepair(repaired.value);
    // Also after one that failed: what it leads out by may be gone, and another interface be there instead.
    const [result] = await Promise.allSettled([selectUnderlay(netlink, options.choice, underlay.address).then(follow)]);
    // Being cut off is the better explanation of an underlay that is not found.
    await options.checkRoutes(underlay);
    if (repaired.status === 'rejected') {
      if (result.status === 'rejected') throw repaired.reason;
      // The former underlay may be all that it failed for.
      tellRepair(await backend.repair());
    } else if (result.status === 'rejected') throw result.reason;
  }

  function tellRepair(found: string | undefined): void {
    if (found === undefined) return;
    repairs++;
    repairLimit((suppressed) =>
      log.warn(
        { found, repairs, suppressed },
        'the overlay device or its routes were not as they have to be: put right',
        'device.repaired',
      ),
    );
  }

  async function follow(next: Underlay): Promise<void> {
    if (next.mtu !== underlay.mtu || next.address !== underlay.address) followed++;
    options.check(next);
    // Only then: it warns of an MTU that is too large.
    if (next.mtu !== underlay.mtu) mtu = options.mtuOver(next);
    underlay = next;
    await backend.adapt({ interface: next.name, localAddress: next.address, mtu });
    mtuCarried = mtu;
    if (next.address !== addressTold) {
      log.warn(
        { interface: next.name, address: formatIpv4(next.address) },
        'the underlay has another address: followed',
        'host.followed',
      );
      options.publish(next.address);
      addressTold = next.address;
    }
  }

  async function tellMtu(): Promise<void> {
    if (mtuCarried === mtuTold) return;
    await options.writeEnv();
    log.warn({ interface: underlay.name, mtu }, 'the underlay has another MTU: followed', 'host.followed');
    mtuTold = mtuCarried;
  }

  return {
    underlay: () => underlay,
    repairs: () => repairs,
    problem: () => problem,
    carryProblem: () => carryProblem,
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await looking;
      options.events.close();
    },
  };
}
