import { expect, it } from 'vitest';
import { describeWith } from '../helpers/requires.js';
import { runChild } from './child.js';
import { cases } from './sync-cases.mjs';

describeWith(['root', 'vxlan'], 'the engine of kernel backends, over the kernel', () => {
  const saw = runChild('./sync.child.mjs');

  it.each(cases)('$name', ({ name, expected }) => {
    // As JSON: there is no undefined in it.
    expect(saw[name]).toEqual(JSON.parse(JSON.stringify(expected)));
  });
});
