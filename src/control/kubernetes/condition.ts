import type { Condition } from './node-facts.js';

/** The Node's word on its network, by which the scheduler keeps pods away. */
export interface NetworkCondition {
  /** What it should say; undefined: nothing is said of it yet, or it is left alone. */
  wanted(): Wanted | undefined;
  /** Whether packets flow (undefined), or why not. The first word is said when the node is ready. */
  carries(problem: string | undefined): void;
  stop(): void;
}

export interface Wanted extends Condition {
  readonly message: string;
}

const NOT_FORWARDING = 'RudderDoesNotForward';
const UP: Wanted = { status: 'False', reason: 'RudderIsUp', message: 'Rudder carries packets on this node' };

/** For a node that leaves, and takes its device and rules with it. */
export const GONE: Wanted = {
  status: 'True',
  reason: 'RudderIsGone',
  message: 'Rudder was stopped and has cleaned up: it carries no packets on this node',
};

/**
 * False while packets flow. True after they have not for a while, and False as soon as they do again: a restart of ours is
 * no reason, packets flow meanwhile.
 * @param graceMs how long they have to be kept up; @param changed told when another one is wanted
 */
export function createNetworkCondition(isKept: boolean, graceMs: number, changed: () => void): NetworkCondition {
  let wanted: Wanted | undefined;
  let reason: string | undefined;
  let timer: NodeJS.Timeout | undefined;

  function want(next: Wanted): void {
    wanted = next;
    changed();
  }

  return {
    wanted: () => wanted,
    carries(problem) {
      if (!isKept) return;
      reason = problem;
      if (problem === undefined) {
        clearTimeout(timer);
        timer = undefined;
        if (wanted !== UP) want(UP);
        return;
      }
      timer ??= setTimeout(() => want({ status: 'True', reason: NOT_FORWARDING, message: reason ?? '' }), graceMs);
    },
    stop: () => clearTimeout(timer),
  };
}

/** Whether a node of ours has said it. */
export const isOurWord = (said: Condition | undefined) =>
  said !== undefined && [UP.reason, GONE.reason, NOT_FORWARDING].includes(said.reason);

export const isAsWanted = (wanted: Wanted, { status, reason }: Partial<Condition> = {}) =>
  status === wanted.status && reason === wanted.reason;

/** For a patch: conditions are merged by their type. @param before undefined: there is none */
export function conditionPatch({ status, reason, message }: Wanted, before: Condition | undefined): object {
  const now = new Date().toISOString().replace(/\.\d+Z$/, 'Z');
  const transition = before?.status === status ? {} : { lastTransitionTime: now };
  return {
    type: 'NetworkUnavailable',
    status,
    reason,
    message: message.slice(0, 500),
    lastHeartbeatTime: now,
    ...transition,
  };
}
