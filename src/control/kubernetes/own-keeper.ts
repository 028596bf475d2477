import type { RudderError } from '../../core/errors.js';
import { messageOf } from '../../core/errors.js';
import { formatIpv4, type Ipv4 } from '../../core/ipv4.js';
import type { NodeReach } from '../../core/lease.js';
import type { Logger } from '../../core/logger.js';
import { createRepeatLimit } from '../../core/rate-limit.js';
import { formatSubnet } from '../../core/subnet.js';
import { createBackoff } from '../backoff.js';
import { bootNow } from '../boot-clock.js';
import type { Keeping, OwnKey } from '../membership.js';
import { GONE, type Wanted } from './condition.js';
import { type NodeFacts, podSubnetOf } from './node-facts.js';
import {
  addressFor,
  createOverwriteLog,
  type OwnNodeOptions,
  reachAt,
  readOwnNode,
  renumbered,
  saysAll,
  takeBack,
  type WantedNode,
  writeOwnNode,
} from './own-node.js';

export interface OwnKeeperOptions extends OwnNodeOptions {
  readonly keeping: Pick<Keeping, 'config' | 'identity' | 'own' | 'degraded' | 'fallback'>;
  /** As it was joined; undefined: it was not seen yet. */
  readonly joinedAs: NodeFacts | undefined;
  readonly condition: () => Wanted | undefined;
  readonly log: Logger;
  /** Peers are to send to another address than before. */
  onAddress(): void;
  /** The Node has another subnet: our claim has ended. */
  onLost(error: RudderError): void;
}

export interface OwnKeeper {
  /** The own Node as a list or the watch has it; undefined: there is none. */
  seen(node: NodeFacts | undefined): void;
  publish(reach: Partial<Pick<NodeReach, 'publicIp' | 'backend'>>): void;
  /** Something else is to be written. */
  mend(): void;
  ownKey(): OwnKey;
  problem(): string | undefined;
  recoveries(): number;
  answeredAt(): number | undefined;
  publicIp(): Ipv4;
  uid(): string;
  stop(): void;
  /** Takes the annotations back, and says that no packets flow. */
  giveBack(): Promise<void>;
}

/** Somebody who writes the same annotations wins or loses at this rate: neither shall fill the API's store. */
const FIRST_REST_MS = 250;
const LONGEST_REST_MS = 60_000;
/** Who has left them alone for so long fights no more. */
const PEACE_MS = 120_000;

/**
 * Keeps the own Node: its annotations say how we are reached, and its condition whether packets flow. One write at a time,
 * each compared with what was seen.
 */
export function keepOwnNode(options: OwnKeeperOptions): OwnKeeper {
  const { keeping, name, log } = options;
  const { config, own, fallback } = keeping;
  const stopped = new AbortController();
  const limit = createRepeatLimit();
  const fightLimit = createRepeatLimit();
  const tellOverwrite = createOverwriteLog(log);
  const rest = createBackoff(FIRST_REST_MS, LONGEST_REST_MS);
  let { identity } = keeping;
  let uid = String(own.holding.uid);
  let node = options.joinedAs;
  let isKnown = node !== undefined;
  let publicIp =
    node === undefined
      ? (fallback?.publicIp ?? identity.publicIp)
      : addressFor(node, identity.publicIp, config).address;
  let recoveries = 0;
  let problem: string | undefined;
  let answeredAt: number | undefined;
  /** What was last written, and when: to see that somebody has undone it. */
  let written: { readonly text: string; readonly at: number } | undefined;
  let mending: Promise<void> | undefined;
  let mustLook = false;

  function look(next: NodeFacts | undefined): void {
    isKnown = true;
    if (next === undefined) {
      if (node !== undefined || keeping.degraded !== undefined) {
        log.warn({ node: name }, 'the own Node is gone from Kubernetes', 'lease.lost');
      }
      node = undefined;
      return;
    }
    const subnet = podSubnetOf(next);
    // A Node made anew has no podCIDR for a moment: whose packets ours are then is not decided.
    if (subnet !== undefined && formatSubnet(subnet) !== formatSubnet(own.subnet)) {
      stop();
      options.onLost(renumbered(name, own.subnet, subnet));
      return;
    }
    if (subnet !== undefined && next.uid !== uid) {
      uid = next.uid;
      recoveries++;
      log.warn(
        { node: name, subnet: formatSubnet(subnet) },
        'the own Node was made anew, with the same podCIDR',
        'lease.restored',
      );
    }
    node = next;
    follow(next);
  }

  /** An operator's wish, which may change at any time. */
  function follow(next: NodeFacts): void {
    const { address, problem: ignored } = addressFor(next, identity.publicIp, config);
    tellOverwrite(ignored);
    if (address === publicIp) return;
    publicIp = address;
    log.info({ publicIp: formatIpv4(address) }, 'peers are told another address');
    options.onAddress();
  }

  const wanted = (): WantedNode => ({
    annotations: reachAt(identity, publicIp),
    condition: options.condition(),
  });

  const isTaken = () => node !== undefined && node.podCidrs.length > 0;
  const isDone = () => !isTaken() || saysAll(wanted(), node!);

  function mend(): void {
    if (stopped.signal.aborted || !isKnown || (isDone() && !mustLook)) return;
    mending ??= mendUntilDone().finally(() => {
      mending = undefined;
      mend();
    });
  }

  async function mendUntilDone(): Promise<void> {
    const backoff = createBackoff(100, 5000);
    await giveWay();
    while (!stopped.signal.aborted && (mustLook || !isDone())) {
      try {
        if (mustLook) {
          look(await readOwnNode(options));
          mustLook = false;
        }
        // What it said before: a look may have changed it.
        if (stopped.signal.aborted || isDone()) break;
        const asked = wanted();
        const now = await writeOwnNode(options, asked, node!);
        answeredAt = bootNow();
        problem = undefined;
        if (now === undefined) mustLook = true;
        else {
          written = { text: JSON.stringify(asked), at: performance.now() };
          look(now);
          log.debug({ node: name }, 'what the node says of itself is written');
        }
      } catch (error) {
        problem = messageOf(error);
        limit((suppressed) => log.warn({ reason: problem, suppressed }, 'the own Node could not be written'));
      }
      if (!isDone() || mustLook) await backoff.wait(stopped.signal).catch(() => undefined);
    }
    if (isDone()) problem = undefined;
  }

  /** Before the same is written again: somebody has undone it. */
  async function giveWay(): Promise<void> {
    if (written === undefined || written.text !== JSON.stringify(wanted())) return;
    if (performance.now() - written.at > PEACE_MS) rest.reset();
    fightLimit((suppressed) =>
      log.warn({ node: name, suppressed }, 'somebody has changed what the own Node says of this node: written again'),
    );
    await rest.wait(stopped.signal).catch(() => undefined);
  }

  function stop(): void {
    stopped.abort();
  }

  return {
    seen(next) {
      // A list or an event that is older than what we have written would have us write again; its version tells no order.
      if (mending !== undefined) {
        mustLook = true;
        return;
      }
      look(next);
      mend();
    },
    publish(reach) {
      identity = { ...identity, ...reach };
      if (node !== undefined) follow(node);
      else publicIp = identity.publicIp;
      mend();
    },
    mend,
    ownKey() {
      if (!isKnown) return fallback?.keyDiffers ? 'differs' : 'written';
      if (!isTaken()) return 'gone';
      return saysAll({ annotations: wanted().annotations }, node!) ? 'written' : 'differs';
    },
    problem: () => problem,
    recoveries: () => recoveries,
    answeredAt: () => answeredAt,
    publicIp: () => publicIp,
    uid: () => uid,
    stop,
    async giveBack() {
      await mending;
      // Only one that we have said: another one is somebody else's.
      const condition = options.condition() && GONE;
      await takeBack(options, () => ({ condition }));
    },
  };
}
