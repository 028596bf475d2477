import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { bootNow } from '../../../src/control/boot-clock.js';
import { describeWith } from '../../helpers/requires.js';

it('tells time as the kernel does, in parts of a second', () => {
  const read = () => Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000;
  const before = read();
  const now = bootNow();
  expect(now).toBeGreaterThanOrEqual(before);
  expect(now).toBeLessThanOrEqual(read());
});

describeWith(['root'], 'the time since the host was started', () => {
  it('is of the clock that goes on while a host is suspended, and of no other', () => {
    const built = new URL('../../../dist/control/boot-clock.js', import.meta.url);
    const script = `import('${built}').then(({ bootNow }) => console.log(bootNow()))`;
    // A namespace in which that clock alone is a day ahead.
    const args = ['--time', '--boottime', '86400', process.execPath, '-e', script];
    const ahead = Number(execFileSync('unshare', args, { encoding: 'utf8' })) - bootNow();
    expect(ahead / 1000).toBeGreaterThan(86_000);
    expect(ahead / 1000).toBeLessThan(86_800);
  });
});
