import type { Backend } from '../backend.js';
import { createPeerTables } from '../packet-path/peer-tables.js';
import { type DirectRouting, openTunBackend, type TunOptions } from '../packet-path/tun-backend.js';
import { createDirectRouting, whyNotDirect } from './direct/direct-routing.js';
import { leaseDataOf } from './lease-data.js';

export interface UdpOptions extends TunOptions {
  /** DirectRouting: peers on our link without the tunnel, if this host can. */
  readonly isDirect: boolean;
}

/**
 * A tunnel whose datagrams are the packets themselves.
 * @throws RudderError `device` or `socket`
 */
export function openUdpBackend(options: UdpOptions): Backend {
  return openTunBackend(options, () => {
    const { apply, traffic, ...tables } = createPeerTables(options.config, options.port);
    const direct = directOn(options);
    return {
      tables,
      apply,
      traffic,
      direct,
      leaseData: () => leaseDataOf(options.port, { portMapped: options.portMapped, isDirect: direct !== undefined }),
      // A datagram to nobody looks like one to somebody.
      problemOf: () => undefined,
      counters: () => ({}),
      starting: () => undefined,
      started: () => undefined,
      stop: async () => undefined,
    };
  });
}

/** Before the lease is taken, which says whether this node takes part. */
function directOn(options: UdpOptions): DirectRouting | undefined {
  if (!options.isDirect) return undefined;
  const reason = whyNotDirect(options);
  if (reason === undefined) return createDirectRouting(options);
  options.log.warn({ reason }, 'DirectRouting: all peers are reached through the tunnel');
  return undefined;
}
