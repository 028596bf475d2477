import { differencesOf, parseNetworkConfig } from '../backend/config.js';
import { fitsConfig } from '../core/allocator.js';
import { messageOf } from '../core/errors.js';
import type { EventKind } from '../core/event.js';
import type { Logger } from '../core/logger.js';
import { type ConfigPlace, correctKey, type NetworkConfig } from '../core/network-config.js';
import { formatSubnet, type Subnet } from '../core/subnet.js';
import type { ConfigStatus } from '../ops/status.js';

export interface ConfigWatchOptions {
  /** The one in use. */
  readonly config: NetworkConfig;
  readonly own: Subnet;
  readonly place: ConfigPlace;
  /** It was not read since the start: the one in use is that of the last run. */
  readonly isDegraded: boolean;
  /** Throws RudderError if this host could not have that config. */
  readonly checkConfig: (config: NetworkConfig) => Promise<void>;
  readonly log: Logger;
}

export interface ConfigWatch {
  /** Told the stored config at each change; undefined: it is deleted. */
  changed(json: string | undefined): void;
  status(): ConfigStatus;
}

/** Compares the stored network config with the one in use, and says what a restart would make of it. */
export function watchConfig({ config, own, place, isDegraded, checkConfig, log }: ConfigWatchOptions): ConfigWatch {
  let seen: ConfigStatus = { state: isDegraded ? 'unknown' : 'current', detail: null };

  /** Told when it becomes another: a config that was only written in another way is no news. */
  function tell(next: ConfigStatus): void {
    const before = seen;
    seen = next;
    if (before.state === next.state && before.detail === next.detail) return;
    const { state, detail } = next;
    if (detail !== null) log.warn({ state, detail }, 'the stored network config is another', EVENTS[state]);
    else if (before.state !== 'unknown')
      log.info({}, 'the stored network config is again the one in use', EVENTS[state]);
  }

  return {
    changed(json) {
      const next = compareConfig(config, own, json, place);
      tell(next);
      if (next.state !== 'changed') return;
      checkConfig(parseNetworkConfig(json!)).catch((error: unknown) => {
        if (seen === next) tell({ state: 'invalid', detail: `${messageOf(error)}: ${RESTART_GOES_ON}` });
      });
    },
    status: () => seen,
  };
}

const EVENTS: Readonly<Record<ConfigStatus['state'], EventKind | undefined>> = {
  current: 'config.current',
  changed: 'config.changed',
  invalid: 'config.invalid',
  deleted: 'config.deleted',
  unknown: undefined,
};

const RESTART_GOES_ON = 'a restart goes on with the config in use for as long as the lease is valid';

/** What the store says of the config, and what a restart would make of it. */
function compareConfig(config: NetworkConfig, own: Subnet, json: string | undefined, place: ConfigPlace): ConfigStatus {
  if (json === undefined)
    return { state: 'deleted', detail: `${place.isFile ? '' : 'the key '}${place.key} is deleted: ${RESTART_GOES_ON}` };
  let next: NetworkConfig;
  try {
    next = parseNetworkConfig(json, correctKey(place));
  } catch (error) {
    return { state: 'invalid', detail: `${messageOf(error)}: ${RESTART_GOES_ON}` };
  }
  const differences = differencesOf(config, next);
  if (differences.length === 0) return { state: 'current', detail: null };
  const subnet = fitsConfig(next, own) ? 'keeps the subnet' : `leases another subnet than ${formatSubnet(own)}`;
  return { state: 'changed', detail: `${differences.join(', ')}: a restart applies it and ${subnet}` };
}
