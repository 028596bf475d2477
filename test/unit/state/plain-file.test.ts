import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { readPlainFile } from '../../../src/state/plain-file.js';

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rudder-plain-'));
  path = join(directory, 'file');
});
afterEach(() => rmSync(directory, { recursive: true }));

it('reads a file of up to so many bytes, and none of more', async () => {
  for (const size of [0, 1, 65_536, 65_537, 200_000]) {
    writeFileSync(path, 'x'.repeat(size));
    expect((await readPlainFile(path, 200_000)).text).toHaveLength(size);
  }
  writeFileSync(path, 'x'.repeat(200_001));
  await expect(readPlainFile(path, 200_000)).rejects.toThrow('it is larger than 200000 bytes');
});

it('reads files of /proc, which say that they have no bytes, to their end', async () => {
  expect((await readPlainFile('/proc/self/status', 65_536)).text).toMatch(/^Name:.*\nVmRSS:/s);
});

it.each<[string, () => void, RegExp]>([
  ['a link', () => symlinkSync('/etc/hostname', path), /^it is a symbolic link$/],
  ['a directory', () => mkdirSync(path), /^it is not a regular file$/],
  ['a FIFO that nobody writes to', () => execFileSync('mkfifo', [path]), /^it is not a regular file$/],
])('refuses %s, and does not wait', async (_, make, problem) => {
  make();
  await expect(readPlainFile(path, 100)).rejects.toThrow(problem);
});

it('refuses a device', async () => {
  await expect(readPlainFile('/dev/zero', 100)).rejects.toThrow('it is not a regular file');
});

it('says as the file system does that there is none', async () => {
  await expect(readPlainFile(path, 100)).rejects.toMatchObject({ code: 'ENOENT' });
});
