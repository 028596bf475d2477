import { expect, it } from 'vitest';
import { describeWith } from '../helpers/requires.js';
import { runChild } from './child.js';

describeWith(['root', 'nft', 'iptables'], 'firewall rules that somebody has flushed', () => {
  it('are back within 10 s, also on a host where a look at them takes long', () => {
    const { repairs, backMs, backAgainMs } = runChild('./firewall.child.mjs');
    expect(repairs).toBe(0);
    expect(backMs).toBeLessThan(10_000);
    // Who changes one thing changes the next: then nobody rests.
    expect(backAgainMs).toBeLessThan(5000);
  });
});
