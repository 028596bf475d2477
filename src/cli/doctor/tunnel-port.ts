import { WIREGUARD_DEVICE } from '../../backend/wireguard/kernel/device.js';
import { bad, ok, unknown } from './findings.js';
import type { Facts, Finding, Host } from './host.js';
import { vxlanDevices } from './kernel-links.js';

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
  const devices = isVxlan ? (await vxlanDevices(host)).filter((device) => device.port === port) : [];
  if (devices.length > 0) {
    return [ok('tunnel port', `UDP port ${port} is that of ${devices.map(({ name }) => name).join(', ')}`)];
  }
  // To others than root no program is told at all.
  if (host.isRoot && lines.some((line) => line.trim() !== '')) return [await ofTheKernel(host, backend.type, port)];
  return [ok('tunnel port', `UDP port ${port} is free`)];
}

/** A port without a program, as the kernel's WireGuard has it. A node that has stopped leaves its device. */
async function ofTheKernel(host: Host, type: string, port: number): Promise<Finding> {
  const devices = await host.wireguardDevices();
  const names = (devices ?? []).filter((device) => device.port === port).map(({ name }) => name);
  // A node of wireguard takes it over, or removes it before it listens itself.
  if (type === 'wireguard' && names.includes(WIREGUARD_DEVICE)) {
    return ok('tunnel port', `UDP port ${port} is the kernel's, with ${WIREGUARD_DEVICE} of an earlier run`);
  }
  if (names.length > 0) {
    const detail = `UDP port ${port} is taken by WireGuard device ${names.join(', ')}, and no tunnel can have it`;
    return bad('tunnel port', detail, `remove it with "ip link delete ${names[0]}", or set another port`);
  }
  const whose = devices === undefined ? 'which does not tell for what' : 'for something else than WireGuard';
  const detail = `UDP port ${port} is taken by the kernel, ${whose}, and no tunnel can have it`;
  return bad('tunnel port', detail, 'set another port, or look for its device with "ip -d link"');
}
