import { findBridge } from './containers.js';
import { bad, ok, unknown, warn } from './findings.js';
import type { Facts, Finding, Host } from './host.js';

const GLOBAL = '/proc/sys/net/ipv4/ip_forward';

/** Undefined: there is no such interface, or /proc/sys cannot be read. */
async function readSwitch(host: Host, name: string): Promise<boolean | undefined> {
  const text = await host.read(`/proc/sys/net/ipv4/conf/${name}/forwarding`);
  return text === undefined ? undefined : text.trim() === '1';
}

/** Whether what comes in by that interface is forwarded: the kernel asks the interface, and not the switch for all. */
export const isForwardingOn = async (host: Host, name: string) => (await readSwitch(host, name)) === true;

/**
 * `net.ipv4.ip_forward` sets all interfaces when it is written; each has a switch of its own from then on. Packets of
 * containers come in by their bridge and by the overlay's device, what answers them from outside by the underlay.
 */
export async function forwarding(host: Facts): Promise<Finding[]> {
  const { status } = host;
  const isAny = (await host.read(GLOBAL))?.trim() === '1';
  if (!isAny || status === undefined) return [ofGlobal(isAny)];
  const bridge = findBridge(host, status);
  const ways = status.firewall.settings?.devices ?? [status.device.name];
  const inner = [...ways, ...(bridge === undefined ? [] : [bridge.name])];
  const { interface: outer } = status.node;
  const findings = await Promise.all([
    ...inner.map((name) => ofInterface(host, name, bad, 'packets of containers that come in there are dropped')),
    ...(inner.includes(outer) ? [] : [outer]).map((name) =>
      ofInterface(host, name, warn, 'what answers containers from outside is dropped'),
    ),
  ]);
  const wrong = findings.filter((finding) => finding !== undefined);
  return wrong.length > 0
    ? wrong
    : [ok('forwarding', `IPv4 forwarding is on for ${[...new Set([...inner, outer])].join(', ')}`)];
}

function ofGlobal(isOn: boolean): Finding {
  if (isOn) return ok('forwarding', 'IPv4 forwarding is on');
  const remedy = 'sysctl -w net.ipv4.ip_forward=1, and in /etc/sysctl.d for the next boot';
  return bad('forwarding', 'IPv4 forwarding is off: containers cannot reach other hosts', remedy);
}

async function ofInterface(host: Host, name: string, tell: typeof bad, what: string): Promise<Finding | undefined> {
  const isOn = await readSwitch(host, name);
  if (isOn === undefined) return unknown('forwarding', `nothing is told of ${name}`, 'is it there? "ip link show"');
  if (isOn) return undefined;
  // In a name with a dot sysctl takes the slash for what parts.
  const remedy = `sysctl -w net/ipv4/conf/${name}/forwarding=1, and see in /etc/sysctl.d who turns it off`;
  return tell('forwarding', `IPv4 forwarding is off for ${name}: ${what}`, remedy);
}
