import { describe, expect, it } from 'vitest';
import { parseIpv4 } from '../../../src/core/address-text.js';
import { formatIpv4, type Ipv4 } from '../../../src/core/ipv4.js';
import { type Forwarding, type Netlink, NetlinkError, type RouteInfo } from '../../../src/system/netlink.js';
import { type Candidate, matchInterface, selectUnderlay, type UnderlayChoice } from '../../../src/system/underlay.js';

const ip = (text: string): Ipv4 => parseIpv4(text)!;
const NO_CHOICE: UnderlayChoice = { iface: [], ifaceRegex: [], canReach: undefined };

const candidates: Candidate[] = [
  { index: 2, name: 'eth0', address: ip('10.1.1.140'), prefixLength: 24, mtu: 1500 },
  { index: 2, name: 'eth0', address: ip('10.1.1.141'), prefixLength: 24, mtu: 1500 },
  { index: 3, name: 'eth1', address: ip('192.168.7.2'), prefixLength: 24, mtu: 9000 },
  { index: 4, name: 'wg10', address: ip('172.16.0.1'), prefixLength: 24, mtu: 1420 },
];

describe('matchInterface', () => {
  const match = (iface: string[], ifaceRegex: RegExp[] = []) => {
    const found = matchInterface(candidates, { iface, ifaceRegex });
    return found && `${found.name} ${formatIpv4(found.address)}`;
  };

  it.each([
    [['eth1'], 'eth1 192.168.7.2'],
    [['eth0'], 'eth0 10.1.1.140'], // the first of two addresses
    [['10.1.1.141'], 'eth0 10.1.1.141'],
    [['eth9', 'wg10', 'eth0'], 'wg10 172.16.0.1'],
    [['eth1', 'eth0'], 'eth1 192.168.7.2'], // order of the wish, not of the host
    [['eth'], undefined],
    [['ETH0'], undefined],
    [['10.1.1.14'], undefined],
    [[], undefined],
  ])('finds for %j exactly %s', (iface, expected) => {
    expect(match(iface)).toBe(expected);
  });

  it.each([
    [[/^192\.168\./], 'eth1 192.168.7.2'],
    [[/^wg/], 'wg10 172.16.0.1'],
    [[/10/], 'eth0 10.1.1.140'], // an address goes before the name wg10
    [[/^none$/, /eth1/], 'eth1 192.168.7.2'],
    [[/eth1/, /^10\./], 'eth1 192.168.7.2'],
    [[/^none$/], undefined],
  ])('finds by pattern %s: %s', (patterns, expected) => {
    expect(match([], patterns)).toBe(expected);
  });

  it('tries exact names before patterns', () => {
    expect(match(['wg10'], [/eth0/])).toBe('wg10 172.16.0.1');
    expect(match(['eth9'], [/eth0/])).toBe('eth0 10.1.1.140');
  });
});

/** A host: lo, eth0, eth1, a device that is down, and one without an address. What is not needed here throws. */
function createHost(answers: Partial<Omit<Netlink, 'wireguard'>> = {}): Netlink {
  const unexpected = () => Promise.reject(new Error('not expected here'));
  const addresses: [index: number, address: string, scope: number][] = [
    [1, '127.0.0.1', 254],
    [2, '169.254.3.4', 253],
    [2, '10.1.1.140', 0],
    [3, '192.168.7.2', 0],
    [4, '172.16.0.1', 0],
    [9, '172.16.9.9', 0], // its link went away between two requests
  ];
  const link = (index: number, name: string, mtu: number, up: boolean) => {
    return { index, name, mtu, up, isPort: false, kind: '', alias: '', carrier: up };
  };
  return {
    links: async () => [
      link(1, 'lo', 65536, true),
      link(2, 'eth0', 1500, true),
      link(3, 'eth1', 9000, true),
      link(4, 'down0', 1500, false),
      link(5, 'bare0', 1500, true),
    ],
    addresses: async () =>
      addresses.map(([index, address, scope]) => ({ index, address: ip(address), prefixLength: 24, scope })),
    defaultRouteInterface: async () => 2,
    wireguard: { create: unexpected, read: unexpected, change: unexpected },
    interfaceTowards: unexpected,
    link: unexpected,
    routes: unexpected,
    routeTo: unexpected,
    deleteRoute: unexpected,
    deleteConntrack: unexpected,
    watch: () => {
      throw new Error('not expected here');
    },
    setLinkUp: unexpected,
    acceptLocal: unexpected,
    noLinkLocalAddress: unexpected,
    hasIpv6Address: unexpected,
    removeIpv6Addresses: unexpected,
    sourceTowards: unexpected,
    setOnlyAddress: unexpected,
    hasRoute: unexpected,
    ensureRoute: unexpected,
    deleteLink: unexpected,
    setAlias: unexpected,
    rulesGeneration: unexpected,
    close: () => undefined,
    ...({} as Forwarding), // none of it is there to be called
    ...answers,
  };
}

const THERE_IS = 'expected eth0 (10.1.1.140), eth1 (192.168.7.2)';

describe('selectUnderlay', () => {
  it('takes the interface of the default route', async () => {
    expect(await selectUnderlay(createHost(), NO_CHOICE)).toMatchObject({
      name: 'eth0',
      address: ip('10.1.1.140'),
      mtu: 1500,
    });
  });

  it('takes a named interface and needs no default route', async () => {
    const host = createHost({ defaultRouteInterface: () => Promise.reject(new Error('not to be asked')) });
    expect(await selectUnderlay(host, { ...NO_CHOICE, iface: ['eth1'] })).toMatchObject({ name: 'eth1', mtu: 9000 });
    expect(await selectUnderlay(host, { ...NO_CHOICE, ifaceRegex: [/^192/] })).toMatchObject({ name: 'eth1' });
  });

  it('takes the interface that leads to an address', async () => {
    const asked: string[] = [];
    const host = createHost({
      interfaceTowards: async (address) => {
        asked.push(formatIpv4(address));
        return 3;
      },
    });
    expect(await selectUnderlay(host, { ...NO_CHOICE, canReach: ip('192.168.200.1') })).toMatchObject({ name: 'eth1' });
    expect(asked).toEqual(['192.168.200.1']);
  });

  it('prefers --iface to --iface-can-reach', async () => {
    const choice = { ...NO_CHOICE, iface: ['eth0'], canReach: ip('192.168.200.1') };
    expect(await selectUnderlay(createHost(), choice)).toMatchObject({ name: 'eth0' });
  });

  it.each([
    ['a name', { iface: ['eth7'] }, `no interface matches "eth7": ${THERE_IS}; correct --iface`],
    ['an address', { iface: ['10.9.9.9'] }, `no interface matches "10.9.9.9": ${THERE_IS}; correct --iface`],
    ['a device that is down', { iface: ['down0'] }, `no interface matches "down0": ${THERE_IS}; correct --iface`],
    ['loopback', { iface: ['lo'] }, `no interface matches "lo": ${THERE_IS}; correct --iface`],
    ['one without address', { iface: ['bare0'] }, `no interface matches "bare0": ${THERE_IS}; correct --iface`],
    [
      'a link-local address',
      { iface: ['169.254.3.4'] },
      `no interface matches "169.254.3.4": ${THERE_IS}; correct --iface`,
    ],
    [
      'several',
      { iface: ['a', 'b'], ifaceRegex: [/^c/] },
      `no interface matches "a" or "b" or /^c/: ${THERE_IS}; correct --iface`,
    ],
  ])('names what there is when nothing matches %s', async (_, choice, message) => {
    const failure = selectUnderlay(createHost(), { ...NO_CHOICE, ...choice });
    await expect(failure).rejects.toMatchObject({ name: 'RudderError', code: 'interface', message });
  });

  it.each([
    ['there is none', undefined],
    ['its interface has no address', 5],
    ['its interface is down', 4],
  ])('names what there is when no default route serves: %s', async (_, index) => {
    const host = createHost({ defaultRouteInterface: async () => index });
    await expect(selectUnderlay(host, NO_CHOICE)).rejects.toMatchObject({
      code: 'interface',
      message: `this host has no IPv4 default route over an interface with an address: ${THERE_IS}; choose one with --iface`,
    });
  });

  it('names the address that no interface leads to', async () => {
    const host = createHost({ interfaceTowards: async () => 1 });
    await expect(selectUnderlay(host, { ...NO_CHOICE, canReach: ip('10.9.9.9') })).rejects.toMatchObject({
      code: 'interface',
      message: `no interface with an address leads to 10.9.9.9: ${THERE_IS}; choose one with --iface`,
    });
  });

  it("tells the kernel's reason when an address has no route", async () => {
    const cause = new NetlinkError('netlink: look up a route: Request rejected: ENETUNREACH', 'ENETUNREACH');
    const host = createHost({ interfaceTowards: () => Promise.reject(cause) });
    await expect(selectUnderlay(host, { ...NO_CHOICE, canReach: ip('10.9.9.9') })).rejects.toMatchObject({
      code: 'interface',
      message: expect.stringMatching(/^no route to --iface-can-reach 10\.9\.9\.9: .*ENETUNREACH; .+--iface$/),
      cause,
    });
  });

  it('says that the host has no usable interface at all', async () => {
    const host = createHost({ addresses: async () => [], defaultRouteInterface: async () => undefined });
    await expect(selectUnderlay(host, NO_CHOICE)).rejects.toThrow(
      'expected an interface that is up and has an IPv4 address, of which there is none; choose one with --iface',
    );
  });
});

describe('of several addresses of the interface', () => {
  /** eth0 with a link-local address, a virtual one, and two others, in this order. */
  const LISTED: [address: string, prefixLength: number][] = [
    ['169.254.7.7', 16],
    ['10.1.1.200', 32],
    ['10.1.1.140', 24],
    ['10.1.2.140', 24],
  ];
  function host(changes: Partial<Netlink> = {}, listed = LISTED): Netlink {
    const addresses = listed.map(([text, prefixLength]) => ({ index: 2, address: ip(text), prefixLength, scope: 0 }));
    return createHost({ addresses: async () => addresses, ...changes });
  }
  const route = (changes: Partial<RouteInfo>): RouteInfo => ({
    table: 254,
    destination: { address: 0, prefixLength: 0 },
    index: 2,
    gateway: ip('10.1.2.1'),
    metric: 100,
    type: 1,
    ...changes,
  });
  const chosen = async (netlink: Netlink, choice = NO_CHOICE, current?: string) =>
    formatIpv4((await selectUnderlay(netlink, choice, current === undefined ? undefined : ip(current))).address);

  it('takes the one that the default route names, of the lowest metric', async () => {
    const routes = [route({ metric: 200, source: ip('10.1.1.140') }), route({ source: ip('10.1.2.140') })];
    expect(await chosen(host({ routes: async () => routes }))).toBe('10.1.2.140');
  });

  it('takes the one that the kernel sends from to the gateway', async () => {
    const sourceTowards = async (address: Ipv4) => (address === ip('10.1.2.1') ? ip('10.1.2.140') : undefined);
    expect(await chosen(host({ routes: async () => [route({})], sourceTowards }))).toBe('10.1.2.140');
  });

  it('takes the one that the kernel sends from to --iface-can-reach', async () => {
    const sourceTowards = async () => ip('10.1.2.140');
    const netlink = host({ interfaceTowards: async () => 2, sourceTowards });
    expect(await chosen(netlink, { ...NO_CHOICE, canReach: ip('192.0.2.1') })).toBe('10.1.2.140');
  });

  it.each([
    ['neither a link-local nor a virtual one', LISTED, '10.1.1.140'],
    ['a virtual one before a link-local one', LISTED.slice(0, 2), '10.1.1.200'],
    ['a link-local one if there is no other', LISTED.slice(0, 1), '169.254.7.7'],
  ])('if the kernel does not say, takes %s', async (_, listed, address) => {
    expect(await chosen(host({ routes: async () => [] }, listed))).toBe(address);
    expect(await chosen(host({ routes: async () => [] }, listed), { ...NO_CHOICE, iface: ['eth0'] })).toBe(address);
  });

  it('takes a single address of one host, as clouds give it', async () => {
    const netlink = host({ routes: async () => [route({ source: ip('10.1.1.200') })] });
    expect(await chosen(netlink)).toBe('10.1.1.200');
  });

  it('keeps the one of the last run while it is there, but never a link-local one', async () => {
    const netlink = host({ routes: async () => [route({ source: ip('10.1.2.140') })] });
    expect(await chosen(netlink, NO_CHOICE, '10.1.1.140')).toBe('10.1.1.140');
    expect(await chosen(netlink, NO_CHOICE, '10.1.1.99')).toBe('10.1.2.140');
    expect(await chosen(netlink, NO_CHOICE, '169.254.7.7')).toBe('10.1.2.140');
  });

  it('takes any that is asked for by itself', async () => {
    expect(await chosen(host(), { ...NO_CHOICE, iface: ['169.254.7.7'] })).toBe('169.254.7.7');
    expect(await chosen(host(), { ...NO_CHOICE, ifaceRegex: [/^169/] })).toBe('169.254.7.7');
  });

  it('names the others', async () => {
    const { others } = await selectUnderlay(host(), NO_CHOICE);
    expect(others?.map(formatIpv4)).toEqual(['10.1.2.140', '10.1.1.200', '169.254.7.7']);
  });
});
