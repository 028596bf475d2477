import { expect, it } from 'vitest';
import { describeWith } from '../helpers/requires.js';
import { runChild } from '../native/child.js';

const HOSTILE = 1_000_000;
const MEBIBYTE = 2 ** 20;

describeWith(['root', 'tun'], 'a node with a sealed wire', () => {
  it('delivers none of a million hostile datagrams, counts each once, and does not grow', { timeout: 600_000 }, () => {
    const out = runChild('../native/sealed-pair.child.mjs', 'Release', {
      RUDDER_TEST_HOSTILE: String(HOSTILE),
      RUDDER_TEST_MEGABYTES: '2',
    });
    const { rest, ...million } = out.million as Record<string, number> & { rest: Record<string, number> };
    expect(million).toMatchObject({ sent: HOSTILE, delivered: 0 });
    // The first may be answered by the key that was led astray.
    expect(million.stillThere).toBeGreaterThanOrEqual(2);
    // What found the socket's buffer full counts too.
    expect(million.accounted).toBe(HOSTILE);
    expect(million.lost).toBeLessThan(HOSTILE / 10);
    // The 64 that the mailbox holds, of which nobody takes any here, and the empty packets that were genuine.
    expect(rest).toMatchObject({ in_handshakes: 64, in_keepalives: 2000 });
    for (const reason of ['no_session', 'bad_tag', 'replay', 'bad_mac', 'mailbox_full', 'malformed']) {
      expect(rest[`in_drop_${reason}`], reason).toBeGreaterThan(HOSTILE / 100);
    }
    // Timers of the main thread, where etcd is, were not kept waiting.
    expect(million.longest).toBeLessThan(1000);
    expect(million.grown).toBeLessThan(32 * MEBIBYTE);
    expect(out.failures).toEqual([null, null]);
  });
});
