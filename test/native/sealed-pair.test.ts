import { expect, it } from 'vitest';
import { describeWith } from '../helpers/requires.js';
import { isBuilt, runChild } from './child.js';

const ALL_DROPS = ['in_drop_bad_mac', 'in_drop_bad_tag', 'in_drop_malformed', 'in_drop_no_session'];

describeWith(['root', 'tun'], 'two nodes with a sealed wire between them', () => {
  it.each([
    ['with all offloads', '1', '0'],
    ['with all offloads, and threads that help the cipher', '1', '2'],
    ['without offloads', '0', '0'],
  ])(
    'carry ping, TCP over two changes of keys, and a flood, and nothing that is hostile, %s',
    { timeout: 90_000 },
    (_, offloads, threads) => {
      expect(isBuilt('Release')).toBe(true);
      const out = runChild('./sealed-pair.child.mjs', 'Release', {
        RUDDER_TEST_OFFLOADS: offloads,
        RUDDER_TEST_THREADS: threads,
        RUDDER_TEST_MEGABYTES: '24',
      });
      expect(out.attention).toEqual({ line: 1, wantsSession: true, confirmed: [] });
      // All that was sent before there was a session arrived with it.
      expect(out.early).toBe(3);
      expect(out.sizes).toEqual(Array(8).fill(2));
      expect(out.transfer).toBe(true);
      expect(out.secondTransfer).toBe(true);
      expect(out.flood).toEqual({ some: true, isWrong: false });
      expect(out.hostile).toMatchObject({ sent: 1500, dropped: 1500, delivered: 0, mail: 0 });
      for (const reason of (out.hostile as { reasons: string[] }).reasons) expect(ALL_DROPS).toContain(reason);
      expect(out.stillThere).toBe(2);
      expect(out.trains).toEqual({ sent: offloads === '1', merged: offloads === '1' });
      expect(out.failures).toEqual([null, null]);
    },
  );
});
