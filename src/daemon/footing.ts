import { isSameConfig, parseNetworkConfig } from '../backend/config.js';
import { createBackoff } from '../control/backoff.js';
import type { Registry } from '../control/etcd/registry.js';
import { createRetryBackoff, isTransient, unlessAborted } from '../control/retry.js';
import { initCommand } from '../core/command-line.js';
import { messageOf, quote, RudderError } from '../core/errors.js';
import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import type { LastKnown } from '../core/last-known.js';
import type { Logger } from '../core/logger.js';
import { correctKey, type NetworkConfig } from '../core/network-config.js';
import { createRepeatLimit } from '../core/rate-limit.js';
import { formatSubnet } from '../core/subnet.js';
import { impatient, patienceLeft } from './patience.js';

/** Where the network config is, and the flags by which a command finds it. */
export interface ConfigPlace {
  readonly key: string;
  readonly flags?: readonly string[];
}

export const configPlaceOf = ({ prefix, flags }: { prefix: string; flags?: readonly string[] }): ConfigPlace => ({
  key: `${prefix}/config`,
  flags,
});

/** What a start builds on: what etcd says, or, while it says nothing of use, what the node knew when it last ran. */
export interface Footing {
  readonly config: NetworkConfig;
  readonly json: string;
  /** A valid lease of the last run with that config, to go on with if etcd fails; undefined: there is none. */
  readonly fallback: LastKnown | undefined;
  /** Why the start goes on with the fallback; undefined: it goes on with what etcd says. */
  readonly degraded: string | undefined;
}

export interface FootingOptions {
  readonly registry: Registry;
  readonly place: ConfigPlace;
  /** Of which etcd what was last known must be. */
  readonly source: string;
  readonly lastKnown: LastKnown | undefined;
  readonly publicIp: Ipv4;
  readonly nodeId: string;
  /** Of a lease whose file does not say its TTL. */
  readonly ttlSeconds: number;
  /** How long the start has waited already. */
  readonly waitedMs: number;
  /** Throws RudderError if this host cannot have that config. */
  readonly check: (config: NetworkConfig) => Promise<void>;
  readonly log: Logger;
}

/**
 * Waits until there is something to build on. With a valid lease of the last run that is at once: whatever is wrong with
 * etcd, or with the config in it, the containers of this host do not wait until it is put right.
 * @throws RudderError if there is no such lease, and etcd refuses us or the network config makes no sense
 */
export async function findFooting(options: FootingOptions, signal: AbortSignal): Promise<Footing> {
  const { registry, lastKnown, check, log } = options;
  const hasty = impatient(registry, patienceLeft(options.waitedMs));
  const tellWaiting = createWaitingLog(options);
  for (;;) {
    signal.throwIfAborted();
    // Each time: a lease runs out, and a clock is set.
    const flaw = lastKnown === undefined ? undefined : flawOf(lastKnown, options);
    const known = flaw === undefined ? lastKnown : undefined;
    const knownConfig = known && parseNetworkConfig(known.configJson);
    try {
      const json = await unlessAborted((known === undefined ? registry : hasty).getConfig(), signal);
      if (json === undefined) throw new MissingConfig(`there is no network config ${options.place.key} in etcd`);
      const config = parseNetworkConfig(json, correctKey(options.place.key));
      await check(config);
      const fallback = knownConfig && isSameConfig(knownConfig, config) ? known : undefined;
      return { config, json, fallback, degraded: undefined };
    } catch (error) {
      signal.throwIfAborted();
      const isOfEtcd = error instanceof RudderError || error instanceof MissingConfig;
      if (known !== undefined && knownConfig !== undefined && isOfEtcd) {
        await check(knownConfig);
        const degraded = tellDegraded(log, known, error);
        return { config: knownConfig, json: known.configJson, fallback: known, degraded };
      }
      if (!isTransient(error) && !(error instanceof MissingConfig)) throw error;
      await tellWaiting(error, flaw).wait(signal);
    }
  }
}

class MissingConfig extends Error {}

/** @returns the reason */
export function tellDegraded(log: Logger, known: LastKnown, error: unknown): string {
  const reason = messageOf(error);
  log.warn(
    { reason, subnet: formatSubnet(known.subnet), peers: known.peers.length },
    'degraded: going on with the last known lease, peers and network config',
  );
  return reason;
}

/** Says what is waited for, at a bounded rate. @returns how to wait for that */
function createWaitingLog({ place, log }: FootingOptions) {
  const etcd = { limit: createRepeatLimit(), backoff: createRetryBackoff() };
  const config = { limit: createRepeatLimit(), backoff: createBackoff(250, 2000) };
  let flawTold: string | undefined;
  return (error: unknown, flaw: string | undefined) => {
    if (flaw !== undefined && flaw !== flawTold) log.warn({ reason: flaw }, 'the last known lease is not used');
    flawTold = flaw;
    if (!(error instanceof MissingConfig)) {
      const what = 'network config';
      etcd.limit((suppressed) => log.warn({ what, reason: messageOf(error), suppressed }, 'waiting for etcd'));
      return etcd.backoff;
    }
    const { key } = place;
    const remedy = initCommand(place);
    config.limit((suppressed) =>
      log.warn({ key, remedy, suppressed }, 'waiting for the network config: the key does not exist in etcd (v3 API)'),
    );
    return config.backoff;
  };
}

/**
 * Why a lease of the last run is none now; undefined: it is one. Peers know us by our address, the own key by our id, and
 * another etcd is another cluster. A lease that has run out may be another node's by now, and whether it has is told by
 * the clock, which may be wrong itself.
 */
export function flawOf(
  known: LastKnown,
  now: Pick<FootingOptions, 'source' | 'nodeId' | 'publicIp' | 'ttlSeconds'>,
): string | undefined {
  const { publicIp, nodeId, source, validUntil, savedAt } = known;
  if (source !== now.source) return `it is of another etcd, ${quote(source)}`;
  if (nodeId !== now.nodeId) return `it is of another node id, ${quote(nodeId)}`;
  if (publicIp !== now.publicIp) {
    return `it is of another public address: ${formatIpv4(publicIp)}, and now ${formatIpv4(now.publicIp)}`;
  }
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
