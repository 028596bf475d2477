import type { BackendSettings } from '../backend/kind.js';
import type { Logger } from '../core/logger.js';
import { MAX_MTU } from '../core/network-config.js';
import type { Underlay } from '../system/underlay.js';
import type { DaemonOptions } from './options.js';

/** The tunnel's MTU over that underlay: what is given, else what fits. Warns of one that does not. */
export function tunnelMtu(
  options: DaemonOptions,
  settings: Pick<BackendSettings, 'mtu' | 'overheadBytes' | 'tunnel'>,
  underlay: Underlay,
  log: Logger,
): number {
  const natural = Math.min(MAX_MTU, underlay.mtu - settings.overheadBytes);
  const given = options.mtu ?? settings.mtu;
  const mtu = given ?? natural;
  if (mtu > natural) {
    log.warn(
      { mtu, underlay: underlay.name, most: natural },
      settings.tunnel?.vni === undefined
        ? 'the MTU is too large for the underlay: full packets will be fragmented'
        : 'the MTU is too large for the underlay: the VXLAN device has what fits',
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
