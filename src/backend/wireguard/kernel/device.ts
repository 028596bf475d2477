import { errnoOf, messageOf, RudderError } from '../../../core/errors.js';
import type { Logger } from '../../../core/logger.js';
import type { Subnet } from '../../../core/subnet.js';
import { isOwnDevice, removeOwnDevices } from '../../../system/marked-devices.js';
import { type LinkInfo, type Netlink, NetlinkError, type WireguardDevice } from '../../../system/netlink.js';
import { bringUp, putLinkRight } from '../../kernel/own-device.js';
import type { Looked } from '../../kernel/sync.js';
import { findUnderlay } from '../../kernel/underlay-link.js';
import { WIREGUARD_OVERHEAD_BYTES } from '../options.js';
import { type Identity, privateKeyBytes } from '../protocol/keys.js';

/** flannel's is flannel-wg, which it deletes when it ends. */
export const WIREGUARD_DEVICE = 'rudder-wg';

export interface DeviceOptions {
  readonly netlink: Netlink;
  readonly port: number;
  readonly network: Subnet;
  readonly identity: Identity;
  /** Name of the interface that the datagrams go out by. */
  readonly underlay: string;
  /** The device with that index, of whose peers no key is left. */
  readonly read: (index: number) => Promise<WireguardDevice>;
  /** The MTU of the device; it is never larger than what the underlay carries. */
  readonly mtu: number;
  readonly log: Logger;
}

/** A link of kind wireguard, which is there from the opening on; it is up, with our address, once it is configured. */
export interface KernelDevice {
  /** Whether there was none of an earlier run. */
  readonly isNew: boolean;
  /** As it is at the moment. */
  mtu(): number;
  /** Gives it our subnet's first address, and brings it up. @throws RudderError */
  configure(own: Subnet): Promise<void>;
  /** Follows the host. @throws RudderError */
  adapt(underlay: string, mtu: number): Promise<void>;
  /** Puts back what somebody has changed of it, and makes it anew if it was deleted. @throws RudderError */
  ensure(): Promise<Looked>;
  /** Which key it is to have: the next ensure() gives it that, and it has no session then. */
  setIdentity(identity: Identity): void;
  /** Whether its key and port are as they should be. */
  isAsItShouldBe(device: WireguardDevice): boolean;
  /** With its peers and the routes through it. */
  remove(): Promise<void>;
}

/** Takes over the device of an earlier run, whose sessions go on. @throws RudderError `device`, `interface` */
export async function openKernelDevice(options: DeviceOptions): Promise<KernelDevice> {
  const { netlink, log } = options;
  const left = await netlink.link(WIREGUARD_DEVICE);
  const isNew = left === undefined;
  if (!isNew) {
    if (!isOwnDevice('wireguard')(left)) throw nameTaken();
    log.info({ device: WIREGUARD_DEVICE }, 'the device of an earlier run is kept');
  }
  const state: Mutable = { ...options, own: undefined, mtuInForce: options.mtu };
  const ensure = () => ensureDevice(options, state);
  try {
    await ensure();
  } catch (error) {
    if (isNew) await removeDevice(netlink).catch(() => undefined);
    throw error;
  }
  return {
    isNew,
    mtu: () => state.mtuInForce,
    async configure(own) {
      state.own = own;
      await ensure();
    },
    async adapt(underlay, mtu) {
      Object.assign(state, { underlay, mtu });
      await ensure();
    },
    ensure,
    setIdentity(identity) {
      state.identity = identity;
    },
    isAsItShouldBe: (device) => wrongWith(device, options, state).length === 0,
    remove: () => removeDevice(netlink),
  };
}

/** What changes while it runs. */
interface Mutable {
  identity: Identity;
  underlay: string;
  mtu: number;
  /** Undefined: not configured yet. */
  own: Subnet | undefined;
  mtuInForce: number;
}

async function removeDevice(netlink: Netlink): Promise<void> {
  const link = await netlink.link(WIREGUARD_DEVICE);
  if (link?.kind === 'wireguard') await netlink.deleteLink(link.index);
}

async function ensureDevice(options: DeviceOptions, state: Mutable): Promise<Looked> {
  const { netlink, network } = options;
  const underlay = await findUnderlay(netlink, state.underlay);
  const mtu = Math.min(state.mtu, underlay.mtu - WIREGUARD_OVERHEAD_BYTES);
  const found: string[] = [];
  try {
    let link = await netlink.link(WIREGUARD_DEVICE);
    if (link !== undefined && link.kind !== 'wireguard') throw nameTaken();
    if (link === undefined) {
      // Ours under a name that somebody has given it keeps its port.
      await removeOwnDevices(netlink, 'wireguard');
      link = await create(netlink, mtu);
      found.push('gone');
    }
    found.push(...(await putSettingsRight(options, state, link.index)));
    found.push(...(await putLinkRight(netlink, link, mtu, state.mtuInForce)));
    if (state.own !== undefined) {
      found.push(...(await bringUp({ netlink, network, portTaken: () => portTaken(options) }, link, state.own)));
    }
    state.mtuInForce = mtu;
    const ground = { underlay: { index: underlay.index, name: underlay.name }, tunnel: link.index };
    return { ground, repaired: found.join(', ') || undefined };
  } catch (error) {
    throw error instanceof RudderError ? error : refused(options, error);
  }
}

async function create(netlink: Netlink, mtu: number): Promise<LinkInfo> {
  await netlink.wireguard.create(WIREGUARD_DEVICE, mtu);
  const made = await netlink.link(WIREGUARD_DEVICE);
  if (made === undefined) throw new RudderError('device', `${WIREGUARD_DEVICE} vanished while it was set up`);
  return made;
}

/** Key, port and mark. @returns what was wrong, in words */
async function putSettingsRight(options: DeviceOptions, state: Mutable, index: number): Promise<string[]> {
  const { wireguard } = options.netlink;
  const device = await options.read(index);
  const wrong = wrongWith(device, options, state);
  if (wrong.length === 0) return [];
  // A key that is set again ends no session if it is the same; but it is one time more in memory.
  const isOtherKey = hasOtherKey(device, state);
  const privateKey = isOtherKey ? privateKeyBytes(state.identity) : undefined;
  try {
    await wireguard.change(index, { privateKey, listenPort: options.port, mark: 0 });
    // A peer with the key that is ours now is gone.
    if (isOtherKey) await options.read(index);
  } catch (error) {
    throw errnoOf(error) === 'EADDRINUSE' ? portTaken(options) : error;
  } finally {
    privateKey?.fill(0);
  }
  // One that was just made has none.
  return device.publicKey === undefined ? [] : wrong;
}

const hasOtherKey = ({ publicKey }: WireguardDevice, { identity }: Mutable) => !publicKey?.equals(identity.publicKey);

function wrongWith(device: WireguardDevice, { port }: DeviceOptions, state: Mutable): string[] {
  return [
    ...(hasOtherKey(device, state) ? ['with another key'] : []),
    ...(device.listenPort === port ? [] : [`with port ${device.listenPort} instead of ${port}`]),
    ...(device.mark === 0 ? [] : [`with mark ${device.mark}`]),
  ];
}

/** What the kernel's refusal means. */
function refused({ port }: DeviceOptions, error: unknown): RudderError {
  const reason = (() => {
    switch (errnoOf(error)) {
      case 'EOPNOTSUPP':
        return 'this kernel has no WireGuard, expected its module wireguard; run "modprobe wireguard", or choose Backend.Implementation user, which needs none';
      case 'EPERM':
        return 'no permission, expected the capability CAP_NET_ADMIN; run as root or through rudder.service';
      case 'EEXIST':
        return `an interface named ${WIREGUARD_DEVICE} exists already; remove it with "ip link delete ${WIREGUARD_DEVICE}"`;
      default:
        return `${messageOf(error)}; see docs/troubleshooting.md`;
    }
  })();
  return new RudderError('device', `cannot set up WireGuard device ${WIREGUARD_DEVICE} with port ${port}: ${reason}`, {
    cause: error,
  });
}

const nameTaken = () =>
  new RudderError(
    'device',
    `an interface named ${WIREGUARD_DEVICE} exists already, expected none or that of an earlier run; remove it with "ip link delete ${WIREGUARD_DEVICE}"`,
    { cause: new NetlinkError(`${WIREGUARD_DEVICE} exists`, 'EEXIST') },
  );

const portTaken = ({ port }: DeviceOptions) =>
  new RudderError(
    'socket',
    `cannot bring up ${WIREGUARD_DEVICE}: UDP port ${port} is taken, expected no program and no other WireGuard device there; "ss -lunp sport = :${port}" and "wg show" tell whose it is`,
  );
