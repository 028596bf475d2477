import { errnoOf, messageOf, RudderError } from '../../core/errors.js';
import { isOwnDevice, removeOwnDevices } from '../../system/marked-devices.js';
import { native } from '../../system/native.js';
import type { Netlink } from '../../system/netlink.js';
import { DEVICE_NAME, openTunDevice } from '../../system/tun-device.js';
import type { Backend, Implementation } from '../backend.js';
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

  const inUserSpace = async (why: string) =>
    explained(await openWireguardBackend(host, options, () => freePort(netlink)), { runs: 'user', why });

  if (wanted === 'user') return inUserSpace(chosen);
  try {
    const why = wanted === 'auto' ? 'this kernel has WireGuard' : chosen;
    return explained(await openKernelImplementation(host, options), { runs: 'kernel', why });
  } catch (error) {
    if (wanted === 'kernel' || !isNoWireguard(error)) throw error;
    const why = whyNot(error);
    log.info({ why }, 'WireGuard runs in user space');
    return inUserSpace(why);
  }
}

/** A device of the kernel's that an earlier run has left has the port, and carries packets until there can be another one. */
async function freePort(netlink: Netlink): Promise<void> {
  if (!(await netlink.links()).some(isOwnDevice('wireguard'))) return;
  native.close(openTunDevice(DEVICE_NAME));
  await removeOwnDevices(netlink, 'wireguard');
}

/** There is none, we may not have one, or the name is somebody's: as it will be. All else may be so at the moment only. */
const NO_WIREGUARD = new Set(['EOPNOTSUPP', 'EPERM', 'EEXIST']);
const isNoWireguard = (error: unknown): error is RudderError =>
  error instanceof RudderError && error.code === 'device' && NO_WIREGUARD.has(errnoOf(error.cause) ?? '');

const whyNot = (error: RudderError) =>
  errnoOf(error.cause) === 'EOPNOTSUPP' ? 'this kernel has no WireGuard' : messageOf(error);

function explained(backend: Backend, implementation: Implementation): Backend {
  return { ...backend, sessions: backend.sessions && { ...backend.sessions, implementation } };
}
