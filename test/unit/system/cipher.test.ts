import { expect, it } from 'vitest';
import { threadsFor, useCipher } from '../../../src/system/cipher.js';
import { CIPHERS, type Native } from '../../../src/system/native.js';

it.each([
  [1, 0],
  [2, 0],
  [3, 0],
  [4, 1],
  [6, 2],
  [64, 2],
])('%i cores give the cipher %i threads', (cores, threads) => {
  expect(threadsFor(cores)).toBe(threads);
});

it('the fastest code is used, or the portable one', () => {
  const asked: number[] = [];
  const addon = {
    useCipher(code: number) {
      asked.push(code);
      return code < 0 ? CIPHERS.indexOf('avx2') : code;
    },
    useCipherThreads: (count: number) => count,
  } as unknown as Native;
  expect(useCipher('auto', { cores: 4, addon })).toEqual({ code: 'avx2', threads: 1 });
  expect(useCipher('portable', { cores: 2, addon })).toEqual({ code: 'portable', threads: 0 });
  expect(asked).toEqual([-1, 0]);
});
