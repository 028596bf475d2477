import { expect, it } from 'vitest';
import { describeWith } from '../helpers/requires.js';
import { runChild } from './child.js';

describeWith(['root', 'vxlan'], 'what a stopped node has left in the kernel', () => {
  it('is removed, and what others have made stays', () => {
    const { between, removed, nothing, before, after } = runChild('./leftovers.child.mjs');
    // eth0's, somebody's, the blackhole, and one to each of two peers, of which the device takes one with it.
    expect(between).toBe(5);
    expect(removed).toEqual(['rudder.1', '2 routes']);
    expect(nothing).toEqual([]);
    expect(after).toEqual(before);
  });
});
