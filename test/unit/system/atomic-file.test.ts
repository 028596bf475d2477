import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeFileAtomic } from '../../../src/system/atomic-file.js';

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rudder-atomic-'));
  path = join(directory, 'file');
});
afterEach(() => rmSync(directory, { recursive: true }));

describe('writeFileAtomic', () => {
  it('writes the text and leaves nothing else', async () => {
    await writeFileAtomic(path, 'naïve\n', 0o644);
    expect(readFileSync(path, 'utf8')).toBe('naïve\n');
    expect(readdirSync(directory)).toEqual(['file']);
  });

  it('makes missing directories', async () => {
    await writeFileAtomic(join(directory, 'a', 'b', 'file'), 'text', 0o600);
    expect(readFileSync(join(directory, 'a', 'b', 'file'), 'utf8')).toBe('text');
  });

  it.each([0o644, 0o600, 0o666])('sets mode %o whatever the umask', async (mode) => {
    const umask = process.umask(0o077);
    try {
      await writeFileAtomic(path, 'text', mode);
    } finally {
      process.umask(umask);
    }
    expect(statSync(path).mode & 0o7777).toBe(mode);
  });

  it('sets the mode also where an old file had another', async () => {
    writeFileSync(path, 'old');
    chmodSync(path, 0o600);
    await writeFileAtomic(path, 'new', 0o644);
    expect(statSync(path).mode & 0o7777).toBe(0o644);
  });

  it('never changes the old file: who has it open still reads the old text', async () => {
    writeFileSync(path, 'old text');
    const reader = await open(path);
    try {
      await writeFileAtomic(path, 'new', 0o644);
      expect(await reader.readFile('utf8')).toBe('old text');
    } finally {
      await reader.close();
    }
    expect(readFileSync(path, 'utf8')).toBe('new');
  });

  it('leaves old file and no temporary one if the temporary one cannot be made', async () => {
    const longest = join(directory, 'n'.repeat(255)); // no room in the name for a suffix
    writeFileSync(longest, 'old');
    await expect(writeFileAtomic(longest, 'new', 0o644)).rejects.toMatchObject({ code: 'ENAMETOOLONG' });
    expect(readFileSync(longest, 'utf8')).toBe('old');
    expect(readdirSync(directory)).toHaveLength(1);
  });

  it('leaves old file and no temporary one if writing fails half-way', async () => {
    writeFileSync(path, 'old');
    const unwritable = { notA: 'text' } as unknown as string;
    await expect(writeFileAtomic(path, unwritable, 0o644)).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' });
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(readdirSync(directory)).toEqual(['file']);
  });

  it('leaves no temporary file if the rename fails', async () => {
    mkdirSync(path);
    writeFileSync(join(path, 'inside'), 'old');
    await expect(writeFileAtomic(path, 'new', 0o644)).rejects.toMatchObject({ syscall: 'rename' });
    expect(readdirSync(directory)).toEqual(['file']);
    expect(readFileSync(join(path, 'inside'), 'utf8')).toBe('old');
  });

  it('is not misled by a temporary file left over from a crash', async () => {
    writeFileSync(`${path}.${process.pid}.tmp`, 'left over, and longer than the new text');
    await writeFileAtomic(path, 'new', 0o644);
    expect(readFileSync(path, 'utf8')).toBe('new');
    expect(readdirSync(directory)).toEqual(['file']);
  });

  it('fails where the directory is a file', async () => {
    writeFileSync(path, 'old');
    await expect(writeFileAtomic(join(path, 'below'), 'new', 0o644)).rejects.toThrow(/ENOTDIR|EEXIST/);
    expect(readFileSync(path, 'utf8')).toBe('old');
  });
});
