import { quote } from '../../core/errors.js';
import { type BackendData, isUntaken, type Lease } from '../../core/lease.js';
import type { Mac } from '../../system/netlink.js';
import { parseMac } from '../kernel/mac.js';
import type { KernelPeer } from '../kernel/wanted.js';
import { whyOtherType } from '../other-type.js';

/** As flannel writes it: the VXLAN network, and the MAC of this node's end of it. */
export function leaseDataOf(vni: number, mac: Mac): BackendData {
  return { VNI: vni, VtepMAC: mac };
}

/** @param vni of this cluster */
export function whyUnreachable(lease: Pick<Lease, 'backend' | 'reserved'>, vni: number): string | undefined {
  const other = whyOtherType(lease, 'vxlan');
  if (other !== undefined || isUntaken(lease)) return other;
  const { data } = lease.backend;
  // flannel before 0.12 wrote none.
  if (data.VNI !== undefined && data.VNI !== vni) {
    return `VNI ${quote(String(data.VNI))} is not ${vni}: its node has another network config`;
  }
  if (data.VtepMAC === undefined) return 'it has no VtepMAC, expected the MAC address of its VXLAN device';
  return parseMac(data.VtepMAC) === undefined
    ? `VtepMAC ${quote(String(data.VtepMAC))} is no MAC address of one node`
    : undefined;
}

export function peerOf({ subnet, publicIp, backend }: Lease): KernelPeer {
  return { subnet, endpoint: publicIp, mac: parseMac(backend.data.VtepMAC) };
}
