import { expect, it } from 'vitest';
import { describeWith } from '../helpers/requires.js';
import { runChild } from './child.js';

describeWith(['root', 'tun', 'iptables'], 'netlink', () => {
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
    expect(out.unreachable).toEqual({ code: 'ENODEV', errno: -19, syscall: 'netlink' });
    expect(out.concurrent).toBe(1000);
    expect(out.behindFailure).toEqual(['ENODEV', true]);
    expect(out.sameGeneration).toBe(true);
    expect(out.nextGeneration).toBe(1);
    expect(out.deleted).toBe('gone');
  });
});
