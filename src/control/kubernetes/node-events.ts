import { messageOf } from '../../core/errors.js';
import type { EventKind } from '../../core/event.js';
import type { Logger } from '../../core/logger.js';
import { createRateLimit } from '../../core/rate-limit.js';
import type { KubernetesApi } from './api.js';
import { hasStatus } from './errors.js';

/** What goes wrong on this node, for `kubectl describe node`; all else is in our own log. */
const REASONS: Partial<Record<EventKind, string>> = {
  'node.degraded': 'RudderDegraded',
  'lease.lost': 'RudderNodeChanged',
  'host.problem': 'RudderHostProblem',
  'firewall.problem': 'RudderFirewallProblem',
  'config.invalid': 'RudderConfigInvalid',
  'config.deleted': 'RudderConfigDeleted',
};

export interface NodeEvents {
  /** Something has happened; written if it is of those, and at a bounded rate. */
  note(kind: EventKind, line: string): void;
}

/** Events are objects in the API's store, and each lives for an hour: so few of all, and of one reason even fewer. */
const INTERVAL_MS = 10 * 60_000;
const MOST = 6;
const MOST_OF_A_REASON = 2;
const LONGEST_MESSAGE = 1000;

export function createNodeEvents(
  api: Pick<KubernetesApi, 'ask'>,
  name: () => string | undefined,
  log: Logger,
  now = () => performance.now(),
): NodeEvents {
  const limits = new Map<string, ReturnType<typeof createRateLimit>>();
  const all = createRateLimit(INTERVAL_MS, now, MOST);
  /** When we may try again: rights are given while we run. */
  let forbiddenUntil = Number.NEGATIVE_INFINITY;

  function limitOf(reason: string) {
    const limit = limits.get(reason) ?? createRateLimit(INTERVAL_MS, now, MOST_OF_A_REASON);
    limits.set(reason, limit);
    return limit;
  }

  async function write(node: string, reason: string, message: string): Promise<void> {
    const time = new Date().toISOString().replace(/\.\d+Z$/, 'Z');
    const body = {
      kind: 'Event',
      apiVersion: 'v1',
      metadata: { generateName: `${node}.`, namespace: 'default' },
      // As kubelets write it: the name for the UID, by which kubectl finds the events of a Node.
      involvedObject: { kind: 'Node', name: node, uid: node },
      type: 'Warning',
      reason,
      message: message.slice(0, LONGEST_MESSAGE),
      source: { component: 'rudder', host: node },
      firstTimestamp: time,
      lastTimestamp: time,
      count: 1,
    };
    const right = { verb: 'create', resource: 'events' };
    try {
      await api.ask({ method: 'POST', path: '/api/v1/namespaces/default/events', body, right });
    } catch (error) {
      // Nobody depends on them, and the log has it all.
      log.debug({ reason: messageOf(error) }, 'an event of the Node could not be written');
      if (hasStatus(error, 403)) forbiddenUntil = now() + INTERVAL_MS;
    }
  }

  return {
    note(kind, line) {
      const reason = REASONS[kind];
      const node = name();
      if (reason === undefined || node === undefined || now() < forbiddenUntil) return;
      limitOf(reason)(() => all(() => void write(node, reason, line)));
    },
  };
}
