import { errnoOf, messageOf, RudderError } from '../../core/errors.js';
import type { Backend, Implementation } from '../backend.js';
import { removeOwnDevices } from '../kernel/leftovers.js';
import type { BackendHost } from '../kind.js';
import { openKernelImplementation } from './kernel/kernel-backend.js';
import type { WireguardOptions } from './options.js';
import { openWireguardBackend } from './wireguard-backend.js';

/**
 * The kernel's WireGuard or ours: what the flag says, else the config; and with auto the kernel's where it lets us make a
 * device. Key, lease and peers are the same.
 * @throws RudderError `device`, `socket`, `file` or `interface`
 */
export async function openImplementation(host: BackendHost, options: WireguardOptions): Promise<Backend> {
  const { netlink, log, wireguardImplementation: flag } = host;
  const wanted = flag ?? options.implementation;
  const chosen = flag === undefined ? `Backend.Implementation is ${wanted}` : `--wireguard-implementation ${wanted}`;

  async function inUserSpace(why: string): Promise<Backend> {
    // A device of the kernel's that an earlier run has left has the port.
    await removeOwnDevices(netlink, 'wireguard');
    return explained(await openWireguardBackend(host, options), { runs: 'user', why });
  }

  if (wanted === 'user') return inUserSpace(chosen);
  try {
    const why = wanted === 'auto' ? 'this kernel has WireGuard' : chosen;
    return explained(await openKernelImplementation(host, options), { runs: 'kernel', why });
  } catch (error) {
    if (wanted === 'kernel' || !isOfDevice(error)) throw error;
    const why = whyNot(error);
    log.info({ why }, 'WireGuard runs in user space');
    return inUserSpace(why);
  }
}

const isOfDevice = (error: unknown): error is RudderError => error instanceof RudderError && error.code === 'device';

const whyNot = (error: RudderError) =>
  errnoOf(error.cause) === 'EOPNOTSUPP' ? 'this kernel has no WireGuard' : messageOf(error);

function explained(backend: Backend, implementation: Implementation): Backend {
  return { ...backend, sessions: backend.sessions && { ...backend.sessions, implementation } };
}
