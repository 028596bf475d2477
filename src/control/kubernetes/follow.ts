import { messageOf } from '../../core/errors.js';
import { createFaultLog } from '../../core/fault.js';
import type { Logger } from '../../core/logger.js';
import { createRetryBackoff } from '../retry.js';
import type { KubernetesApi } from './api.js';
import type { NodeFacts } from './node-facts.js';
import { listNodes } from './node-list.js';
import { watchNodes } from './node-watch.js';

export interface FollowOptions {
  readonly api: KubernetesApi;
  readonly prefix: string;
  readonly silenceMs: number;
  readonly log: Logger;
  /** All there are; the watch begins afterwards. */
  listed(nodes: readonly NodeFacts[]): Promise<void>;
  changed(node: NodeFacts): void;
  deleted(node: NodeFacts): void;
  /** The API has answered, or told anything. */
  onAnswer(): void;
  /** What we know is current (undefined), or why it is not. */
  onWatch(problem: string | undefined): void;
}

/** A whole list is compared this often, in case that the watch is not what it seems... */
const LEAST_RESYNC_MS = 10 * 60_000;
/** ... but it costs the API servers a megabyte for each hundred Nodes, and each Node asks for it. */
const RESYNC_MS_PER_NODE = 4000;
/** A watch that lasts this long was one. */
const STEADY_MS = 10_000;

/**
 * Keeps all Nodes current until the signal is aborted:
 *
 *     list in pages --> watch from there --ended, or broken--> watch from where it was
 *          ^                                                       |
 *          +---- the API has forgotten that version (410), or it is time
 */
export async function followNodes(options: FollowOptions, signal: AbortSignal): Promise<void> {
  const { api, prefix, log } = options;
  const backoff = createRetryBackoff();
  const fault = createFaultLog(log, {
    fault: ['the watch of Nodes is interrupted', 'registry.lost'],
    over: ['the watch of Nodes is up again', 'registry.back'],
  });
  function onWatch(problem: string | undefined): void {
    options.onWatch(problem);
    if (problem === undefined) fault.over();
    else fault.is(problem);
  }

  /** Resolves when it is time to list again. */
  async function watchFrom(resourceVersion: string, until: number): Promise<void> {
    let hasHeard = false;
    const heard = () => {
      hasHeard = true;
      options.onAnswer();
    };
    const watching = { ...options, opened: () => onWatch(undefined), heard };
    let from = resourceVersion;
    while (!signal.aborted && performance.now() < until) {
      const began = performance.now();
      hasHeard = false;
      const end = await watchNodes(watching, from, signal);
      from = end.resourceVersion;
      if (signal.aborted) return;
      const wasSteady = performance.now() - began > STEADY_MS;
      if (wasSteady) backoff.reset();
      if (end.problem !== undefined) onWatch(messageOf(end.problem));
      // One that ends at once with nothing is asked for again as one that breaks: a proxy may answer so for ever.
      else if (wasSteady || hasHeard) continue;
      await backoff.wait(signal).catch(() => undefined);
      if (end.isGone) return;
    }
  }

  while (!signal.aborted) {
    try {
      const { nodes, resourceVersion } = await listNodes(api, prefix);
      if (signal.aborted) return;
      options.onAnswer();
      await options.listed(nodes);
      if (signal.aborted) return;
      const resyncMs = Math.max(LEAST_RESYNC_MS, nodes.length * RESYNC_MS_PER_NODE) * (1 + Math.random() / 4);
      await watchFrom(resourceVersion, performance.now() + resyncMs);
    } catch (error) {
      if (signal.aborted) return;
      onWatch(messageOf(error));
      await backoff.wait(signal).catch(() => undefined);
    }
  }
}
