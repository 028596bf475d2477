import { vi } from 'vitest';
import type { LeaseEntry } from '../../../../src/control/etcd/registry.js';
import { parseIpv4, parseSubnet } from '../../../../src/core/address-text.js';
import { RudderError } from '../../../../src/core/errors.js';
import type { Ipv4 } from '../../../../src/core/ipv4.js';
import { formatLeaseValue, type NodeReach } from '../../../../src/core/lease.js';
import { type NetworkConfig, parseCommonConfig } from '../../../../src/core/network-config.js';
import type { Subnet } from '../../../../src/core/subnet.js';
import { udp } from '../../../helpers/leases.js';
import type { MemoryRegistry } from '../../../helpers/memory-registry.js';
import type { RecordingLog } from '../../../helpers/recording-log.js';

/** What the tests of leases share: our node, other nodes, and small words for both. */
export const ip = (text: string): Ipv4 => parseIpv4(text)!;
export const subnet = (text: string): Subnet => parseSubnet(text)!;

export const CONFIG: NetworkConfig = parseCommonConfig('{"Network":"10.240.0.0/16"}');
/** Three subnets: 10.240.0.4/30, .8/30 and .12/30. */
export const TINY: NetworkConfig = parseCommonConfig('{"Network":"10.240.0.0/28","SubnetLen":30}');
export const TINY_NAMES = ['10.240.0.4-30', '10.240.0.8-30', '10.240.0.12-30'];

export const ME: NodeReach = { publicIp: ip('10.1.1.26'), nodeId: 'me', backend: udp() };
export const MY_VALUE = formatLeaseValue(ME);
/** What flannel writes for a node at our address. */
export const FLANNEL_VALUE = '{"PublicIP":"10.1.1.26","PublicIPv6":null}';

/** The value of another node's lease. */
export const peerValue = (address: string, nodeId = `node at ${address}`) =>
  formatLeaseValue({ publicIp: ip(address), nodeId, backend: udp() });

export const unavailable = () =>
  new RudderError('registry-unavailable', 'etcd at http://10.0.0.1:2379 cannot be reached: gone');
export const refused = () => new RudderError('registry-refused', 'etcd at http://10.0.0.1:2379 denies');

export async function entryOf(registry: MemoryRegistry, name: string): Promise<LeaseEntry | undefined> {
  return (await registry.listLeases()).entries.find((entry) => entry.name === name);
}

export async function valuesIn(registry: MemoryRegistry): Promise<Record<string, string>> {
  return Object.fromEntries((await registry.listLeases()).entries.map(({ name, value }) => [name, value]));
}

export const warningsOf = (log: RecordingLog) => log.lines.filter((line) => line.level === 'warn');

/** Lets that much time of the fake clock pass, in steps, so that timers that set timers find their place. */
export const pass = (seconds: number) => vi.advanceTimersByTimeAsync(seconds * 1000);

/** What a promise has come to, without waiting for it. */
export function stateOf<T>(promise: Promise<T>): { value?: T; error?: unknown; settled: boolean } {
  const state: { value?: T; error?: unknown; settled: boolean } = { settled: false };
  promise.then(
    (value) => Object.assign(state, { value, settled: true }),
    (error: unknown) => Object.assign(state, { error, settled: true }),
  );
  return state;
}
