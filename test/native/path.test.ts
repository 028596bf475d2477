import { expect, it } from 'vitest';
import { describeWith } from '../helpers/requires.js';
import { BUILDS, isBuilt, runChild } from './child.js';
import { cases } from './path-cases.mjs';

for (const build of BUILDS) {
  describeWith(['root', 'tun'], `the packet path's calls as its fake has them, over the ${build} build`, () => {
    const saw = isBuilt(build) ? runChild('./path.child.mjs', build) : {};
    it.each(cases)('$name', ({ name, expected }) => expect(saw[name]).toEqual(expected));
  });
}
