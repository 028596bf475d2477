import { bad, ok, unknown } from './findings.js';
import type { Facts, Finding, Host } from './host.js';
import { askIp } from './ip.js';

/** Links that the kernel has to make, and what to do where it does not. */
const KINDS = {
  vxlan: { name: 'VXLAN', options: ['id', '1', 'dstport', '8472'], otherwise: 'choose another Backend.Type' },
  wireguard: { name: 'WireGuard', options: [], otherwise: 'choose Backend.Implementation auto or user' },
} as const;
type Kind = keyof typeof KINDS;

/** Whether the kernel has what the backend wants of it. A device that is there is proof; else one is made elsewhere. */
export async function kernel(host: Facts): Promise<Finding[]> {
  const kind = wantedOf(host);
  if (kind === undefined || !host.isRoot) return [];
  const { name, otherwise } = KINDS[kind];
  const has = (await isThere(host, kind)) || (await makesLink(host, kind));
  if (has === undefined) return [unknown('kernel', '"ip netns add" fails', 'run as root, with iproute2 installed')];
  if (!has) return [bad('kernel', `it has no ${name}`, `modprobe ${kind}, or ${otherwise}`)];
  return [ok('kernel', `it has ${name}`)];
}

/** With `auto` a kernel without WireGuard is as good. */
function wantedOf({ backend }: Facts): Kind | undefined {
  if (backend?.type === 'vxlan') return 'vxlan';
  return backend?.type === 'wireguard' && backend.implementation === 'kernel' ? 'wireguard' : undefined;
}

/** A node that runs with it has it. */
const isThere = async (host: Facts, kind: Kind) =>
  kind === 'vxlan' ? (await vxlanDevices(host)).length > 0 : host.status !== undefined;

/** Whether the kernel makes such a link, in a namespace of its own; undefined: that could not be tried. */
export async function makesLink(host: Host, kind: Kind): Promise<boolean | undefined> {
  const name = `rudder-doctor-${kind}-${process.pid}`;
  if (!(await host.succeeds('ip', ['netns', 'add', name]))) return undefined;
  const device = ['link', 'add', `${kind}0`, 'type', kind, ...KINDS[kind].options];
  const has = await host.succeeds('ip', ['-n', name, ...device]);
  await host.succeeds('ip', ['netns', 'delete', name]);
  return has;
}

interface VxlanDevice {
  readonly name: string;
  readonly port: number | undefined;
}

export async function vxlanDevices(host: Host): Promise<VxlanDevice[]> {
  type Link = { ifname: string; linkinfo?: { info_data?: { port?: number } } };
  const links = (await askIp<Link>(host, '-d', 'link', 'show', 'type', 'vxlan')) ?? [];
  return links.map(({ ifname, linkinfo }) => ({ name: ifname, port: linkinfo?.info_data?.port }));
}
