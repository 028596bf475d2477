import { beforeAll, describe, expect, it } from 'vitest';
import * as system from '../../src/system/native.js';
import { BUILDS, type Build, isBuilt, runChild } from './child.js';

describe('the layout of the cipher', () => {
  it('is the same in C and in TypeScript', () => {
    expect(system.native.layout).toMatchObject({
      jobSource: 0,
      jobText: 1,
      jobTarget: 2,
      jobLength: 3,
      jobKey: 4,
      jobCounter: 5,
      jobIsAuthentic: 7,
      jobInts: system.JOB_INTS,
      cipherPortable: system.CIPHERS.indexOf('portable'),
      cipherAvx2: system.CIPHERS.indexOf('avx2'),
      cipherAvx512: system.CIPHERS.indexOf('avx512'),
    });
  });
});

for (const [build, threads] of BUILDS.flatMap((each): [Build, number][] => [0, 3].map((count) => [each, count]))) {
  describe.skipIf(!isBuilt(build))(`the cipher, ${build} build, ${threads} threads beside`, () => {
    let out: ReturnType<typeof runChild> = {};
    beforeAll(() => {
      out = runChild('./cipher.child.mjs', build, { RUDDER_TEST_THREADS: String(threads) });
    });

    it('seals and opens as node:crypto does, in every code that this CPU has', () => {
      const differences = out.differences as Record<string, string[]>;
      expect(out.ciphers).toContain('portable');
      expect(Object.keys(differences)).toHaveLength(10 * (out.ciphers as string[]).length);
      expect(Object.entries(differences).filter(([, wrong]) => wrong.length > 0)).toEqual([]);
    });

    it('has the threads that it was told to have', () => {
      expect([out.threads, out.noThreads]).toEqual([threads, 0]);
    });

    it('takes the best code by itself', () => {
      expect(out.best).toBe((out.ciphers as string[]).at(-1));
      expect(out.inUse).toBe(out.best);
    });

    it('makes the stream of RFC 8439', () => {
      // A.1, test vector 2.
      expect(out.stream).toBe(
        '9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed' +
          '29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f',
      );
    });

    it('makes keyed BLAKE2s as its reference implementation does', () => {
      // Python's hashlib, which is that.
      expect(out.macs).toEqual([
        '848968b35901e9579a4dbf28df99ec23',
        '2ebb1878da3405ad981a33065035d375',
        '3cd4ead7880b8e82de079c1fad3417d4',
        'ee92c5254c297a88e69a236956b67cee',
        '9b7c5ffc7770587f9f96323dcc82dcd1',
        '94a7b5dacb7b645405e7898a8905592a',
      ]);
    });

    it('refuses what points outside its memory', () => {
      expect(out['refuse.nothing']).toEqual({ result: 1 });
      const refused = Object.entries(out).filter(([name]) => name.startsWith('refuse.') && name !== 'refuse.nothing');
      expect(refused).toHaveLength(15);
      for (const [name, error] of refused) {
        expect((error as { code: string }).code, name).toMatch(/^(EINVAL|ERR_OUT_OF_RANGE|ERR_INVALID_ARG_TYPE)$/);
      }
    });
  });
}
