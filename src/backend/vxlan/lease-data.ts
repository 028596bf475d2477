import { quote } from '../../core/errors.js';
import { type BackendData, isUntaken, type Lease } from '../../core/lease.js';
import type { Mac } from '../../system/netlink.js';
import type { KernelPeer } from '../kernel/wanted.js';

/** As flannel writes it: the VXLAN network, and the MAC of this node's end of it. */
export function leaseDataOf(vni: number, mac: Mac): BackendData {
  return { VNI: vni, VtepMAC: mac };
}

/** @param vni of this cluster */
export function whyUnreachable(lease: Pick<Lease, 'backend' | 'reserved'>, vni: number): string | undefined {
  const { type, data } = lease.backend;
  if (isUntaken(lease)) return undefined;
  if (type !== 'vxlan') return `backend ${quote(type)} is not vxlan: the node cannot be reached from here`;
  // flannel before 0.12 wrote none.
  if (data.VNI !== undefined && data.VNI !== vni) {
    return `VNI ${quote(String(data.VNI))} is not ${vni}: its node has another network config`;
  }
  return macIn(data) === undefined ? `VtepMAC ${quote(String(data.VtepMAC))} is no MAC address of one node` : undefined;
}

export function peerOf({ subnet, publicIp, backend }: Lease): KernelPeer {
  return { subnet, endpoint: publicIp, mac: macIn(backend.data) };
}

/** In lower case. That of a group would send packets to whoever listens, and that of nobody to nobody. */
function macIn({ VtepMAC: text }: BackendData): Mac | undefined {
  if (typeof text !== 'string' || !/^([\da-f]{2}:){5}[\da-f]{2}$/i.test(text)) return undefined;
  const isGroup = (Number.parseInt(text.slice(0, 2), 16) & 1) === 1;
  return isGroup || text === '00:00:00:00:00:00' ? undefined : text.toLowerCase();
}
