import { chooseSubnet, fitsConfig } from '../../core/allocator.js';
import type { IgnoredLease, Joined, Keeping, Membership } from '../membership.js';

export interface EmbeddedOptions {
  /** The network config, valid. */
  readonly configJson: string;
}

/** The source of all that have no cluster. */
export const EMBEDDED = 'embedded';

/** A cluster of one: the store is this process, and its word is always current. The subnet is that of the last run. */
export function joinNobody({ configJson }: EmbeddedOptions): Membership {
  return {
    kind: 'embedded',
    endpoints: [],
    source: EMBEDDED,
    configPlace: { key: 'of "rudder up --dev"' },
    getConfig: async () => configJson,
    flawOf: () => undefined,
    async join({ config, savedSubnet }) {
      // Of a network without other nodes there is always one left.
      const subnet = chooseSubnet(config, [], savedSubnet, Math.random)!;
      const created = savedSubnet === undefined || !fitsConfig(config, savedSubnet);
      return { subnet, holding: {}, created };
    },
    keep: (joined) => keepAlone(joined, configJson),
    reconnect: () => undefined,
    certificates: () => [],
    close: () => undefined,
  };
}

function keepAlone({ identity, onCurrent, onConfig }: Keeping, configJson: string): Joined {
  let { publicIp } = identity;
  let isStopped = false;
  // Not before whoever has called us knows what we are.
  const listed = Promise.resolve().then(() => {
    if (isStopped) return;
    onConfig(configJson);
    onCurrent(true);
  });
  const stop = async () => {
    isStopped = true;
  };
  return {
    state: () => ({
      isCurrent: true,
      staleSeconds: 0,
      problem: undefined,
      contactAgeSeconds: 0,
      lease: {
        ttlSeconds: undefined,
        remainingSeconds: undefined,
        ownKey: 'written',
        recoveries: 0,
        problem: undefined,
        holding: {},
      },
      publicIp,
      peers: NO_PEERS,
      ignored: NO_LEASES,
    }),
    listed: () => listed,
    lost: new Promise<never>(() => undefined),
    isLost: () => false,
    publish(reach) {
      publicIp = reach.publicIp ?? publicIp;
    },
    stop,
    leave: stop,
  };
}

/** The same ones each time: nothing of them changes. */
const NO_PEERS: [] = [];
const NO_LEASES: ReadonlyMap<string, IgnoredLease> = new Map();
