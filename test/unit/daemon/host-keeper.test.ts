import { beforeEach, expect, it, vi } from 'vitest';
import type { Backend, HostChange } from '../../../src/backend/backend.js';
import { parseIpv4 } from '../../../src/core/address-text.js';
import { type HostKeeper, keepHost } from '../../../src/daemon/host-keeper.js';
import type { Netlink } from '../../../src/system/netlink.js';
import { createRecordingLog, type RecordingLog } from '../../helpers/recording-log.js';

const ip = (text: string) => parseIpv4(text)!;
const OLD = ip('10.1.1.1');
const NEW = ip('10.1.1.2');
const INSIDE = ip('10.240.1.1');

let log: RecordingLog;
let keeper: HostKeeper;
/** What the host looks like. */
let addresses: number[];
let mtu: number;
/** What was done of it. */
let adapted: HostChange;
let hostLooks: number;
/** How long a look takes. */
let lookMs: number;
let published: number[];
let written: number;
let failures: {
  adapt?: Error;
  writeEnv?: Error;
  lookAtEnv?: Error;
  repair?: string;
  cannotRepair?: Error;
  onFormer?: Error;
};
/** How often the subnet file was looked at, and whether the kernel tells of changes. */
let envLooks: number;
let hasChanged: boolean;
/** Whether the backend has found what the kernel does not tell of. */
let isUntold: boolean;

beforeEach(() => {
  vi.useFakeTimers();
  log = { ...createRecordingLog(), debug: () => undefined };
  addresses = [OLD];
  mtu = 1500;
  adapted = { interface: 'eth0', localAddress: OLD, mtu: 1472 };
  published = [];
  written = 1472;
  failures = {};
  envLooks = 0;
  hostLooks = 0;
  lookMs = 0;
  hasChanged = true;
  isUntold = false;
  const netlink = {
    links: async () => [{ index: 2, name: 'eth0', up: true, mtu }],
    addresses: async () => addresses.map((address) => ({ index: 2, address, prefixLength: 24, scope: 0 })),
    defaultRouteInterface: async () => 2,
  } as unknown as Netlink;
  const backend: Pick<Backend, 'mtu' | 'repair' | 'adapt' | 'takeUntold'> = {
    takeUntold: () => isUntold,
    mtu: () => adapted.mtu,
    async repair() {
      hostLooks++;
      if (lookMs > 0) await new Promise((resolve) => setTimeout(resolve, lookMs));
      if (failures.cannotRepair) throw failures.cannotRepair;
      if (failures.onFormer && adapted.localAddress === OLD) throw failures.onFormer;
      return failures.repair;
    },
    async adapt(host) {
      if (failures.adapt) throw failures.adapt;
      adapted = host;
    },
  };
  keeper = keepHost({
    netlink,
    choice: { iface: [], ifaceRegex: [], canReach: undefined },
    underlay: { name: 'eth0', address: OLD, mtu: 1500 },
    backend: backend as Backend,
    check({ address }) {
      if (address === INSIDE) throw new Error('inside the overlay');
    },
    checkRoutes: async () => undefined,
    events: { take: () => hasChanged, setDeviceIndex: () => undefined, close: () => undefined },
    mtuOver: (underlay) => underlay.mtu - 28,
    publish: (address) => published.push(address),
    async writeEnv() {
      if (failures.writeEnv) throw failures.writeEnv;
      written = adapted.mtu;
    },
    async lookAtEnv() {
      envLooks++;
      if (failures.lookAtEnv) throw failures.lookAtEnv;
    },
    log,
  });
  return async () => {
    await keeper.stop();
    vi.useRealTimers();
  };
});

const looks = (count: number) => vi.advanceTimersByTimeAsync(count * 1500);

it('leaves a host that stays as it is alone', async () => {
  await looks(10);
  expect({ adapted, published, written }).toEqual({
    adapted: { interface: 'eth0', localAddress: OLD, mtu: 1472 },
    published: [],
    written: 1472,
  });
  expect(log.lines).toEqual([]);
});

it('follows another address and MTU, each told once', async () => {
  [addresses, mtu] = [[NEW], 1400];
  await looks(5);
  expect({ adapted, published, written }).toEqual({
    adapted: { interface: 'eth0', localAddress: NEW, mtu: 1372 },
    published: [NEW],
    written: 1372,
  });
  expect(log.lines).toHaveLength(2);
  expect(keeper.underlay()).toMatchObject({ address: NEW, mtu: 1400 });
});

it('follows also while what stands on the former underlay cannot be put right', async () => {
  failures.cannotRepair = new Error('interface eth0 is gone');
  addresses = [NEW];
  await looks(1);
  expect([adapted.localAddress, published]).toEqual([NEW, [NEW]]);
  expect(keeper.problem()).toBe('interface eth0 is gone');
  failures.cannotRepair = undefined;
  await looks(1);
  expect(keeper.problem()).toBeUndefined();
});

it('tells of no problem that was the former underlay alone', async () => {
  failures.onFormer = new Error('interface eth0 is gone');
  addresses = [NEW];
  await looks(1);
  expect([adapted.localAddress, keeper.problem()]).toEqual([NEW, undefined]);
});

it('does not follow to where the overlay cannot be carried, and says why', async () => {
  [addresses, mtu] = [[INSIDE], 1400];
  await looks(3);
  expect([keeper.problem(), keeper.carryProblem()]).toEqual(['inside the overlay', 'inside the overlay']);
  expect({ adapted, published }).toEqual({
    adapted: { interface: 'eth0', localAddress: OLD, mtu: 1472 },
    published: [],
  });
  expect(keeper.underlay()).toMatchObject({ address: OLD, mtu: 1500 });
  addresses = [NEW];
  await looks(1);
  expect([keeper.problem(), keeper.carryProblem(), published]).toEqual([undefined, undefined, [NEW]]);
});

it('does later what could not be done at once: the env file', async () => {
  [addresses, mtu] = [[NEW], 1400];
  failures.writeEnv = new Error('no space left');
  await looks(3);
  expect([keeper.problem(), keeper.carryProblem()]).toEqual(['no space left', undefined]);
  expect(published).toEqual([NEW]);
  failures.writeEnv = undefined;
  await looks(1);
  expect([written, published, keeper.problem()]).toEqual([1372, [NEW], undefined]);
});

it('does later what could not be done at once: device and socket', async () => {
  [addresses, mtu] = [[NEW], 1400];
  failures.adapt = new Error('address in use');
  await looks(3);
  expect([adapted.mtu, published, written]).toEqual([1472, [], 1472]);
  failures.adapt = undefined;
  await looks(1);
  expect([adapted, published, written]).toEqual([{ interface: 'eth0', localAddress: NEW, mtu: 1372 }, [NEW], 1372]);
});

it('stays with its address while the interface has it, whatever comes before it', async () => {
  addresses = [NEW, OLD];
  await looks(3);
  expect(published).toEqual([]);
  addresses = [NEW];
  await looks(1);
  expect(published).toEqual([NEW]);
  addresses = [OLD, NEW];
  await looks(3);
  expect(published).toEqual([NEW]);
});

it('looks at the subnet file each time, also when the kernel tells of nothing, and is not well without it', async () => {
  await looks(1);
  hasChanged = false;
  await looks(10);
  expect(envLooks).toBe(11);
  failures.lookAtEnv = new Error('no space left');
  await looks(3);
  // Packets flow all the same.
  expect([keeper.problem(), keeper.carryProblem()]).toEqual(['no space left', undefined]);
  failures.lookAtEnv = undefined;
  await looks(1);
  expect(keeper.problem()).toBe(undefined);
});

it('looks at the subnet file beside an underlay that cannot be followed', async () => {
  addresses = [INSIDE];
  await looks(3);
  expect([envLooks, keeper.problem()]).toEqual([3, 'inside the overlay']);
});

it('looks seldom where a look takes long, as among thousands of peers in the kernel', async () => {
  lookMs = 500;
  await vi.advanceTimersByTimeAsync(1500 + 3 * 10_500);
  expect(hostLooks).toBe(4);
  lookMs = 0;
  await vi.advanceTimersByTimeAsync(10_500);
  await looks(4);
  expect(hostLooks).toBeGreaterThanOrEqual(8);
});

it('looks again soon after a repair, however long it took, and on a starved host', async () => {
  lookMs = 1000;
  failures.repair = 'gone';
  await vi.advanceTimersByTimeAsync(3 * 2500);
  expect(keeper.repairs()).toBe(3);
  delete failures.repair;
  lookMs = 5000;
  await vi.advanceTimersByTimeAsync(1500 + 5000);
  hostLooks = 0;
  lookMs = 0;
  await vi.advanceTimersByTimeAsync(10_001);
  expect(hostLooks).toBe(1);
});

it('looks again soon after it has followed the host, which may change once more', async () => {
  lookMs = 1000;
  addresses = [NEW];
  await vi.advanceTimersByTimeAsync(2500);
  addresses = [OLD];
  await vi.advanceTimersByTimeAsync(2500);
  expect(published).toEqual([NEW, OLD]);
});

it('tells of a change that comes again and again at a bounded rate, and counts each', async () => {
  failures.repair = 'down';
  await looks(20);
  expect(keeper.repairs()).toBe(20);
  expect(log.lines.length).toBeLessThanOrEqual(6);
});

it('looks at what the kernel has not told of, when the backend has found it', async () => {
  hasChanged = false;
  await looks(2);
  const before = hostLooks;
  await looks(2);
  expect(hostLooks).toBe(before);
  isUntold = true;
  failures.repair = 'without 1 of its entries';
  await looks(1);
  expect(hostLooks).toBe(before + 1);
  expect(keeper.repairs()).toBe(1);
});
