import { WIREGUARD_DEVICE } from '../../backend/wireguard/kernel/device.js';
import { bad, ok, unknown } from './findings.js';
import type { Facts, Finding, Host } from './host.js';
import { askIp } from './ip.js';

/** Whether the kernel has what the backend wants of it. A device that is there is proof; else one is made elsewhere. */
export async function kernel(host: Facts): Promise<Finding[]> {
  if (host.backend?.type !== 'vxlan' || !host.isRoot) return [];
  if ((await vxlanDevices(host)).length === 0) {
    const name = `rudder-doctor-vxlan-${process.pid}`;
    if (!(await host.succeeds('ip', ['netns', 'add', name]))) {
      return [unknown('kernel', '"ip netns add" fails', 'run as root, with iproute2 installed')];
    }
    const device = ['link', 'add', 'vxlan0', 'type', 'vxlan', 'id', '1', 'dstport', '8472'];
    const has = await host.succeeds('ip', ['-n', name, ...device]);
    await host.succeeds('ip', ['netns', 'delete', name]);
    if (!has) return [bad('kernel', 'it has no VXLAN', 'modprobe vxlan, or choose another Backend.Type')];
  }
  return [ok('kernel', 'it has VXLAN')];
}

/** Whether the tunnel's port is the node's, or free for it. */
export async function tunnelPort(host: Facts): Promise<Finding[]> {
  const { backend, status, daemon } = host;
  const port = backend?.port;
  if (backend === undefined || port === undefined) return [];
  const isVxlan = backend.type === 'vxlan';
  // A daemon of udp that runs has it itself.
  if (!isVxlan && (status !== undefined || daemon.is !== 'absent')) return [];
  const text = await host.run('ss', ['-H', '-lunp', 'sport', '=', `:${port}`]);
  if (text === undefined) return [unknown('tunnel port', 'the command "ss" does not answer', 'install iproute2')];
  const lines = text.split('\n').filter((line) => isVxlan || !/\s127\.\d+\.\d+\.\d+:/.test(line));
  const [holder] = lines.flatMap((line) => [...line.matchAll(/users:\(\("([^"]+)",pid=(\d+)/g)]);
  if (holder !== undefined) {
    const [, name, pid] = holder;
    const detail = `UDP port ${port} is taken by ${name} (process ${pid})`;
    return [bad('tunnel port', `${detail}, and no tunnel can have it`, 'stop that, or set another Backend.Port')];
  }
  // To others than root no program is told at all.
  if (!isVxlan && host.isRoot && lines.some((line) => line.trim() !== '')) return [await ofTheKernel(host, port)];
  const devices = isVxlan ? (await vxlanDevices(host)).filter((device) => device.port === port) : [];
  const whose = devices.length === 0 ? 'free' : `that of ${devices.map(({ name }) => name).join(', ')}`;
  return [ok('tunnel port', `UDP port ${port} is ${whose}`)];
}

/** A port without a program, as the kernel's WireGuard has it. A node that has stopped leaves its device. */
async function ofTheKernel(host: Host, port: number): Promise<Finding> {
  const links = (await askIp<{ ifname: string }>(host, 'link', 'show', 'type', 'wireguard')) ?? [];
  const names = links.map(({ ifname }) => ifname);
  if (names.includes(WIREGUARD_DEVICE)) {
    return ok('tunnel port', `UDP port ${port} is the kernel's, with ${WIREGUARD_DEVICE} of an earlier run`);
  }
  const detail = `UDP port ${port} is taken by the kernel${names.length === 0 ? '' : `, which has ${names.join(', ')}`}`;
  return bad('tunnel port', `${detail}, and no tunnel can have it`, 'remove that device, or set another port');
}

interface VxlanDevice {
  readonly name: string;
  readonly port: number | undefined;
}

async function vxlanDevices(host: Host): Promise<VxlanDevice[]> {
  type Link = { ifname: string; linkinfo?: { info_data?: { port?: number } } };
  const links = (await askIp<Link>(host, '-d', 'link', 'show', 'type', 'vxlan')) ?? [];
  return links.map(({ ifname, linkinfo }) => ({ name: ifname, port: linkinfo?.info_data?.port }));
}
