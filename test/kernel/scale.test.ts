import { expect, it } from 'vitest';
import { describeWith } from '../helpers/requires.js';
import { runChild } from './child.js';

describeWith(['root', 'vxlan'], '4,000 peers of a VXLAN device', () => {
  it('are written within 2 s, one change within 100 ms, and all is looked at in less than a second', () => {
    const { start, restart, look, change, status } = runChild('./scale.child.mjs');
    expect(status).toEqual({ wanted: 12_001, present: 12_001, direct: 0, failed: [] });
    expect(start).toBeLessThan(2000);
    expect(restart).toBeLessThan(2000);
    expect(look).toBeLessThan(1000);
    expect(change).toBeLessThan(100);
  });
});
