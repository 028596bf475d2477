import { expect, it } from 'vitest';
import { describeWith } from '../helpers/requires.js';
import { runChild } from './child.js';

describeWith(['root'], 'the young heap', () => {
  it('stays as small as it was told in each thread, also after another one has started', () => {
    const { first, second } = runChild('./young-heap.child.mjs', 'Release');
    // Left to themselves they grow to 32 MB.
    expect(Number(first)).toBeLessThanOrEqual(8);
    expect(Number(second)).toBeLessThanOrEqual(8);
  });
});
