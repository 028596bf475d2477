import { expect, it } from 'vitest';
import { describeWith } from '../helpers/requires.js';
import { runChild } from './child.js';

describeWith(['root', 'tun', 'iptables', 'conntrack'], 'netlink', () => {
  it('sets links, addresses and routes idempotently, one request at a time, with errors that have a code', () => {
    const out = runChild('./netlink.child.mjs', 'Release');
    expect(out.link).toMatchObject({ name: 't0', mtu: 1400, up: true });
    expect(out.queue).toBe('900');
    expect(out.addresses).toMatchObject([{ address: (10 << 24) | (8 << 16), prefixLength: 16, scope: 0 }]);
    expect((out.kinds as unknown[][]).sort()).toEqual([
      ['br0', 'bridge', '', expect.any(Boolean)],
      ['lo', '', '', true],
      ['t0', 'tun', 'whose it is', true],
      ['tap0', 'tap', '', false],
      ['tun9', 'tun', '', false],
    ]);
    expect(out.towards).toBe(true);
    expect(out.noDefault).toBe('none');
    expect(out.defaultIsLowestMetric).toBe(true);
    expect(out.firstOfNextHops).toBe(true);
    expect(out.mainRoute).toEqual([254, 16, true, 1]);
    // The kernel keeps the tables local and main as one until there is a policy rule.
    expect(out.localRoute).toEqual([expect.any(Number), 32, false, 2]);
    expect(out.ruleRoute).toEqual([552, 24, true, 1]);
    expect(out.noRoute).toBe('none');
    expect(out.through).toEqual(['254/0', '254/0', '254/16', '254/16', '552/24']);
    expect(out.throughLater).toEqual(['254/0', '254/0', '254/16']);
    expect(out.noticed).toEqual([true, false, false, true, true, true, true, true, true]);
    expect(out.noEntry).toMatchObject({ code: 'ENOENT' });
    expect(out.entry).toBe('ok');
    expect(out.unreachable).toEqual({ code: 'ENODEV', errno: -19, syscall: 'netlink' });
    expect(out.concurrent).toBe(1000);
    expect(out.behindFailure).toEqual(['ENODEV', true]);
    expect(out.sameGeneration).toBe(true);
    expect(out.nextGeneration).toBe(1);
    expect(out.deleted).toBe('gone');
  });
});
