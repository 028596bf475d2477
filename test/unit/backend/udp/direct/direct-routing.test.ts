import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { parseNetworkConfig } from '../../../../../src/backend/config.js';
import type { DirectRouting } from '../../../../../src/backend/packet-path/tun-backend.js';
import {
  createDirectRouting,
  type DirectRoutingOptions,
  saysDirect,
  whyNotDirect,
} from '../../../../../src/backend/udp/direct/direct-routing.js';
import { formatIpv4, type Ipv4 } from '../../../../../src/core/ipv4.js';
import type { Lease } from '../../../../../src/core/lease.js';
import type { Forwarding } from '../../../../../src/system/netlink.js';
import { createFakeEcho, type FakeEcho } from '../../../../helpers/fake-echo.js';
import { createFakeForwarding, ETH0 } from '../../../../helpers/fake-forwarding.js';
import { createRecordingLog, type RecordingLog } from '../../../../helpers/recording-log.js';

const ip = (a: number, b: number, c: number, d: number): Ipv4 => (a << 24) | (b << 16) | (c << 8) | d;
const OWN = { address: ip(10, 240, 1, 0), prefixLength: 24 };
const LOCAL = ip(10, 1, 1, 1);

const lease = (number: number, changes: Partial<Lease> = {}, data: object = { DirectRouting: true }): Lease => ({
  subnet: { address: ip(10, 240, number, 0), prefixLength: 24 },
  publicIp: ip(10, 1, 1, number),
  nodeId: `node ${number}`,
  backend: { type: 'udp', data: { Port: 8285, ...data } },
  ...changes,
});

let netlink: Forwarding;
let echo: FakeEcho;
let log: RecordingLog;
let direct: DirectRouting;

beforeEach(() => {
  vi.useFakeTimers();
  netlink = createFakeForwarding();
  echo = createFakeEcho();
  echo.answer = () => 300;
  log = createRecordingLog();
  direct = make();
});
afterEach(async () => {
  await direct.stop(false);
  vi.useRealTimers();
});

function make(): DirectRouting {
  const config = parseNetworkConfig('{"Network":"10.240.0.0/16"}');
  const link = async () => ({ index: ETH0, name: 'eth0' });
  const host = { publicIp: LOCAL, interface: 'eth0', localAddress: LOCAL, mtu: 1472, portMapped: false };
  return createDirectRouting({
    ...host,
    config,
    netlink: { ...netlink, link },
    log,
    openEcho: echo.open,
    now: () => Date.now(),
  } as unknown as DirectRoutingOptions);
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const put = (...leases: Lease[]) => direct.apply(leases.map((one) => ({ type: 'added', lease: one })));

async function routes(): Promise<string[]> {
  const found = await netlink.routeEntries({ protocol: 80, tables: [254, 8285] });
  const lines = found.map(({ destination: { address, prefixLength }, gateway, table, source, mtu, type }) => {
    const via =
      gateway === undefined ? `type ${type}` : `via ${formatIpv4(gateway)} src ${formatIpv4(source ?? 0)} mtu ${mtu}`;
    return `${table}: ${formatIpv4(address)}/${prefixLength} ${via}`;
  });
  return lines.sort();
}

const NOWHERE = '8285: 10.240.0.0/16 type 7';
const probe = (number: number, at = number, mtu = 1472) =>
  `8285: 10.240.${number}.0/24 via 10.1.1.${at} src 10.240.1.0 mtu ${mtu}`;
const main = (number: number, at = number, mtu = 1472) =>
  `254: 10.240.${number}.0/24 via 10.1.1.${at} src 10.240.1.0 mtu ${mtu}`;

describe('a peer that says so', () => {
  it('has a route that echoes alone take, and one for all when they come back', async () => {
    await direct.start(OWN);
    echo.answer = () => 'nothing';
    await put(lease(7));
    await pass(100);
    expect(await routes()).toEqual([NOWHERE, probe(7)]);
    expect(await netlink.rules(80)).toEqual([{ mark: 8285, table: 8285, priority: 100, protocol: 80 }]);
    expect(echo.sent[0]).toMatchObject({
      options: { address: OWN.address, mark: 8285, ttl: 1 },
      destination: ip(10, 240, 7, 0),
    });
    expect(direct.peers()).toBe(0);
    echo.answer = () => 300;
    await pass(3000);
    expect(await routes()).toEqual([main(7), NOWHERE, probe(7)]);
    expect(direct.peers()).toBe(1);
    expect(log.lines.at(-1)).toMatchObject({ level: 'info', fields: { subnet: '10.240.7.0/24' } });
  });

  it('is back in the tunnel when they do not, and returns', async () => {
    await put(lease(7), lease(8));
    await direct.start(OWN);
    await pass(3000);
    expect(direct.peers()).toBe(2);
    echo.answer = ({ destination }) => (destination === ip(10, 240, 7, 0) ? 'nothing' : 300);
    await pass(8100);
    expect(await routes()).toEqual([main(8), NOWHERE, probe(7), probe(8)]);
    expect(log.lines.at(-1)).toMatchObject({ level: 'warn', fields: { subnet: '10.240.7.0/24' } });
    echo.answer = () => 300;
    await pass(10_100);
    expect(direct.peers()).toBe(2);
  });

  it('that moves has to answer there first', async () => {
    await put(lease(7));
    await direct.start(OWN);
    await pass(1000);
    echo.answer = () => 'nothing';
    await put(lease(7, { publicIp: ip(10, 1, 1, 70) }));
    expect(await routes()).toEqual([NOWHERE, probe(7, 70)]);
    echo.answer = () => 300;
    await pass(3000);
    expect(await routes()).toEqual([main(7, 70), NOWHERE, probe(7, 70)]);
  });

  it.each([
    ['says so no more', () => put(lease(7, {}, {}))],
    ['is behind a NAT', () => put(lease(7, {}, { DirectRouting: true, PortMapped: true }))],
    ['leaves', () => direct.apply([{ type: 'removed', lease: lease(7) }])],
  ])('and that then %s, has no route', async (_, change) => {
    await put(lease(7), lease(8));
    await direct.start(OWN);
    await pass(1000);
    await change();
    expect(await routes()).toEqual([main(8), NOWHERE, probe(8)]);
    await pass(10_000);
    expect(await routes()).toEqual([main(8), NOWHERE, probe(8)]);
  });
});

it('who does not say so, is behind a router, or has a subnet with room for others, is never reached directly', async () => {
  await put(lease(7, {}, {}), lease(8, {}, { DirectRouting: 'true' }), lease(9, { publicIp: ip(10, 9, 9, 9) }));
  await put(lease(12, { subnet: { address: ip(10, 240, 12, 0), prefixLength: 22 } }));
  await direct.start(OWN);
  await pass(10_000);
  expect(await routes()).toEqual([NOWHERE]);
  // Nor is that a fault, to be told of: the tunnel carries their packets.
  expect(log.lines.filter(({ level }) => level === 'warn')).toEqual([]);
});

it('routes of an earlier run carry packets until the first miss', async () => {
  await put(lease(7), lease(8));
  await direct.start(OWN);
  await pass(1000);
  direct.persist();
  await direct.stop(false);
  expect(echo.openSockets()).toBe(0);
  expect(await routes()).toEqual([main(7), main(8), NOWHERE, probe(7), probe(8)]);
  await pass(10_000);

  echo.answer = ({ destination }) => (destination === ip(10, 240, 7, 0) ? 'nothing' : 300);
  direct = make();
  await put(lease(7), lease(8));
  await direct.start(OWN);
  expect(await routes()).toEqual([main(7), main(8), NOWHERE, probe(7), probe(8)]);
  await pass(2200);
  expect(await routes()).toEqual([main(8), NOWHERE, probe(7), probe(8)]);
});

/** An earlier run has left its route to peer 7, which answers nobody any more. */
async function runBefore(): Promise<void> {
  await put(lease(7));
  await direct.start(OWN);
  await pass(1000);
  direct.persist();
  await direct.stop(false);
  direct = make();
  echo.answer = () => 'nothing';
}

it('a route of an earlier run to another address is none', async () => {
  await runBefore();
  await put(lease(7, { publicIp: ip(10, 1, 1, 70) }));
  await direct.start(OWN);
  expect(await routes()).toEqual([NOWHERE, probe(7, 70)]);
});

it('a route of an earlier run is none of a peer that comes later', async () => {
  await runBefore();
  await direct.start(OWN);
  expect(await routes()).toEqual([NOWHERE]);
  await put(lease(7));
  expect(await routes()).toEqual([NOWHERE, probe(7)]);
});

it.each([
  ['a start that was given up', false],
  ['a node that is to leave nothing', true],
])('%s removes all of it', async (_, remove) => {
  await put(lease(7));
  await direct.start(OWN);
  await pass(1000);
  if (remove) direct.persist();
  await direct.stop(remove);
  expect(await routes()).toEqual([]);
  expect(await netlink.rules(80)).toEqual([]);
});

it('a start that was given up leaves the routes of an earlier run, and none of its own', async () => {
  await put(lease(7));
  await direct.start(OWN);
  await pass(1000);
  direct.persist();
  await direct.stop(false);
  const before = await routes();

  direct = make();
  await put(lease(7), lease(8));
  await direct.start(OWN);
  await pass(1000);
  expect(await routes()).toEqual([main(7), main(8), NOWHERE, probe(7), probe(8)]);
  await direct.stop(false);
  expect(await routes()).toEqual(before);
  expect(await netlink.rules(80)).toHaveLength(1);
});

it('takes its routes back while they cut this host off, and asks again before it puts them back', async () => {
  await put(lease(7));
  await direct.start(OWN);
  await pass(1000);
  await direct.setRouted(false);
  expect(await routes()).toEqual([]);
  echo.answer = () => ({ code: 'ENETUNREACH' });
  await pass(10_000);
  await direct.setRouted(true);
  expect(await routes()).toEqual([NOWHERE, probe(7)]);
});

it('puts back what somebody has removed', async () => {
  await put(lease(7));
  await direct.start(OWN);
  await pass(1000);
  const [rule] = await netlink.rules(80);
  await netlink.deleteRule(rule);
  const [route] = await netlink.routeEntries({ protocol: 80, tables: [254] });
  await netlink.deleteRouteEntry(route);
  expect(await direct.repair()).toBe('without 2 of its entries');
  expect(await routes()).toEqual([main(7), NOWHERE, probe(7)]);
  expect(await netlink.rules(80)).toEqual([rule]);
});

it('follows the MTU of the tunnel', async () => {
  await put(lease(7));
  await direct.start(OWN);
  await pass(1000);
  await direct.adapt({ interface: 'eth0', localAddress: LOCAL, mtu: 1372 });
  expect(await routes()).toEqual([main(7, 7, 1372), NOWHERE, probe(7, 7, 1372)]);
  expect(direct.peers()).toBe(1);
});

it('a node takes part if nothing is between it and its peers, and it may send echoes', () => {
  const host = { publicIp: LOCAL, localAddress: LOCAL, portMapped: false };
  expect(whyNotDirect(host, echo.open)).toBeUndefined();
  expect(echo.openSockets()).toBe(0);
  expect(whyNotDirect({ ...host, publicIp: ip(192, 0, 2, 1) }, echo.open)).toMatch(/NAT/);
  expect(whyNotDirect({ ...host, portMapped: true }, echo.open)).toMatch(/NAT/);
  const refused = () => {
    throw new Error('cannot send ICMP echoes: no permission');
  };
  expect(whyNotDirect(host, refused)).toBe('cannot send ICMP echoes: no permission');
  expect(saysDirect(lease(7), 24)).toBe(true);
  expect(saysDirect(lease(7, {}, { DirectRouting: 1 }), 24)).toBe(false);
});
