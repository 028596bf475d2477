import { z } from 'zod';
import { integer, MAX_MTU, MIN_MTU, type NetworkConfig } from '../../core/network-config.js';
import type { BackendKind, BackendSettings } from '../kind.js';
import { parseOptions } from '../options.js';
import { whyUnreachable } from './lease-data.js';
import { openUdpBackend } from './udp-backend.js';

export const DEFAULT_PORT = 8285;
/** IPv4 header (20) and UDP header (8) around each inner packet. */
export const UDP_OVERHEAD_BYTES = 28;

const keys = ['Port', 'MTU', 'DirectRouting'];
const options = z.object({
  port: integer(1, 65535),
  mtu: integer(MIN_MTU, MAX_MTU),
  directrouting: z.boolean('expected true or false').nullish(),
});

/** flannel's udp: an inner packet is the payload of a datagram, and nothing else. */
export const udp: BackendKind = {
  type: 'udp',
  keys,
  answers: 'device',
  configure(config: NetworkConfig): BackendSettings {
    const { port: given, mtu: wanted, directrouting } = parseOptions(options, config.backend, keys);
    const [port, mtu, isDirect] = [given ?? DEFAULT_PORT, wanted ?? undefined, directrouting ?? false];
    return {
      type: 'udp',
      fields: { Port: port, MTU: mtu ?? "the underlay's", DirectRouting: isDirect },
      tunnel: { port },
      mtu,
      overheadBytes: UDP_OVERHEAD_BYTES,
      problemOf: (lease) => whyUnreachable(lease, port),
      open: async (host) => openUdpBackend({ ...host, port, isDirect }),
    };
  },
};
