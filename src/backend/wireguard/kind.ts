import type { NetworkConfig } from '../../core/network-config.js';
import type { BackendKind, BackendSettings } from '../kind.js';
import { openImplementation } from './implementation.js';
import { whyUnreachable } from './lease-data.js';
import { keys, optionsOf, WIREGUARD_OVERHEAD_BYTES } from './options.js';

/** The standard WireGuard protocol, in user space or by the kernel, as flannel has it: nodes of both share a cluster. */
export const wireguard: BackendKind = {
  type: 'wireguard',
  keys,
  answers: 'device',
  configure(config: NetworkConfig): BackendSettings {
    const options = optionsOf(config);
    const { port, outerMtu, fields } = options;
    return {
      type: 'wireguard',
      fields,
      tunnel: { port },
      mtu: outerMtu === undefined ? undefined : outerMtu - WIREGUARD_OVERHEAD_BYTES,
      overheadBytes: WIREGUARD_OVERHEAD_BYTES,
      problemOf: (lease) => whyUnreachable(lease),
      open: (host) => openImplementation(host, options),
    };
  },
};
