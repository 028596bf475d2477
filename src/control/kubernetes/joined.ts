import { setImmediate } from 'node:timers/promises';
import { messageOf } from '../../core/errors.js';
import { inTurns } from '../../core/in-turns.js';
import type { Lease } from '../../core/lease.js';
import type { Logger } from '../../core/logger.js';
import { createContact } from '../contact.js';
import { createLoss } from '../loss.js';
import type { IgnoredLease, Joined, Keeping } from '../membership.js';
import { createPeerList } from '../peer-list.js';
import { type Candidate, createPeers } from '../peers.js';
import { lastWord, unlessAborted } from '../retry.js';
import { attributesOf, peerLeaseOf } from './annotations.js';
import type { KubernetesApi } from './api.js';
import { createNetworkCondition } from './condition.js';
import { followConfigFile, withPodSubnets } from './config-file.js';
import { followNodes } from './follow.js';
import type { NodeFacts } from './node-facts.js';
import type { Timing } from './options.js';
import { keepOwnNode } from './own-keeper.js';

export interface JoinedOptions extends Keeping {
  readonly api: KubernetesApi;
  readonly name: string;
  readonly prefix: string;
  readonly netConfigPath: string;
  readonly setNetworkUnavailable: boolean;
  readonly timing: Timing;
  /** The own Node as it was joined; undefined: it was not seen yet. */
  readonly joinedAs: NodeFacts | undefined;
  readonly log: Logger;
}

/** One loop follows all Nodes; what it says of our own one is kept, and the file of the network config followed beside it. */
export function keepJoined(options: JoinedOptions): Joined {
  const { config, own, fallback, degraded, problemOf, name, timing, log } = options;
  const stopped = new AbortController();
  const { lost, isLost, lose } = createLoss();
  const peers = createPeerList(options.onPeers);
  const ignored = new Map<string, IgnoredLease>();
  const contact = createContact(degraded, options.onCurrent);
  const condition = createNetworkCondition(options.setNetworkUnavailable, timing.graceMs, () => keeper.mend());
  const keeper = keepOwnNode({
    ...options,
    keeping: options,
    condition: condition.wanted,
    onAddress: () => options.onCurrent(contact.state(undefined).isCurrent),
    onLost: lose,
  });
  const set = createPeers({
    known: fallback?.peers ?? [],
    skipping: 'skipping a Node that is no peer',
    log,
    onPeers: peers.changed,
    onIgnored(key, lease) {
      if (lease === undefined) ignored.delete(key);
      else ignored.set(key, lease);
    },
  });

  /** Undefined: no node of an overlay runs there. */
  function toCandidate(node: NodeFacts): Candidate | undefined {
    const lease = peerLeaseOf(config, node);
    if (lease === undefined) return undefined;
    const problem = 'problem' in lease ? lease.problem : problemOf(lease);
    const of = { name: node.name, version: node.resourceVersion };
    if (problem === undefined) return { ...of, verdict: lease as Lease, says: lease as Lease };
    const attributes = attributesOf(node);
    return { ...of, verdict: { problem }, says: 'problem' in attributes ? { host: node.name } : attributes };
  }

  async function candidatesOf(nodes: readonly NodeFacts[]): Promise<Candidate[]> {
    const candidates: Candidate[] = [];
    await inTurns(nodes, (some) => {
      for (const node of some) {
        const candidate = node.name === name ? undefined : toCandidate(node);
        if (candidate !== undefined) candidates.push(candidate);
      }
    });
    return candidates;
  }

  const listed = new Promise<void>((resolve) => {
    const following = {
      ...options,
      silenceMs: timing.silenceMs,
      async listed(nodes: readonly NodeFacts[]) {
        const candidates = await candidatesOf(nodes);
        await setImmediate();
        if (!stopped.signal.aborted) set.replaceAll(candidates);
        await setImmediate();
        if (stopped.signal.aborted) return;
        keeper.seen(nodes.find((node) => node.name === name));
        resolve();
      },
      changed(node: NodeFacts) {
        if (node.name === name) return keeper.seen(node);
        const candidate = toCandidate(node);
        if (candidate === undefined) set.remove(node.name);
        else set.put(candidate);
      },
      deleted(node: NodeFacts) {
        if (node.name === name) keeper.seen(undefined);
        else set.remove(node.name);
      },
      onAnswer: contact.onAnswer,
      onWatch: contact.onWatch,
    };
    void followNodes(following, stopped.signal);
  });
  const file = followConfigFile(options.netConfigPath, timing.configMs, log, (text) =>
    options.onConfig(text === undefined ? undefined : withPodSubnets(text, own.subnet)),
  );

  async function stop(): Promise<void> {
    stopped.abort();
    file.stop();
    condition.stop();
    keeper.stop();
  }

  return {
    state: () => ({
      ...contact.state(keeper.answeredAt()),
      lease: {
        ttlSeconds: undefined,
        remainingSeconds: undefined,
        ownKey: keeper.ownKey(),
        recoveries: keeper.recoveries(),
        problem: keeper.problem(),
        holding: holdingOf(name, keeper.uid()),
      },
      publicIp: keeper.publicIp(),
      peers: peers.list(),
      ignored,
    }),
    lost,
    isLost,
    listed: (signal) => unlessAborted(Promise.race([listed, lost]), signal),
    publish: keeper.publish,
    carries: condition.carries,
    stop,
    async leave() {
      await stop();
      await lastWord(
        keeper.giveBack().catch((error: unknown) => {
          log.warn({ reason: messageOf(error) }, 'the annotations of the own Node could not be taken back');
        }),
      );
    },
  };
}

/** What we hold: a Node, and not another one of its name. */
export const holdingOf = (node: string, uid: string) => ({ node, uid });
