import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { writeFileAtomic } from '../../../src/state/atomic-file.js';

vi.mock('node:crypto', async (original) => {
  const crypto = await original<typeof import('node:crypto')>();
  return { ...crypto, randomBytes: vi.fn(crypto.randomBytes) };
});

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

  it('writes pieces one after the other, and nothing if one of them is not to be had', async () => {
    await writeFileAtomic(path, ['a', 'ï', '', 'b'], 0o644);
    expect(readFileSync(path, 'utf8')).toBe('aïb');
    function* torn() {
      yield 'new';
      throw new Error('no more');
    }
    await expect(writeFileAtomic(path, torn(), 0o644)).rejects.toThrow('no more');
    expect(readFileSync(path, 'utf8')).toBe('aïb');
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
    const unwritable = ['begun', { notA: 'text' } as unknown as string];
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

  /** What the next call takes for the random part of the temporary name, which nobody else can know. */
  function guessed(): string {
    const bytes = Buffer.from('guessed!');
    vi.mocked(randomBytes).mockImplementationOnce(() => bytes);
    return `${path}.${bytes.toString('hex')}.tmp`;
  }

  it.each<[string, (temporary: string, victim: string) => void]>([
    ['a link', (temporary, victim) => symlinkSync(victim, temporary)],
    ['a link to nothing', (temporary) => symlinkSync(join(directory, 'nothing'), temporary)],
    ['a file', (temporary) => writeFileSync(temporary, 'theirs')],
    ['another name of a file', (temporary, victim) => linkSync(victim, temporary)],
  ])('neither follows nor opens nor removes %s with the name of the temporary file', async (_, make) => {
    const victim = join(directory, 'victim');
    writeFileSync(victim, 'precious');
    writeFileSync(path, 'old');
    make(guessed(), victim);
    const before = readdirSync(directory);
    await expect(writeFileAtomic(path, 'new', 0o644)).rejects.toMatchObject({ code: 'EEXIST' });
    expect(readFileSync(victim, 'utf8')).toBe('precious');
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(readdirSync(directory)).toEqual(before);
  });

  it('takes another name each time', async () => {
    vi.mocked(randomBytes).mockClear();
    for (let i = 0; i < 3; i++) await writeFileAtomic(path, `${i}`, 0o644);
    const names = vi.mocked(randomBytes).mock.results.map(({ value }) => (value as Buffer).toString('hex'));
    expect(new Set(names).size).toBe(3);
    for (const name of names) expect(name).toMatch(/^[0-9a-f]{16}$/);
  });

  it('replaces a link with the name of the file, and not what it leads to', async () => {
    const victim = join(directory, 'victim');
    writeFileSync(victim, 'precious');
    symlinkSync(victim, path);
    await writeFileAtomic(path, 'new', 0o644);
    expect(readFileSync(victim, 'utf8')).toBe('precious');
    expect(lstatSync(path).isFile()).toBe(true);
    expect(readFileSync(path, 'utf8')).toBe('new');
  });

  it('fails where the directory is a file', async () => {
    writeFileSync(path, 'old');
    await expect(writeFileAtomic(join(path, 'below'), 'new', 0o644)).rejects.toThrow(/ENOTDIR|EEXIST/);
    expect(readFileSync(path, 'utf8')).toBe('old');
  });
});
