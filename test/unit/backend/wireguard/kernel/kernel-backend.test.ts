import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Backend } from '../../../../../src/backend/backend.js';
import { parseNetworkConfig } from '../../../../../src/backend/config.js';
import type { BackendHost } from '../../../../../src/backend/kind.js';
import { openKernelImplementation } from '../../../../../src/backend/wireguard/kernel/kernel-backend.js';
import { optionsOf } from '../../../../../src/backend/wireguard/options.js';
import { generateIdentity, identityOf, parseKeyText } from '../../../../../src/backend/wireguard/protocol/keys.js';
import { parseIpv4, parseSubnet } from '../../../../../src/core/address-text.js';
import type { Lease } from '../../../../../src/core/lease.js';
import type { LeaseChange } from '../../../../../src/core/lease-set.js';
import { formatSubnet } from '../../../../../src/core/subnet.js';
import { createFakeWireguard } from '../../../../helpers/fake-wireguard.js';
import { createRecordingLog } from '../../../../helpers/recording-log.js';

const NAME = 'rudder-wg';
const PSK = randomBytes(32);
const OWN = parseSubnet('10.240.1.0/24')!;
const config = parseNetworkConfig(
  JSON.stringify({
    Network: '10.240.0.0/16',
    Backend: { Type: 'wireguard', PSK: PSK.toString('base64'), PersistentKeepaliveInterval: 25 },
  }),
);
const [KEY7, KEY8, OTHER] = [7, 8, 9].map(() => generateIdentity().publicKey.toString('base64'));

const lease = (number: number, PublicKey: string, rest: Partial<Lease> = {}): Lease => ({
  subnet: parseSubnet(`10.240.${number}.0/24`)!,
  publicIp: parseIpv4(`10.1.1.${number}`)!,
  nodeId: `node ${number}`,
  backend: { type: 'wireguard', data: { PublicKey, Port: 51820 } },
  ...rest,
});
const added = (...leases: Lease[]): LeaseChange[] => leases.map((one) => ({ type: 'added', lease: one }));
const changed = (one: Lease): LeaseChange[] => [{ type: 'changed', lease: one }];

let stateDir: string;
let fake: ReturnType<typeof createFakeWireguard>;
let backend: Backend;
let log: ReturnType<typeof createRecordingLog>;

function hostOf(): BackendHost {
  const localAddress = parseIpv4('10.1.1.1')!;
  return {
    ...{ config, netlink: fake.netlink, stateDir, publicIp: localAddress, localAddress, interface: 'eth0', mtu: 1420 },
    ...{ portMapped: false, cipher: 'auto', log },
  } as unknown as BackendHost;
}
const open = () => openKernelImplementation(hostOf(), optionsOf(config));

async function start(...leases: Lease[]): Promise<void> {
  backend = await open();
  await backend.apply(added(...leases));
  await backend.start(OWN);
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] });
  stateDir = mkdtempSync(join(tmpdir(), 'rudder-kernel-wg-'));
  fake = createFakeWireguard((key) => identityOf(key).publicKey);
  log = createRecordingLog();
});
afterEach(async () => {
  vi.useRealTimers();
  await backend?.stop(true);
  rmSync(stateDir, { recursive: true });
});

const device = () => fake.device(NAME)!;
const link = () => fake.links.find(({ name }) => name === NAME);
const contents = () => JSON.stringify({ ...device(), peers: [...device().peers], allowed: [...device().allowed] });
const allowed = () => Object.fromEntries(device().allowed);
const endpointOf = (key: string) => device().peers.get(key)?.endpoint;
const looked = () => vi.advanceTimersByTimeAsync(2100);
async function routes(): Promise<string[]> {
  const found = await fake.netlink.routeEntries({ protocol: 80, tables: [254] });
  return found.map(({ destination, index }) => `${formatSubnet(destination)} dev ${index}`);
}

describe('a start with the kernel', () => {
  it('has a device with key, port, address, MTU and one route, and the peers on it', async () => {
    await start(lease(7, KEY7));
    expect(link()).toMatchObject({ kind: 'wireguard', up: true, mtu: 1420, alias: 'rudder overlay' });
    expect(fake.addresses).toMatchObject([{ address: OWN.address, prefixLength: 32 }]);
    expect(device()).toMatchObject({ listenPort: 51820, mark: 0 });
    expect(device().publicKey!.toString('base64')).toBe(backend.leaseData().PublicKey);
    expect(backend.leaseData()).toEqual({ PublicKey: expect.any(String), Port: 51820 });
    expect(await routes()).toEqual([`10.240.0.0/16 dev ${link()!.index}`]);
    expect(allowed()).toEqual({ '10.240.7.0/24': KEY7 });
    expect(device().peers.get(KEY7)).toMatchObject({
      presharedKey: PSK,
      keepaliveSeconds: 25,
      endpoint: { address: parseIpv4('10.1.1.7'), port: 51820 },
    });
    expect([backend.device, backend.ways(), backend.mtu()]).toEqual([NAME, [NAME], 1420]);
    expect(backend.kernelEntries()).toEqual({ wanted: 3, present: 3 });
    expect(backend.sessions!.cipher()).toBe('kernel');
    expect(backend.tunnel).toEqual({ port: 51820, unbound: 'address' });
  });

  it('keeps its key, and the device of the last run with its sessions', async () => {
    await start(lease(7, KEY7), lease(8, KEY8));
    const key = backend.leaseData().PublicKey;
    backend.persist();
    await backend.stop(false);
    // Heard from elsewhere than its lease says, as behind a NAT.
    const heard = { address: parseIpv4('203.0.113.7')!, port: 4000 };
    Object.assign(device().peers.get(KEY7)!, { handshakeAt: Date.now(), endpoint: heard });
    const { index } = link()!;
    await start(lease(7, KEY7));
    expect(endpointOf(KEY7)).toEqual(heard);
    expect(backend.leaseData().PublicKey).toBe(key);
    expect(link()!.index).toBe(index);
    expect(device().peers.get(KEY7)!.handshakeAt).toBeDefined();
    // Of 10.240.8.0/24 nobody says anything any more.
    expect([...device().peers.keys()]).toEqual([KEY7]);
    expect(allowed()).toEqual({ '10.240.7.0/24': KEY7 });
    await looked();
    expect([backend.takeUntold!(), await backend.repair()]).toEqual([false, undefined]);
    await backend.apply(changed(lease(7, KEY7, { publicIp: parseIpv4('10.1.1.70')! })));
    expect(endpointOf(KEY7)!.address).toBe(parseIpv4('10.1.1.70'));
  });

  it.each([
    ['never heard', undefined],
    ['heard long ago', -181_000],
  ])('has a peer of the last run where its lease says, if it was %s', async (_, ago) => {
    await start(lease(7, KEY7));
    backend.persist();
    await backend.stop(false);
    device().peers.get(KEY7)!.handshakeAt = ago && Date.now() + ago;
    await start(lease(7, KEY7, { publicIp: parseIpv4('10.1.1.70')! }));
    expect(endpointOf(KEY7)!.address).toBe(parseIpv4('10.1.1.70'));
  });

  it('that was given up leaves nothing, and what an earlier run has left', async () => {
    await start(lease(7, KEY7));
    await backend.stop(false);
    expect([link(), await routes()]).toEqual([undefined, []]);
    await start(lease(7, KEY7));
    backend.persist();
    await backend.stop(false);
    await start(lease(7, KEY7), lease(8, KEY8));
    await backend.stop(false);
    expect([...device().peers.keys()]).toEqual([KEY7]);
    expect(await routes()).toHaveLength(1);
  });

  it.each([
    [
      'EOPNOTSUPP',
      /^cannot set up WireGuard device rudder-wg with port 51820: this kernel has no WireGuard, .*modprobe wireguard/,
    ],
    ['EPERM', /no permission, expected the capability CAP_NET_ADMIN/],
    ['EINVAL', /Request rejected: EINVAL; see docs/],
  ])('says what %s means', async (code, message) => {
    fake.refuses.create = code;
    await expect(open()).rejects.toMatchObject({ code: 'device', message: expect.stringMatching(message) });
    expect(link()).toBeUndefined();
  });

  it("leaves somebody else's device of that name alone", async () => {
    await fake.netlink.wireguard.create(NAME, 1400);
    await expect(open()).rejects.toMatchObject({ code: 'device', message: /exists already.*ip link delete rudder-wg/ });
    expect(link()).toMatchObject({ mtu: 1400, alias: '' });
  });

  it('says who has the port', async () => {
    fake.refuses.up = 'EADDRINUSE';
    backend = await open();
    await expect(backend.start(OWN)).rejects.toMatchObject({ code: 'socket', message: /UDP port 51820 is taken/ });
  });
});

describe('peers of the kernel', () => {
  beforeEach(() => start(lease(7, KEY7), lease(8, KEY8)));

  it('are followed: one that leaves, one with another key, one with another address', async () => {
    await backend.apply([{ type: 'removed', lease: lease(8, KEY8) }]);
    expect(allowed()).toEqual({ '10.240.7.0/24': KEY7 });
    expect(device().peers.has(KEY8)).toBe(false);
    await backend.apply(changed(lease(7, OTHER)));
    expect(allowed()).toEqual({ '10.240.7.0/24': OTHER });
    expect([...device().peers.keys()]).toEqual([OTHER]);
    await backend.apply(changed(lease(7, OTHER, { publicIp: parseIpv4('10.1.1.77')! })));
    expect(endpointOf(OTHER)).toEqual({ address: parseIpv4('10.1.1.77'), port: 51820 });
  });

  it('that leave take their subnets along in one step', async () => {
    const change = vi.spyOn(fake.netlink.wireguard, 'change');
    await backend.apply([lease(7, KEY7), lease(8, KEY8)].map((one) => ({ type: 'removed', lease: one })));
    expect(change.mock.calls.map(([, { peers }]) => peers)).toEqual(
      [KEY7, KEY8].map((key) => [{ publicKey: Buffer.from(key, 'base64'), is: 'removed' }]),
    );
    expect([allowed(), device().peers.size]).toEqual([{}, 0]);
  });

  it('may have two subnets with one key, and keep one of them', async () => {
    const second = lease(9, KEY8, { publicIp: parseIpv4('10.1.1.8')! });
    await backend.apply(added(second));
    expect(allowed()).toMatchObject({ '10.240.8.0/24': KEY8, '10.240.9.0/24': KEY8 });
    await backend.apply([{ type: 'removed', lease: lease(8, KEY8) }]);
    expect(allowed()).toEqual({ '10.240.7.0/24': KEY7, '10.240.9.0/24': KEY8 });
    expect([...device().peers.keys()].sort()).toEqual([KEY7, KEY8].sort());
  });

  it('with the same key are one peer and one problem, until the first is gone', async () => {
    const copy = lease(9, KEY8);
    await backend.apply(added(copy));
    expect(backend.problemOf(copy.subnet)).toBe(
      'its PublicKey is also that of 10.240.8.0/24: one of them needs another, `rudder keys rotate`',
    );
    expect(backend.sessions!.of(copy.subnet)).toBeUndefined();
    await backend.apply([{ type: 'removed', lease: lease(8, KEY8) }]);
    expect(backend.problemOf(copy.subnet)).toBeUndefined();
    expect(endpointOf(KEY8)!.address).toBe(parseIpv4('10.1.1.9'));
  });

  it('with our own key wait until we have another', async () => {
    const copy = lease(9, String(backend.leaseData().PublicKey));
    await backend.apply(added(copy));
    expect(backend.problemOf(copy.subnet)).toMatch(/this node's own/);
    await backend.rotateKey!();
    expect(backend.problemOf(copy.subnet)).toBeUndefined();
    expect(allowed()).toMatchObject({ '10.240.9.0/24': copy.backend.data.PublicKey });
  });

  it('know us by another key after a rotation, which is in its file', async () => {
    const before = backend.leaseData().PublicKey;
    await backend.rotateKey!();
    const { PublicKey } = backend.leaseData();
    expect(PublicKey).not.toBe(before);
    expect(device().publicKey!.toString('base64')).toBe(PublicKey);
    const text = readFileSync(join(stateDir, 'wireguard.key'), 'utf8').trim();
    expect(identityOf(parseKeyText(text)!).publicKey.toString('base64')).toBe(PublicKey);
    expect(await backend.repair()).toBeUndefined();
  });

  it('have to be told of another key whatever becomes of the device, which gets it as soon as it can', async () => {
    const before = backend.leaseData().PublicKey;
    const [eth0] = fake.links.splice(0, 1);
    await backend.rotateKey!();
    const { PublicKey } = backend.leaseData();
    expect(PublicKey).not.toBe(before);
    expect(device().publicKey!.toString('base64')).toBe(before);
    expect(JSON.stringify(log.lines)).toMatch(/cannot have the key yet: tried again/);
    fake.links.unshift(eth0);
    await vi.advanceTimersByTimeAsync(1000);
    expect(device().publicKey!.toString('base64')).toBe(PublicKey);
  });

  it('that move are not called back, until a lease says something new', async () => {
    const moved = { address: parseIpv4('203.0.113.7')!, port: 4000 };
    Object.assign(device().peers.get(KEY7)!, { endpoint: moved, handshakeAt: Date.now() });
    await looked();
    expect(backend.takeUntold!()).toBe(false);
    expect(await backend.repair()).toBeUndefined();
    expect(endpointOf(KEY7)).toEqual(moved);
    expect(backend.sessions!.of(lease(7, KEY7).subnet)!.endpoint).toEqual(moved);
    await backend.apply(changed(lease(7, KEY7, { publicIp: parseIpv4('10.1.1.70')! })));
    expect(endpointOf(KEY7)!.address).toBe(parseIpv4('10.1.1.70'));
  });

  it('are told of: handshake, traffic, and when they were heard', async () => {
    const { subnet } = lease(7, KEY7);
    expect(backend.sessions!.of(subnet)).toMatchObject({ hasSession: false, handshakeAgeMs: undefined });
    Object.assign(device().peers.get(KEY7)!, { handshakeAt: Date.now(), inBytes: 92, outBytes: 148 });
    await looked();
    await vi.advanceTimersByTimeAsync(1000);
    expect(backend.sessions!.of(subnet)).toMatchObject({ hasSession: true, tryingForMs: undefined });
    expect(backend.sessions!.of(subnet)!.handshakeAgeMs).toBeCloseTo(3100, -3);
    expect(backend.kernelTraffic!(subnet)).toMatchObject({ outBytes: 148, inBytes: 92 });
    expect(backend.kernelTraffic!(subnet)!.heardSecondsAgo).toBeLessThan(2);
    // An echo of 28 bytes: 32 of them, header and tag.
    expect(backend.kernelTraffic!(subnet)!.sizeOnTheWay(28)).toBe(64);
    expect(backend.sessions!.clockBehindSeconds()).toBe(0);
    device().peers.get(KEY7)!.handshakeAt = Date.now() + 60_000;
    await looked();
    expect(backend.sessions!.clockBehindSeconds()).toBeGreaterThan(55);
  });

  it('have had what was counted since the start, also with a former key', async () => {
    const { subnet } = lease(7, KEY7);
    const traffic = () => backend.kernelTraffic!(subnet);
    Object.assign(device().peers.get(KEY7)!, { inBytes: 92, outBytes: 148 });
    await looked();
    await backend.apply(changed(lease(7, OTHER)));
    expect(traffic()).toMatchObject({ inBytes: 92, outBytes: 148 });
    Object.assign(device().peers.get(OTHER)!, { inBytes: 8, outBytes: 2 });
    await looked();
    expect(traffic()).toMatchObject({ inBytes: 100, outBytes: 150 });
    await backend.apply([{ type: 'removed', lease: lease(7, OTHER) }]);
    await backend.apply(added(lease(7, OTHER)));
    expect(traffic()).toMatchObject({ inBytes: 100, outBytes: 150 });
    backend.persist();
    await backend.stop(false);
    Object.assign(device().peers.get(OTHER)!, { inBytes: 5000, outBytes: 5000 });
    await start(lease(7, OTHER));
    expect(traffic()).toMatchObject({ inBytes: 0, outBytes: 0 });
  });

  it('were told of a time that is known after a restart on a new device, until there is another key', async () => {
    device().peers.get(KEY7)!.handshakeAt = Date.now() + 60_000;
    await looked();
    await backend.stop(true);
    await start(lease(7, KEY7));
    await looked();
    expect(backend.sessions!.clockBehindSeconds()).toBeGreaterThan(50);
    // The kernel goes on telling of the last handshake with the former key.
    await backend.rotateKey!();
    device().peers.get(KEY7)!.handshakeAt = Date.now() + 50_000;
    await looked();
    expect(backend.sessions!.clockBehindSeconds()).toBe(0);
  });
});

describe('what somebody changes', () => {
  beforeEach(() => start(lease(7, KEY7)));

  it.each<[string, () => unknown, RegExp]>([
    [
      'a peer that is removed',
      () => [device().peers.delete(KEY7), device().allowed.clear()],
      /without 2 of its entries/,
    ],
    ['a peer without its subnet', () => device().allowed.clear(), /without 1 of its entries/],
    [
      'a peer of somebody else',
      () => device().peers.set(OTHER, { ...device().peers.get(KEY7)! }),
      /with 1 entry that nobody wants/,
    ],
    [
      "a subnet of somebody else's",
      () => device().allowed.set('10.240.9.0/24', KEY7),
      /with 1 entry that nobody wants/,
    ],
    [
      'another preshared key',
      () => void Object.assign(device().peers.get(KEY7)!, { presharedKey: Buffer.alloc(32) }),
      /without 1 of its entries/,
    ],
    [
      'no keepalive',
      () => void Object.assign(device().peers.get(KEY7)!, { keepaliveSeconds: 0 }),
      /without 1 of its entries/,
    ],
    ['another port', () => void Object.assign(device(), { listenPort: 4000 }), /with port 4000 instead of 51820/],
    ['a mark', () => void Object.assign(device(), { mark: 7 }), /with mark 7/],
    [
      'another key of the device',
      () => fake.netlink.wireguard.change(link()!.index, { privateKey: randomBytes(32) }),
      /with another key/,
    ],
    [
      'a peer that was never heard, elsewhere',
      () => void Object.assign(device().peers.get(KEY7)!, { endpoint: { address: 1, port: 1 } }),
      /without 1 of its entries/,
    ],
  ])('is found though the kernel does not tell, and put back: %s', async (_, change, found) => {
    const before = contents();
    await looked();
    expect(backend.takeUntold!()).toBe(false);
    await change();
    await looked();
    expect(backend.takeUntold!()).toBe(true);
    expect(await backend.repair()).toMatch(found);
    expect(contents()).toBe(before);
    await looked();
    expect(backend.takeUntold!()).toBe(false);
    expect(await backend.repair()).toBeUndefined();
  });

  it.each<[string, () => unknown, RegExp]>([
    ['deleted', () => fake.netlink.deleteLink(link()!.index), /^gone, /],
    ['another name', () => void Object.assign(link()!, { name: 'theirs0' }), /^gone, /],
    ['down', () => void Object.assign(link()!, { up: false }), /^down$/],
    ['another MTU', () => void Object.assign(link()!, { mtu: 1300 }), /^at MTU 1300 instead of 1420$/],
    ['no address', () => void fake.addresses.pop(), /^without its address$/],
    [
      'no route',
      async () => fake.netlink.deleteRouteEntry((await fake.netlink.routeEntries({ protocol: 80, tables: [254] }))[0]),
      /without 1 of its entries/,
    ],
  ])('of the device is put back: %s', async (_, change, found) => {
    await change();
    expect(await backend.repair()).toMatch(found);
    // A renamed one, which would keep the port, is no more.
    expect(fake.links.map(({ name }) => name)).toEqual(['eth0', NAME]);
    expect(link()).toMatchObject({ up: true, mtu: 1420 });
    expect(fake.addresses.filter(({ index }) => index === link()!.index)).toMatchObject([{ address: OWN.address }]);
    expect(allowed()).toEqual({ '10.240.7.0/24': KEY7 });
    expect(await routes()).toEqual([`10.240.0.0/16 dev ${link()!.index}`]);
    expect(device().publicKey!.toString('base64')).toBe(backend.leaseData().PublicKey);
  });
});

it('routes are withdrawn and put back, and peers stay', async () => {
  await start(lease(7, KEY7));
  await backend.setRouted(false);
  expect([await routes(), allowed()]).toEqual([[], { '10.240.7.0/24': KEY7 }]);
  await backend.setRouted(true);
  expect(await routes()).toHaveLength(1);
});

it('reads the device no more than once where one look serves', async () => {
  await start(lease(7, KEY7));
  const read = vi.spyOn(fake.netlink.wireguard, 'read');
  await backend.repair();
  expect(read).toHaveBeenCalledTimes(1);
  // As every look of the host does, which mostly finds it as it was.
  await backend.adapt({ interface: 'eth0', localAddress: parseIpv4('10.1.1.1')!, mtu: 1420 });
  expect(read).toHaveBeenCalledTimes(1);
});

it('follows the underlay to another MTU', async () => {
  await start();
  await backend.adapt({ interface: 'eth0', localAddress: parseIpv4('10.1.1.1')!, mtu: 1300 });
  expect([backend.mtu(), link()!.mtu]).toEqual([1300, 1300]);
});

it('calls nobody who changes the device what changes the underlay', async () => {
  await start();
  const { index } = fake.links.find(({ name }) => name === 'eth0')!;
  await fake.netlink.setMtu(index, 1400);
  expect([await backend.repair(), link()!.mtu]).toEqual([undefined, 1320]);
  await fake.netlink.setMtu(link()!.index, 1000);
  expect([await backend.repair(), link()!.mtu]).toEqual(['at MTU 1000 instead of 1320', 1320]);
});

it('says no secret', async () => {
  await start(lease(7, KEY7), lease(9, KEY7));
  await backend.rotateKey!();
  await looked();
  const said = JSON.stringify([log, backend.kernelEntries(), backend.sessions!.of(OWN)]);
  expect(said).not.toContain(PSK.toString('base64'));
  expect(said).not.toContain(readFileSync(join(stateDir, 'wireguard.key'), 'utf8').trim());
});
