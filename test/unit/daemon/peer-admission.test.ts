import { beforeEach, describe, expect, it } from 'vitest';
import { parseIpv4, parseSubnet } from '../../../src/core/address-text.js';
import { MOST_AT_ONCE } from '../../../src/core/in-turns.js';
import { formatIpv4 } from '../../../src/core/ipv4.js';
import type { Lease } from '../../../src/core/lease.js';
import type { LeaseChange } from '../../../src/core/lease-set.js';
import { parseCommonConfig } from '../../../src/core/network-config.js';
import { formatSubnet } from '../../../src/core/subnet.js';
import { createPeerAdmission, type PeerAdmission } from '../../../src/daemon/peer-admission.js';
import type { Firewall } from '../../../src/system/firewall.js';
import type { RouteInfo } from '../../../src/system/netlink.js';
import type { Members } from '../../../src/system/nft-rules.js';
import { udp } from '../../helpers/leases.js';
import { createRecordingLog, type RecordingLog } from '../../helpers/recording-log.js';

const ip = (text: string) => parseIpv4(text)!;
const net = (text: string) => parseSubnet(text)!;
const DEVICE = 7;

const lease = (subnet: string, publicIp: string, portMapped = false): Lease => ({
  subnet: net(subnet),
  publicIp: ip(publicIp),
  nodeId: undefined,
  backend: udp(portMapped),
});
const put = (one: Lease, type: LeaseChange['type'] = 'added'): LeaseChange => ({ type, lease: one });
const gone = (one: Lease): LeaseChange => ({ type: 'removed', lease: one });

let log: RecordingLog;
let admission: PeerAdmission;
/** What was done, in order. */
let done: string[];
/** Where the kernel routes what is inside the Network or suspect otherwise: by the device unless said here. */
let elsewhere: Set<string>;
let asked: string[];

beforeEach(async () => {
  log = createRecordingLog();
  done = [];
  elsewhere = new Set();
  asked = [];
  admission = createPeerAdmission({
    config: parseCommonConfig('{"Network":"10.240.0.0/16"}'),
    own: net('10.240.26.0/24'),
    netlink: {
      async routeTo(address) {
        asked.push(formatIpv4(address));
        const index = elsewhere.has(formatIpv4(address)) ? 2 : DEVICE;
        return { table: 254, destination: net(`${formatIpv4(address)}/32`), index, type: 1 } as RouteInfo;
      },
    },
    backend: {
      async apply(changes) {
        for (const { type, lease } of changes) done.push(`${type} ${formatSubnet(lease.subnet)}`);
      },
    },
    source: () => ip('10.1.1.26'),
    log,
  });
  const told = (verb: string) => async (members: Members) => {
    const text = (set: ReadonlySet<number>) => [...set].map(formatIpv4).join();
    done.push(`${verb} ${text(members.direct)}|${text(members.portMapped)}`);
  };
  admission.use({ addMembers: told('+'), removeMembers: told('-'), replaceMembers: told('=') } as unknown as Firewall);
  await admission.recheck({ device: DEVICE, foreign: [] });
  done.length = 0;
});

async function given(...changes: LeaseChange[]): Promise<string[]> {
  done.length = 0;
  admission.apply(changes);
  await admission.settled();
  return done;
}

describe('a peer', () => {
  it('is a member before it is routed, and until it is routed no more', async () => {
    expect(await given(put(lease('10.240.7.0/24', '10.1.1.7')))).toEqual(['+ 10.1.1.7|', 'added 10.240.7.0/24']);
    expect(await given(gone(lease('10.240.7.0/24', '10.1.1.7')))).toEqual(['removed 10.240.7.0/24', '- 10.1.1.7|']);
    // Outside of the Network: the kernel need not be asked.
    expect(asked).toEqual([]);
  });

  it('that moves, or says that its port is mapped, is followed', async () => {
    await given(put(lease('10.240.7.0/24', '10.1.1.7')));
    expect(await given(put(lease('10.240.7.0/24', '10.1.1.8'), 'changed'))).toEqual([
      '+ 10.1.1.8|',
      'changed 10.240.7.0/24',
      '- 10.1.1.7|',
    ]);
    expect(await given(put(lease('10.240.7.0/24', '10.1.1.8', true), 'changed'))).toEqual([
      '+ |10.1.1.8',
      'changed 10.240.7.0/24',
      '- 10.1.1.8|',
    ]);
  });

  it('with two leases is a member until the second one goes', async () => {
    await given(put(lease('10.240.7.0/24', '10.1.1.7')), put(lease('10.240.8.0/24', '10.1.1.7')));
    expect(await given(gone(lease('10.240.7.0/24', '10.1.1.7')))).toEqual(['removed 10.240.7.0/24']);
    expect(await given(gone(lease('10.240.8.0/24', '10.1.1.7')))).toEqual(['removed 10.240.8.0/24', '- 10.1.1.7|']);
  });

  it('is taken at once, and those that come one after the other behind it together', async () => {
    for (let i = 1; i <= 20; i++) {
      admission.apply([put(lease(`10.240.${100 + i}.0/24`, `10.1.1.${100 + i}`))]);
      await new Promise(setImmediate);
      if (i === 1) expect(done).toEqual(['+ 10.1.1.101|', 'added 10.240.101.0/24']);
    }
    await admission.settled();
    expect(done.filter((line) => line.startsWith('added'))).toHaveLength(20);
    expect(done.filter((line) => line.startsWith('+')).length).toBeLessThanOrEqual(5);
  });

  it('of thousands is taken in another turn than that which has told of them', async () => {
    const many = Array.from({ length: 600 }, (_, i) => put(lease(`10.240.${i & 255}.0/24`, '10.1.1.7')));
    admission.apply(many);
    for (let i = 0; i < 100; i++) await Promise.resolve();
    expect(done).toEqual([]);
    await admission.settled();
    expect(done.length).toBeGreaterThan(0);
  });

  it('of thousands is taken with some others of them, and not with all in one turn', async () => {
    const many = Array.from({ length: 1200 }, (_, i) => put(lease(`10.${i >> 8}.${i & 255}.0/24`, '10.1.1.7')));
    admission.apply(many);
    const taken: number[] = [];
    const count = () => taken.push(done.filter((line) => line.startsWith('added')).length);
    const settled = admission.settled().then(() => true);
    while (!(await Promise.race([settled, new Promise((resolve) => setImmediate(resolve, false))]))) count();
    // Those of the last turn, which are all if there was one alone.
    count();
    expect(taken.at(-1)).toBe(1200);
    expect(Math.max(...taken.map((count, i) => count - (taken[i - 1] ?? 0)))).toBeLessThanOrEqual(MOST_AT_ONCE);
  });

  it('that changes hands within one batch stays a member', async () => {
    await given(put(lease('10.240.7.0/24', '10.1.1.7')));
    const handed = [gone(lease('10.240.7.0/24', '10.1.1.7')), put(lease('10.240.8.0/24', '10.1.1.7'))];
    expect(await given(...handed)).toEqual(['removed 10.240.7.0/24', 'added 10.240.8.0/24']);
  });

  it('that changes hands within thousands stays a member, whichever turn its subnets are taken in', async () => {
    await given(put(lease('10.240.7.0/24', '10.1.1.7')));
    const others = Array.from({ length: 1200 }, (_, i) => put(lease(`10.${i >> 8}.${i & 255}.0/24`, '10.1.1.8')));
    const handed = [gone(lease('10.240.7.0/24', '10.1.1.7')), ...others, put(lease('10.240.8.0/24', '10.1.1.7'))];
    expect((await given(...handed)).filter((line) => /^[+-]/.test(line))).toEqual(['+ 10.1.1.8|']);
    expect(await given(gone(lease('10.240.8.0/24', '10.1.1.7')))).toEqual(['removed 10.240.8.0/24', '- 10.1.1.7|']);
  });
});

describe('a lease whose node cannot be a next hop', () => {
  it.each([
    ['in its own subnet', '10.240.0.0/24', '10.240.0.7', /lies in the leased subnet 10\.240\.0\.0\/24/],
    ['in our subnet', '10.240.7.0/24', '10.240.26.7', /lies in the leased subnet 10\.240\.26\.0\/24/],
    ['reached through the overlay only', '10.240.7.0/24', '10.240.99.1', /reached only through the overlay itself/],
  ])('%s is skipped, told once and shown', async (_, subnet, publicIp, problem) => {
    const bad = lease(subnet, publicIp);
    expect(await given(put(bad))).toEqual([]);
    expect(admission.problemOf(bad)).toMatch(problem);
    await admission.recheck({ device: DEVICE, foreign: [] });
    expect(log.lines.filter(({ message }) => message === 'a peer is skipped')).toHaveLength(1);
    expect(await given(gone(bad))).toEqual([]);
    expect(admission.problemOf(bad)).toBeUndefined();
  });

  it('is skipped from when its address lies in the subnet of another, also if a route leads elsewhere', async () => {
    elsewhere.add('10.240.9.9');
    const first = lease('10.240.7.0/24', '10.240.9.9');
    expect(await given(put(first))).toEqual(['+ 10.240.9.9|', 'added 10.240.7.0/24']);
    const other = lease('10.240.9.0/24', '10.1.1.9');
    expect((await given(put(other))).sort()).toEqual([
      '+ 10.1.1.9|',
      '- 10.240.9.9|',
      'added 10.240.9.0/24',
      'removed 10.240.7.0/24',
    ]);
    expect(await given(gone(other))).toEqual(expect.arrayContaining(['added 10.240.7.0/24']));
  });

  it('becomes a peer when a route leads elsewhere, and none when that goes', async () => {
    const bad = lease('10.240.7.0/24', '10.240.99.1');
    await given(put(bad));
    elsewhere.add('10.240.99.1');
    await admission.recheck({ device: DEVICE, foreign: [] });
    expect(done).toEqual(['+ 10.240.99.1|', 'added 10.240.7.0/24']);
    elsewhere.clear();
    done.length = 0;
    await admission.recheck({ device: DEVICE, foreign: [] });
    expect(done).toEqual(['removed 10.240.7.0/24', '- 10.240.99.1|']);
  });

  it('is found outside of the Network too, where somebody routes it into our device', async () => {
    const peer = lease('10.240.7.0/24', '192.0.2.7');
    await given(put(peer));
    done.length = 0;
    await admission.recheck({ device: DEVICE, foreign: [net('192.0.2.0/24')] });
    expect(done).toEqual(['removed 10.240.7.0/24', '- 192.0.2.7|']);
    await admission.recheck({ device: DEVICE, foreign: [] });
    expect(admission.problemOf(peer)).toBeUndefined();
  });
});

it('a subnet of another length that overlaps our own is skipped, and told', async () => {
  const overlapping = lease('10.240.24.0/22', '10.1.1.77');
  admission.apply([put(overlapping), put(lease('10.240.64.0/22', '10.1.1.78'))]);
  await admission.settled();
  expect(done).toContain('added 10.240.64.0/22');
  expect(done).not.toContain('added 10.240.24.0/22');
  expect(admission.problemOf(overlapping)).toBe("its subnet overlaps this node's own, 10.240.26.0/24");
});

it('an address inside a larger leased subnet is no next hop', async () => {
  const inside = lease('10.240.77.0/24', '10.240.65.9');
  admission.apply([put(lease('10.240.64.0/22', '10.1.1.78')), put(inside)]);
  await admission.settled();
  expect(admission.problemOf(inside)).toBe('its address 10.240.65.9 lies in the leased subnet 10.240.64.0/22');
});
