import { describe, expect, it } from 'vitest';
import { describeWith } from '../helpers/requires.js';
import { BUILDS, isBuilt, runChild } from './child.js';

describe.each(BUILDS.filter(isBuilt))('the limits of the process, %s build', (build) => {
  describeWith(['root'], 'a core dump', () => {
    it('is forbidden for good', () => {
      expect(runChild('./limits.child.mjs', build)).toEqual({ limits: ['0', '0'] });
    });
  });
});
