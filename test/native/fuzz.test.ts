import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { describeWith } from '../helpers/requires.js';

const FUZZ = fileURLToPath(new URL('../../scripts/fuzz', import.meta.url));

describeWith(['fuzzer'], 'the C of the addon', () => {
  // A look only, so that the harness cannot rot: npm run test:fuzz -- --seconds 600 searches in earnest.
  // Most of the time it is compiled.
  it('touches no memory that is not its own, whatever it is asked', { timeout: 120_000 }, async () => {
    const { stderr } = await promisify(execFile)(FUZZ, ['--seconds', '4'], { maxBuffer: 2 ** 26 });
    const runs = Number(/Done (\d+) runs/.exec(stderr)?.[1]);
    expect(runs).toBeGreaterThan(1000);
  });
});
