import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { readPasswordFile } from '../../../../src/control/etcd/password-file.js';
import { RudderError } from '../../../../src/core/errors.js';

let directory: string;
let file: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rudder-password-'));
  file = join(directory, 'password');
});
afterEach(() => rmSync(directory, { recursive: true }));

function write(content: string | Uint8Array, mode = 0o600): void {
  writeFileSync(file, content);
  chmodSync(file, mode);
}

function refusalOf(path = file): string {
  try {
    readPasswordFile(path);
  } catch (error) {
    expect(error).toBeInstanceOf(RudderError);
    expect(error).toMatchObject({ code: 'file' });
    return (error as RudderError).message;
  }
  throw new Error('accepted');
}

it.each([
  ['pass word\n', 'pass word'],
  ['pass word\r\n', 'pass word'],
  [' no newline ', ' no newline '],
])('%j is the password %j', (content, password) => {
  write(content);
  expect(readPasswordFile(file)).toBe(password);
});

it.each([
  ['', /is empty: expected the password in one line$/],
  ['\n', /is empty/],
  ['first\nsecond\n', /has more than one line/],
  ['x'.repeat(5000), /is no password: expected a file of at most 4096 bytes/],
])('%j is refused', (content, pattern) => {
  write(content);
  expect(refusalOf()).toMatch(pattern);
  expect(refusalOf()).not.toMatch(/first|second|xxx/);
});

it('a file that others may read is refused', () => {
  write('secret', 0o604);
  expect(refusalOf()).toMatch(
    /password may be read by others: expected a file for its owner alone, or for our group too; chmod 600 or 640$/,
  );
  write('secret', 0o400);
  expect(readPasswordFile(file)).toBe('secret');
});

it.runIf(process.getuid?.() === 0)("a file that a group may read is refused, but for root's own", () => {
  write('secret', 0o640);
  expect(readPasswordFile(file)).toBe('secret');
  chownSync(file, 0, 1234);
  expect(refusalOf()).toMatch(/may be read by others/);
});

it('what is no file is refused, and a pipe does not make it wait', () => {
  expect(refusalOf(join(directory, 'missing'))).toMatch(/missing cannot be read: ENOENT/);
  chmodSync(directory, 0o700);
  expect(refusalOf(directory)).toMatch(/is no password|cannot be read/);
  execFileSync('mkfifo', ['-m', '600', file]);
  expect(refusalOf()).toMatch(/is no password/);
});

it('any bytes are a password or one short line', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 50 }), (bytes) => {
      write(bytes);
      try {
        expect(readPasswordFile(file).length).toBeGreaterThan(0);
      } catch (error) {
        expect(error).toBeInstanceOf(RudderError);
        expect((error as RudderError).message.length).toBeLessThan(400);
      }
    }),
  );
});
