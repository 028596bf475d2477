import { OVERHEAD_BYTES } from '../backend/udp/udp-backend.js';
import type { Logger } from '../core/logger.js';
import { MAX_MTU, type NetworkConfig } from '../core/network-config.js';
import type { Underlay } from '../system/underlay.js';
import type { DaemonOptions } from './options.js';

/** The tunnel's MTU over that underlay: what is given, else what fits. Warns of one that does not. */
export function tunnelMtu(options: DaemonOptions, config: NetworkConfig, underlay: Underlay, log: Logger): number {
  const natural = Math.min(MAX_MTU, underlay.mtu - OVERHEAD_BYTES);
  const given = options.mtu ?? config.mtu;
  const mtu = given ?? natural;
  if (mtu > natural) {
    log.warn(
      { mtu, underlay: underlay.name, most: natural },
      'the MTU is too large for the underlay: full packets will be fragmented',
    );
  }
  if (given === undefined && natural === MAX_MTU) {
    log.warn(
      { mtu, underlay: underlay.name },
      'the MTU of loopback says nothing about the way to peers: full packets will be fragmented; set --mtu',
    );
  }
  return mtu;
}
