import { createHash } from 'node:crypto';
import { createEtcdRegistry } from '../control/etcd/etcd-registry.js';
import type { EtcdHolding } from '../control/etcd/holding.js';
import { formatIpv4 } from '../core/ipv4.js';
import { type BackendLease, formatLeaseValue } from '../core/lease.js';
import { parseCommonConfig } from '../core/network-config.js';
import { formatSubnetKey } from '../core/subnet.js';

/**
 * Nodes that join and leave, seen from etcd: a program of its own, run in etcd's namespace by the scale measurement.
 *
 *     churn URL CONFIG fill FIRST COUNT            creates leases of subnets FIRST, FIRST+1, ...
 *     churn URL CONFIG churn FIRST COUNT RATE SECS  as many leave and join again each second
 *
 * Prints one JSON line for each join: {"subnet", "at"}, in ms since 1970, taken before the write is begun.
 */
const [url, json, mode, first, count, rate, seconds] = process.argv.slice(2);
const TTL_SECONDS = 3600;
const PARALLEL = 32;
const config = parseCommonConfig(json);
const registry = createEtcdRegistry({ endpoints: [url], prefix: '/coreos.com/network' });

const subnetOf = (number: number) => ({
  address: config.network.address + number * 2 ** (32 - config.subnetLength),
  prefixLength: config.subnetLength,
});
const nameOf = (number: number) => formatSubnetKey(subnetOf(number));
const { type, options } = config.backend;

/** What a node of the config's kind says of itself: a VXLAN device or a key of its own, or that it takes part in DirectRouting. */
function backendOf(number: number): BackendLease {
  if (type === 'udp') return { type, data: options.directrouting === true ? { DirectRouting: true } : {} };
  // Any 32 bytes are a public key; nobody has the private one.
  const key = createHash('sha256').update(`node ${number}`).digest('base64');
  if (type === 'wireguard') return { type, data: { PublicKey: key, Port: 51820 } };
  const bytes = [0x0e, 0, 0, 0, number >> 8, number & 255];
  const mac = bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(':');
  return { type, data: type === 'vxlan' ? { VNI: 1, VtepMAC: mac } : {} };
}

/** Every node at an address of its own, outside of any overlay. */
const leaseOf = (number: number) =>
  formatLeaseValue({ publicIp: 0xc0000000 + number, nodeId: `node-${number}`, backend: backendOf(number) });
/** By the name of the key. */
const held = new Map<string, EtcdHolding>();

async function join(number: number): Promise<void> {
  const at = Date.now();
  const holding = await registry.createLease(nameOf(number), leaseOf(number), TTL_SECONDS);
  if (holding === undefined) return;
  held.set(nameOf(number), holding);
  const { address, prefixLength } = subnetOf(number);
  process.stdout.write(`${JSON.stringify({ subnet: `${formatIpv4(address)}/${prefixLength}`, at })}\n`);
}

async function leave(number: number): Promise<void> {
  const name = nameOf(number);
  const holding = held.get(name);
  if (holding !== undefined) await registry.deleteLease({ name, ...holding });
}

async function fill(from: number, to: number): Promise<void> {
  let next = from;
  const worker = async () => {
    while (next < to) await join(next++);
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
}

async function churn(from: number, to: number): Promise<void> {
  const { entries } = await registry.listLeases();
  for (const entry of entries) held.set(entry.name, entry);
  const end = Date.now() + Number(seconds) * 1000;
  const pending = new Set<Promise<void>>();
  for (let turn = 0; Date.now() < end; turn++) {
    const number = from + (turn % (to - from));
    const work = leave(number).then(() => join(number));
    pending.add(work);
    void work.finally(() => pending.delete(work));
    const due = end - Number(seconds) * 1000 + ((turn + 1) * 1000) / Number(rate);
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - Date.now())));
    if (pending.size >= PARALLEL) await Promise.race(pending);
  }
  await Promise.all(pending);
}

const range = [Number(first), Number(first) + Number(count)] as const;
await (mode === 'fill' ? fill(...range) : churn(...range));
registry.close();
