import { closeSync, fstatSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { isJournal, priorityPrefix } from '../../../src/ops/journal.js';
import { createLogger } from '../../../src/ops/logger.js';

let directory: string;
let file: string;
let fd: number;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rudder-logger-'));
  file = join(directory, 'log');
  fd = openSync(file, 'a');
});
afterEach(() => {
  vi.unstubAllEnvs();
  closeSync(fd);
  rmSync(directory, { recursive: true });
});

const lines = () => readFileSync(file, 'utf8').trimEnd().split('\n');
/** As systemd does for a service whose output goes into the journal. */
function connectJournal(to = fd): void {
  const { dev, ino } = fstatSync(to);
  vi.stubEnv('JOURNAL_STREAM', `${dev}:${ino}`);
}
async function speak(): Promise<void> {
  const log = await createLogger('debug', { fd, isTerminal: false });
  log.error({}, 'broken');
  log.warn({}, 'bad');
  log.info({}, 'good');
  log.debug({}, 'small');
}

describe('a line of the log', () => {
  it('is JSON and nothing else', async () => {
    await speak();
    expect(lines().map((line) => JSON.parse(line))).toMatchObject([
      { level: 50, msg: 'broken' },
      { level: 40, msg: 'bad' },
      { level: 30, msg: 'good' },
      { level: 20, msg: 'small' },
    ]);
  });

  it('begins with its priority where journald reads it', async () => {
    connectJournal();
    await speak();
    expect(lines().map((line) => line.slice(0, 3))).toEqual(['<3>', '<4>', '<6>', '<7>']);
    expect(lines().map((line) => JSON.parse(line.slice(3)).msg)).toEqual(['broken', 'bad', 'good', 'small']);
  });

  it('does not if only somebody before us wrote into the journal', async () => {
    const { dev, ino } = fstatSync(fd);
    for (const stream of ['', 'nonsense', `${dev}:${ino + 1}`, `${dev}`]) {
      vi.stubEnv('JOURNAL_STREAM', stream);
      expect(isJournal(fd)).toBe(false);
      expect(priorityPrefix(3, fd)).toBe('');
    }
    vi.stubEnv('JOURNAL_STREAM', `${dev}:${ino}`);
    expect(isJournal(9999)).toBe(false);
    expect(priorityPrefix(3, fd)).toBe('<3>');
  });

  it('has no key twice, whatever it tells', async () => {
    const log = await createLogger('info', { fd, isTerminal: false });
    log.info({ level: 'debug', time: 'noon', msg: 'mine', other: 1 }, 'told');
    const [line] = lines();
    const keys = [...line.matchAll(/"(\w+)":/g)].map(([, key]) => key);
    expect(keys).toEqual([...new Set(keys)]);
    expect(JSON.parse(line)).toMatchObject({
      level: 30,
      level_: 'debug',
      time: expect.stringMatching(/^\d{4}-/),
      time_: 'noon',
      msg: 'told',
      msg_: 'mine',
      other: 1,
    });
  });
});
