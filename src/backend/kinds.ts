import { quote } from '../core/errors.js';
import type { Ipv4 } from '../core/ipv4.js';
import { invalid, type NetworkConfig } from '../core/network-config.js';
import type { Subnet } from '../core/subnet.js';
import { removeOwnDevices } from '../system/marked-devices.js';
import type { Netlink } from '../system/netlink.js';
import { DEVICE_NAME, removeDevice } from '../system/tun-device.js';
import { alloc } from './alloc/kind.js';
import type { Backend } from './backend.js';
import { hostGw } from './host-gw/kind.js';
import { removeOurRoutes } from './kernel/tables.js';
import type { BackendKind, BackendSettings } from './kind.js';
import { udp } from './udp/kind.js';
import { vxlan } from './vxlan/kind.js';
import { wireguard } from './wireguard/kind.js';

/** All that there are. */
export const KINDS: readonly BackendKind[] = [udp, vxlan, wireguard, hostGw, alloc];

/** @throws RudderError `network-config` if there is no such kind, or its options make no sense */
export function settingsOf(config: NetworkConfig): BackendSettings {
  return kindOf(config.backend.type).configure(config);
}

function kindOf(type: string): BackendKind {
  const kind = KINDS.find((candidate) => candidate.type === type);
  if (kind !== undefined) return kind;
  throw invalid(`Backend.Type ${quote(type)}`, `one of ${KINDS.map((known) => quote(known.type)).join(', ')}`);
}

/** The overlay address of the node with that subnet; undefined: there is no such kind. */
export function answeringAddress(type: string, { address }: Subnet): Ipv4 | undefined {
  const answers = KINDS.find((kind) => kind.type === type)?.answers;
  return answers && address + (answers === 'device' ? 0 : 1);
}

/** Whether each node has a device that answers, so that silence means something. */
export const answersByDevice = (type: string) => KINDS.find((kind) => kind.type === type)?.answers === 'device';

/**
 * Removes what nodes with other backends have left on this host: routes of the one before would be more specific than
 * those of the one after, or lead to where nobody listens. @throws RudderError, or what the kernel says
 */
export async function removeOthers(netlink: Netlink, { leaves }: Pick<Backend, 'leaves'>): Promise<void> {
  if (!leaves.includes('tun device')) await removeDevice(netlink, DEVICE_NAME);
  // Of any node: the one before, which somebody has given another name.
  await removeOwnDevices(netlink, 'tun', DEVICE_NAME);
  if (!leaves.includes('vxlan devices')) await removeOwnDevices(netlink, 'vxlan');
  if (!leaves.includes('wireguard devices')) await removeOwnDevices(netlink, 'wireguard');
  if (!leaves.includes('routes')) await removeOurRoutes(netlink);
}
