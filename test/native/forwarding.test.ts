import { expect, it } from 'vitest';
import { describeWith } from '../helpers/requires.js';
import { runChild } from './child.js';

const address = (a: number, b: number, c: number, d: number) => (a << 24) | (b << 16) | (c << 8) | d;

describeWith(['root', 'vxlan'], 'netlink for forwarding by the kernel', () => {
  it('writes links, neighbours, FDB entries and routes as ip shows them, and reads them back', () => {
    const out = runChild('./forwarding.child.mjs', 'Release');
    expect([out.sameName, out.sameVni]).toEqual(['EEXIST', 'EEXIST']);
    expect(out.shown).toEqual({
      mac: '0e:00:00:00:00:01',
      mtu: 1450,
      id: 4097,
      port: 4789,
      local: '10.1.1.1',
      learning: false,
      gbp: true,
    });
    const vxlan = { id: 4097, port: 4789, learning: false, gbp: true, isOfAnotherSort: false };
    const made = { mac: '0e:00:00:00:00:01', mtu: 1450, up: false, vxlan: { ...vxlan, local: address(10, 1, 1, 1) } };
    expect(out.details).toMatchObject(made);
    const changed = { mac: '0e:00:00:00:00:02', mtu: 1400, up: true, vxlan: { ...vxlan, local: address(10, 1, 1, 2) } };
    expect(out.changed).toMatchObject(changed);
    expect(out.noDetails).toBe('none');
    expect(out.ofAnotherKind).toMatchObject({ name: 'eth0', kind: 'veth' });
    expect(out.ofAnotherKind).not.toHaveProperty('vxlan');
    expect(out.addresses).toMatchObject([{ address: address(10, 240, 1, 0), prefixLength: 32 }]);

    const first = { address: address(10, 240, 2, 0), mac: '0e:00:00:00:02:00' };
    const second = { address: address(10, 240, 3, 0), mac: '0e:00:00:00:03:00' };
    expect(out.neighbours).toHaveLength(2);
    expect(out.neighbours).toEqual(expect.arrayContaining([first, second]));
    expect(out.neighboursLater).toEqual([second]);
    expect(out.deletedTwice).toBe('ENOENT');
    const left = { mac: '0e:00:00:00:03:00', address: address(10, 1, 1, 8) };
    expect(out.fdb).toHaveLength(2);
    expect(out.fdb).toEqual(
      expect.arrayContaining([{ mac: '0e:00:00:00:02:00', address: address(10, 1, 1, 7) }, left]),
    );
    expect(out.fdbLater).toEqual([left]);
    expect(out.fdbOfOthers).toEqual([]);

    expect(out.shownRoutes).toEqual([
      'blackhole 10.240.1.0/24 proto 80 metric 4294967295',
      '10.240.2.0/24 via 10.240.2.0 dev rudder.1 proto 80 onlink',
      '10.240.2.0/24 via 10.1.1.8 dev eth0 metric 50',
    ]);
    const [overlay, through, ours] = [(10 << 8) | 240, (10 << 8) | 251, (10 << 8) | 252];
    expect((out.routes as string[]).sort()).toEqual([
      `${overlay} 24 0 80 1 true`,
      `${overlay} 24 4294967295 80 6 false`,
      `${overlay} 24 50 3 1 false`,
      `${through} 16 0 3 1 false`,
      `${ours} 16 0 80 1 false`,
    ]);
    expect(out.routesOfOne).toMatchObject({ gateway: address(10, 240, 2, 0), protocol: 80 });
    expect(out.notBy).toBe('ESRCH');
    expect(out.routesLater).toEqual([`${overlay} 24 4294967295 80 6 false`, `${overlay} 24 50 3 1 false`]);
    expect(out.shownElsewhere).toEqual([
      'unreachable 10.240.0.0/16 proto 80',
      '10.240.2.0/24 via 10.1.1.7 dev eth0 proto 80 src 10.1.1.1 mtu 1400',
    ]);
    expect(out.elsewhere).toMatchObject({
      gateway: address(10, 1, 1, 7),
      table: 8285,
      source: address(10, 1, 1, 1),
      mtu: 1400,
      isOnLink: false,
    });
    expect(out.mainAlone).toEqual([]);
    expect(out.elsewhereLater).toEqual([`${overlay} 16 0 80 7 false`]);
    expect(out.ruleTwice).toBe('EEXIST');
    expect(out.shownRules).toEqual([
      '99:\tfrom all fwmark 0x205d lookup 552',
      '100:\tfrom all fwmark 0x205d lookup 8285 proto 80',
    ]);
    expect(out.rules).toEqual([{ mark: 8285, table: 8285, priority: 100, protocol: 80 }]);
    expect(out.ruleGone).toBe('ENOENT');
    expect(out.rulesLater).toEqual([[], true]);
    expect(out.offLink).toBe('ENETUNREACH');
    expect(out.hops).toEqual([
      [true, false, false],
      [true, true, false],
      [false, false, true],
    ]);
    expect(out.noHop).toBe('none');
    expect(out.hopOfOtherFamily).toBe(true);
    expect(out.noticed).toEqual([false, false, true, true]);
  });
});
