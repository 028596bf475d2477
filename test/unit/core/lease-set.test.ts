import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseSubnet } from '../../../src/core/address-text.js';
import type { Lease } from '../../../src/core/lease.js';
import { createLeaseSet, type LeaseChange } from '../../../src/core/lease-set.js';
import { formatSubnet, formatSubnetKey, subnetAt } from '../../../src/core/subnet.js';
import { udp } from '../../helpers/leases.js';

const network = parseSubnet('10.240.0.0/16')!;

const lease = (number: number, publicIp: number, nodeId?: string, portMapped = false): Lease => ({
  subnet: subnetAt(network, 24, number),
  publicIp,
  nodeId,
  backend: udp(portMapped),
});

const told = (changes: LeaseChange[]) =>
  changes.map(({ type, lease }) => `${type} ${formatSubnet(lease.subnet)} at ${lease.publicIp}`);

const byKey = (leases: readonly Lease[]) => new Map(leases.map((entry) => [formatSubnetKey(entry.subnet), entry]));

describe('put', () => {
  it('tells a new lease, a changed PublicIP, and nothing for the same again', () => {
    const set = createLeaseSet();
    expect(told(set.put(lease(1, 7)))).toEqual(['added 10.240.1.0/24 at 7']);
    expect(set.put(lease(1, 7))).toEqual([]);
    expect(told(set.put(lease(1, 8)))).toEqual(['changed 10.240.1.0/24 at 8']);
    expect(set.values()).toEqual([lease(1, 8)]);
  });

  it('takes a new node id without telling: the next hop is the same', () => {
    const set = createLeaseSet();
    set.put(lease(1, 7, 'before'));
    expect(set.put(lease(1, 7, 'after'))).toEqual([]);
    expect(set.values()).toEqual([lease(1, 7, 'after')]);
  });

  it('tells that a reservation is taken: it is shown as another thing', () => {
    const set = createLeaseSet();
    set.put({ ...lease(1, 7), reserved: true });
    expect(set.put(lease(1, 7, 'id'))).toEqual([{ type: 'changed', lease: lease(1, 7, 'id') }]);
    expect(set.put({ ...lease(1, 7), reserved: true })).toHaveLength(1);
    expect(set.put({ ...lease(1, 7), reserved: true })).toEqual([]);
  });

  it('tells that the ports are mapped now, or no longer, and no other value', () => {
    const set = createLeaseSet();
    set.put(lease(1, 7));
    expect(set.put(lease(1, 7, undefined, true))).toEqual([{ type: 'changed', lease: lease(1, 7, undefined, true) }]);
    expect(set.put(lease(1, 7, undefined, true))).toEqual([]);
    expect(set.replaceAll([lease(1, 7)])).toEqual([{ type: 'changed', lease: lease(1, 7) }]);
  });

  it.each([{ host: 'beta' }, { version: '2.0.0' }])('tells a node that says of itself %j', (says) => {
    const set = createLeaseSet();
    set.put(lease(1, 7));
    expect(set.put({ ...lease(1, 7), ...says })).toMatchObject([{ type: 'changed', lease: says }]);
    expect(set.put({ ...lease(1, 7), ...says })).toEqual([]);
  });

  it('keeps subnets of one address and different length apart', () => {
    const set = createLeaseSet();
    const wide: Lease = { subnet: parseSubnet('10.240.0.0/20')!, publicIp: 7, nodeId: undefined, backend: udp() };
    const narrow: Lease = { subnet: parseSubnet('10.240.0.0/24')!, publicIp: 7, nodeId: undefined, backend: udp() };
    expect(told([...set.put(wide), ...set.put(narrow)])).toEqual([
      'added 10.240.0.0/20 at 7',
      'added 10.240.0.0/24 at 7',
    ]);
  });
});

describe('remove', () => {
  it('tells the lease that was there, once', () => {
    const set = createLeaseSet();
    set.put(lease(1, 7));
    expect(told(set.remove(parseSubnet('10.240.1.0/24')!))).toEqual(['removed 10.240.1.0/24 at 7']);
    expect(set.remove(parseSubnet('10.240.1.0/24')!)).toEqual([]);
    expect(set.values()).toEqual([]);
  });
});

describe('replaceAll', () => {
  it('tells removals first, then what is new or has another PublicIP', () => {
    const set = createLeaseSet();
    set.replaceAll([lease(1, 1), lease(2, 2), lease(3, 3)]);
    expect(told(set.replaceAll([lease(2, 2), lease(3, 33), lease(4, 4)]))).toEqual([
      'removed 10.240.1.0/24 at 1',
      'changed 10.240.3.0/24 at 33',
      'added 10.240.4.0/24 at 4',
    ]);
  });

  it('tells nothing for the same list', () => {
    const set = createLeaseSet();
    set.replaceAll([lease(1, 1), lease(2, 2)]);
    expect(set.replaceAll([lease(2, 2), lease(1, 1)])).toEqual([]);
  });

  it('tells all as removed for an empty list', () => {
    const set = createLeaseSet();
    set.replaceAll([lease(1, 1), lease(2, 2)]);
    expect(told(set.replaceAll([]))).toEqual(['removed 10.240.1.0/24 at 1', 'removed 10.240.2.0/24 at 2']);
    expect(set.values()).toEqual([]);
  });
});

const leases = fc
  .tuple(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 1, max: 3 }), fc.constantFrom('a', 'b', undefined))
  .map(([number, publicIp, nodeId]) => lease(number, publicIp, nodeId));
const lists = fc.uniqueArray(leases, { selector: (entry) => formatSubnetKey(entry.subnet) });

describe('lease set', () => {
  it('tells the difference of two lists by value, and holds the second', () => {
    fc.assert(
      fc.property(lists, lists, (before, after) => {
        const set = createLeaseSet();
        set.replaceAll(before);
        const [old, now] = [byKey(before), byKey(after)];
        const expected = [
          ...before.filter((entry) => !now.has(formatSubnetKey(entry.subnet))).map((entry) => ['removed', entry]),
          ...after.flatMap((entry) => {
            const known = old.get(formatSubnetKey(entry.subnet));
            if (known === undefined) return [['added', entry]];
            return known.publicIp === entry.publicIp ? [] : [['changed', entry]];
          }),
        ];
        expect(set.replaceAll(after).map(({ type, lease }) => [type, lease])).toEqual(expected);
        expect(byKey(set.values())).toEqual(now);
        expect(set.values()).toHaveLength(after.length);
      }),
    );
  });

  it('keeps a table right that only follows the changes', () => {
    const steps = fc.array(
      fc.oneof(
        leases.map((entry) => ({ put: entry })),
        leases.map((entry) => ({ remove: entry.subnet })),
        lists.map((list) => ({ replaceAll: list })),
      ),
    );
    fc.assert(
      fc.property(steps, (sequence) => {
        const set = createLeaseSet();
        const table = new Map<string, number>();
        for (const step of sequence) {
          const changes =
            'put' in step
              ? set.put(step.put)
              : 'remove' in step
                ? set.remove(step.remove)
                : set.replaceAll(step.replaceAll);
          for (const { type, lease } of changes) {
            const key = formatSubnetKey(lease.subnet);
            expect(type === 'added').toBe(!table.has(key));
            if (type === 'removed') table.delete(key);
            else table.set(key, lease.publicIp);
          }
          const held = new Map(set.values().map((entry) => [formatSubnetKey(entry.subnet), entry.publicIp]));
          expect(table).toEqual(held);
        }
      }),
    );
  });
});
