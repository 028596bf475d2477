import { beforeEach, describe, expect, it } from 'vitest';
import type { Registry } from '../../../../src/control/etcd/registry.js';
import { releaseReservation, reserveSubnet } from '../../../../src/control/etcd/reservations.js';
import { formatReservationValue } from '../../../../src/core/lease.js';
import { createMemoryRegistry, type MemoryRegistry } from '../../../helpers/memory-registry.js';
import { CONFIG, entryOf, FLANNEL_VALUE, ip, peerValue, subnet, valuesIn } from './cluster.js';

const WANTED = subnet('10.240.26.0/24');
const NAME = '10.240.26.0-24';
const HOST = ip('10.1.1.7');

let registry: MemoryRegistry;
beforeEach(() => {
  registry = createMemoryRegistry();
});

describe('a reservation', () => {
  const reserve = (of: Registry = registry, what = WANTED, host = HOST) =>
    reserveSubnet({ registry: of, config: CONFIG, flags: [] }, what, host);

  it('is a key without a TTL and a node id', async () => {
    expect(await reserve()).toEqual([]);
    expect(await entryOf(registry, NAME)).toMatchObject({ ttlId: '0', value: formatReservationValue(HOST) });
  });

  it.each([
    ['a larger one that holds it', '10.240.24.0-22'],
    ['a smaller one in it', '10.240.26.128-25'],
    ["flannel's for IPv4 and IPv6", '10.240.26.0-24&2001:db8::-64'],
    ["flannel's for both, larger", '10.240.16.0-20&2001:db8::-64'],
  ])('is refused beside %s', async (_, name) => {
    registry.putRaw(name, peerValue('10.1.1.9'), 60);
    await expect(reserve()).rejects.toThrow(
      `subnet 10.240.26.0/24 overlaps ${name} of 10.1.1.9: expected one that nobody holds any part of; choose another subnet`,
    );
    expect(Object.keys(await valuesIn(registry))).toEqual([name]);
    expect(await reserve(registry, subnet('10.240.99.0/24'))).toEqual([]);
  });

  it.each([
    ['as large as the Network, which is nobody', '10.240.0.0-16'],
    ['beside it', '10.240.27.0-24'],
    ['of another network', '10.99.0.0-8'],
    ['that is no subnet', 'garbage'],
  ])('is not kept from anybody by a key %s', async (_, name) => {
    registry.putRaw(name, peerValue('10.1.1.9'), 60);
    expect(await reserve()).toEqual([]);
  });

  it.each(['10.240.1.0', '10.240.26.1', '10.240.255.255'])('is not for %s in the overlay', async (address) => {
    const inside = ip(address);
    const problem =
      /^PublicIP 10\.240\.\S+ lies inside the overlay: expected the address .* outside 10\.240\.0\.0\/16$/;
    await expect(reserve(registry, WANTED, inside)).rejects.toThrow(problem);
    expect(await valuesIn(registry)).toEqual({});
    // The first subnet is no node's, and a node may be there.
    expect(await reserve(registry, WANTED, ip('10.240.0.1'))).toEqual([]);
  });

  it('is one for each host, also of many that are made at once', async () => {
    const wanted = Array.from({ length: 8 }, (_, i) => subnet(`10.240.${i + 1}.0/24`));
    const made = await Promise.allSettled(wanted.map((each) => reserve(registry, each)));
    expect(made.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    const [first] = Object.keys(await valuesIn(registry));
    for (const result of made) {
      if (result.status === 'fulfilled') continue;
      expect(result.reason.message).toContain(`10.1.1.7 has the reservation ${first.replace('-', '/')} already`);
    }
  });

  it('is made beside nodes that lease meanwhile, and of several hosts at once', async () => {
    let meanwhile = 3;
    const busy: Registry = {
      ...registry,
      async listLeases() {
        const list = await registry.listLeases();
        if (meanwhile-- > 0) registry.putRaw(`10.240.${100 + meanwhile}.0-24`, peerValue('10.1.1.9'), 60);
        return list;
      },
    };
    const others = [1, 2, 3].map((i) => reserve(registry, subnet(`10.240.${i}.0/24`), ip(`10.1.1.${100 + i}`)));
    expect(await Promise.all([reserve(busy), ...others])).toEqual([[], [], [], []]);
  });

  it('is given up after many looks at a store that never stands still', async () => {
    let writes = 0;
    const restless: Registry = {
      ...registry,
      async listLeases() {
        const list = await registry.listLeases();
        registry.putRaw('10.240.99.0-24', peerValue(`10.1.2.${++writes}`), 60);
        return list;
      },
    };
    await expect(reserve(restless)).rejects.toThrow('was changed by somebody meanwhile: try again');
    expect(writes).toBe(10);
  });
});

describe('a reservation that is given up', () => {
  const release = (...heard: string[]) => releaseReservation(registry, WANTED, new Set(heard), 60);

  it('is deleted if nobody has taken it', async () => {
    registry.putRaw(NAME, formatReservationValue(HOST));
    expect(await release()).toBe(false);
    expect(await entryOf(registry, NAME)).toBeUndefined();
  });

  it('is deleted if no node could have taken it', async () => {
    registry.putRaw(NAME, 'garbage');
    expect(await release()).toBe(false);
  });

  it.each<[string, string, string[]]>([
    ['a node of ours', peerValue('10.1.1.7', 'node'), []],
    // Its value says nothing of a node, and a host without a daemon hears from nobody.
    ["a node of flannel's, from which nobody has heard", FLANNEL_VALUE, []],
    ['a node that is heard before it has said so', formatReservationValue(HOST), ['10.240.26.0/24']],
  ])('stays, with a TTL, for %s: peers see one key all the time', async (_, value, heard) => {
    registry.putRaw(NAME, value);
    const seen: string[] = [];
    const { revision } = await registry.listLeases();
    const watch = registry.watch(revision + 1, {
      events: (events) => seen.push(...events.map(({ type }) => type)),
      opened: () => undefined,
      ended: () => undefined,
    });
    expect(await release(...heard)).toBe(true);
    const entry = (await entryOf(registry, NAME))!;
    expect(entry.value).toBe(value);
    expect(await registry.timeToLive(entry.ttlId)).toMatchObject({ grantedSeconds: 60 });
    expect(seen).toEqual(['put']);
    watch.close();
  });
});
