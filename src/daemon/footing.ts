import { isSameConfig, parseNetworkConfig } from '../backend/config.js';
import { createBackoff } from '../control/backoff.js';
import type { Membership } from '../control/membership.js';
import { patienceLeft } from '../control/patience.js';
import { createRetryBackoff, isTransient, unlessAborted } from '../control/retry.js';
import { initCommand } from '../core/command-line.js';
import { messageOf, quote, RudderError } from '../core/errors.js';
import type { Ipv4 } from '../core/ipv4.js';
import type { LastKnown } from '../core/last-known.js';
import type { Logger } from '../core/logger.js';
import { correctKey, createIt, type NetworkConfig } from '../core/network-config.js';
import { createRepeatLimit } from '../core/rate-limit.js';
import { formatSubnet } from '../core/subnet.js';

/** What a start builds on: what the registry says, or, while it says nothing of use, what the node knew when it last ran. */
export interface Footing {
  readonly config: NetworkConfig;
  readonly json: string;
  /** A valid lease of the last run with that config, to go on with if the registry fails; undefined: there is none. */
  readonly fallback: LastKnown | undefined;
  /** Why the start goes on with the fallback; undefined: it goes on with what the registry says. */
  readonly degraded: string | undefined;
}

export interface FootingOptions {
  readonly membership: Pick<Membership, 'kind' | 'getConfig' | 'configPlace' | 'source' | 'flawOf'>;
  readonly lastKnown: LastKnown | undefined;
  readonly publicIp: Ipv4;
  readonly nodeId: string;
  /** Of a lease whose file does not say its TTL. */
  readonly ttlSeconds: number;
  /** How long the start has waited already. */
  readonly waitedMs: number;
  /** Throws RudderError if this host cannot have that config. */
  readonly check: (config: NetworkConfig) => Promise<void>;
  /** Says what the start is waiting for. */
  readonly enter: (phase: string) => void;
  readonly log: Logger;
}

/**
 * Waits until there is something to build on. With a valid lease of the last run that is at once: whatever is wrong with
 * the registry, or with the config in it, the containers of this host do not wait until it is put right.
 * @throws RudderError if there is no such lease, and the registry refuses us or the network config makes no sense
 */
export async function findFooting(options: FootingOptions, signal: AbortSignal): Promise<Footing> {
  const { membership, lastKnown, check, log } = options;
  const place = membership.configPlace;
  const patienceMs = patienceLeft(options.waitedMs);
  const tellWaiting = createWaitingLog(options);
  // Each time: a lease runs out, a clock is set, and the store may have said that it is none of ours any more.
  const look = () => {
    const flaw =
      lastKnown &&
      (flawOf(lastKnown, { ...options, source: membership.source }) ?? membership.flawOf(lastKnown, options.publicIp));
    const known = flaw === undefined ? lastKnown : undefined;
    return { flaw, known, knownConfig: known && parseNetworkConfig(known.configJson) };
  };
  for (;;) {
    signal.throwIfAborted();
    try {
      const json = await unlessAborted(membership.getConfig(look().known && patienceMs), signal);
      if (json === undefined) throw new MissingConfig(missingAt(membership));
      const config = parseNetworkConfig(json, correctKey(place));
      await check(config);
      const { known, knownConfig } = look();
      const fallback = knownConfig && isSameConfig(knownConfig, config) ? known : undefined;
      return { config, json, fallback, degraded: undefined };
    } catch (error) {
      signal.throwIfAborted();
      const { flaw, known, knownConfig } = look();
      const isOfRegistry = error instanceof RudderError || error instanceof MissingConfig;
      if (known !== undefined && knownConfig !== undefined && isOfRegistry) {
        await check(knownConfig);
        const degraded = tellDegraded(log, known, error);
        return { config: knownConfig, json: known.configJson, fallback: known, degraded };
      }
      if (!isTransient(error) && !(error instanceof MissingConfig)) throw error;
      options.enter(`waiting for ${membership.kind} and the network config: ${messageOf(error)}`);
      await tellWaiting(error, flaw).wait(signal);
    }
  }
}

class MissingConfig extends Error {}

const missingAt = ({ configPlace: { key, isFile }, kind }: FootingOptions['membership']) =>
  isFile ? `there is no network config file ${key}` : `there is no network config ${key} in ${kind}`;

/** @returns the reason */
export function tellDegraded(log: Logger, known: LastKnown, error: unknown): string {
  const reason = messageOf(error);
  log.warn(
    { reason, subnet: formatSubnet(known.subnet), peers: known.peers.length },
    'degraded: going on with the last known lease, peers and network config',
    'node.degraded',
  );
  return reason;
}

/** Says what is waited for, at a bounded rate. @returns how to wait for that */
function createWaitingLog({ membership, log }: FootingOptions) {
  const registry = { limit: createRepeatLimit(), backoff: createRetryBackoff() };
  const config = { limit: createRepeatLimit(), backoff: createBackoff(250, 2000) };
  let flawTold: string | undefined;
  return (error: unknown, flaw: string | undefined) => {
    if (flaw !== undefined && flaw !== flawTold) log.warn({ reason: flaw }, 'the last known lease is not used');
    flawTold = flaw;
    if (!(error instanceof MissingConfig)) {
      const what = 'network config';
      registry.limit((suppressed) =>
        log.warn({ what, reason: messageOf(error), suppressed }, `waiting for ${membership.kind}`),
      );
      return registry.backoff;
    }
    const { key, isFile } = membership.configPlace;
    const remedy = isFile ? createIt(membership.configPlace) : initCommand(membership.configPlace);
    const missing = isFile ? 'there is no such file' : 'the key does not exist in etcd (v3 API)';
    config.limit((suppressed) => log.warn({ key, remedy, suppressed }, `waiting for the network config: ${missing}`));
    return config.backoff;
  };
}

/**
 * Why a lease of the last run is none now; undefined: it is one, as far as its store says nothing else. The own key knows us
 * by our id, and another store is another cluster. A lease that has run out may be another node's by now, and whether it has is told by
 * the clock, which may be wrong itself.
 */
export function flawOf(
  known: LastKnown,
  now: Pick<FootingOptions, 'nodeId' | 'ttlSeconds'> & Pick<Membership, 'source'>,
): string | undefined {
  const { nodeId, source, validUntil, savedAt } = known;
  if (source !== now.source) return `it is of another cluster, ${quote(source)}`;
  if (nodeId !== now.nodeId) return `it is of another node id, ${quote(nodeId)}`;
  // A reservation needs no clock.
  if (validUntil === null) return undefined;
  const time = Date.now();
  const iso = (ms: number) => new Date(ms).toISOString();
  if (savedAt !== undefined && time < savedAt) {
    return `the clock says ${iso(time)}, before it was saved at ${iso(savedAt)}: is the clock set?`;
  }
  const ttlMs = (known.ttlSeconds ?? now.ttlSeconds) * 1000;
  if (validUntil - time > ttlMs) {
    return `it would be valid until ${iso(validUntil)}, longer than its TTL of ${ttlMs / 1000} s from ${iso(time)}: is the clock set?`;
  }
  return time < validUntil ? undefined : `it ran out at ${iso(validUntil)}`;
}
