import { z } from 'zod';
import { integer, type NetworkConfig } from '../../core/network-config.js';
import { createKernelBackend, type KernelLinks } from '../kernel/kernel-backend.js';
import { openVxlanDevice, VXLAN_OVERHEAD_BYTES, type VxlanDevice } from '../kernel/vxlan-device.js';
import { forwardToPeers } from '../kernel/wanted.js';
import type { BackendHost, BackendKind, BackendSettings } from '../kind.js';
import { parseOptions } from '../options.js';
import { leaseDataOf, peerOf, whyUnreachable } from './lease-data.js';

/** The kernel's own, as flannel leaves it to it; the port that IANA has given VXLAN is 4789. */
const DEFAULT_PORT = 8472;
/** 24 bits (RFC 7348, 5). */
const MAX_VNI = 2 ** 24 - 1;
/** Inside of what is wrapped there has to be room for the smallest MTU of IPv4, 68, and outside for no more than 65,535. */
const MIN_OUTER_MTU = 68 + VXLAN_OVERHEAD_BYTES;
const MAX_OUTER_MTU = 65_535;

const keys = ['VNI', 'Port', 'MTU', 'DirectRouting', 'GBP', 'Learning'];
const flag = z.boolean('expected true or false').nullish();
const options = z.object({
  vni: integer(1, MAX_VNI),
  port: integer(0, 65_535),
  /** Of the underlay, as flannel has it. */
  mtu: integer(MIN_OUTER_MTU, MAX_OUTER_MTU),
  directrouting: flag,
  gbp: flag,
  learning: flag,
});

/** The kernel's VXLAN, as flannel sets it up: nodes of both share a cluster. */
export const vxlan: BackendKind = {
  type: 'vxlan',
  keys,
  answers: 'device',
  configure(config: NetworkConfig): BackendSettings {
    const given = parseOptions(options, config.backend, keys);
    const vni = given.vni ?? 1;
    // flannel's 0 is the kernel's choice.
    const port = given.port || DEFAULT_PORT;
    const [isDirect, gbp] = [given.directrouting ?? false, given.gbp ?? false];
    const outer = given.mtu ?? undefined;
    return {
      type: 'vxlan',
      fields: { VNI: vni, Port: port, MTU: outer ?? "the underlay's", DirectRouting: isDirect, GBP: gbp },
      tunnel: { port, vni },
      mtu: outer === undefined ? undefined : outer - VXLAN_OVERHEAD_BYTES,
      overheadBytes: VXLAN_OVERHEAD_BYTES,
      problemOf: (lease) => whyUnreachable(lease, vni),
      async open(host) {
        const device = await openVxlanDevice({ ...host, ...underlayOf(host), network: config.network, vni, port, gbp });
        return createKernelBackend(host, linksOf(host, device, vni, isDirect), forwardToPeers(isDirect), peerOf);
      },
    };
  },
};

const underlayOf = (host: BackendHost) => ({ underlay: { name: host.interface, address: host.localAddress } });

function linksOf(host: BackendHost, device: VxlanDevice, vni: number, isDirect: boolean): KernelLinks {
  let underlay = host.interface;
  return {
    device: device.name,
    leaves: ['vxlan devices', 'routes'],
    leaseData: () => leaseDataOf(vni, device.mac),
    mtu: device.mtu,
    ways: () => [device.name, ...(isDirect ? [underlay] : [])],
    bareWay: () => (isDirect ? underlay : undefined),
    configure: device.configure,
    async adapt(change) {
      await device.adapt({ name: change.interface, address: change.localAddress }, change.mtu);
      underlay = change.interface;
    },
    ensure: device.ensure,
    remove: async (isNew) => {
      if (device.isNew || !isNew) await device.remove();
    },
  };
}
