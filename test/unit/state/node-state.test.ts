import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseIpv4, parseSubnet } from '../../../src/core/address-text.js';
import { loadState, type NodeState, saveState } from '../../../src/state/node-state.js';
import { createRecordingLog, type RecordingLog } from '../../helpers/recording-log.js';

const UUID = /^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/;

let directory: string;
let file: string;
let log: RecordingLog;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rudder-state-'));
  file = join(directory, 'state.json');
  log = createRecordingLog();
});
afterEach(() => rmSync(directory, { recursive: true }));

describe('round trip', () => {
  it.each<NodeState>([
    { nodeId: 'node-1', subnet: undefined },
    { nodeId: 'node-1', subnet: parseSubnet('10.240.26.0/24') },
    { nodeId: 'node-1', subnet: undefined, address: parseIpv4('10.1.1.140') },
    { nodeId: 'node-1', subnet: parseSubnet('10.244.1.0/24'), source: 'kubernetes https://10.1.1.1:6443 x.y/' },
    { nodeId: 'n'.repeat(128), subnet: parseSubnet('192.168.0.4/30') },
  ])('of state %#', async (state) => {
    await saveState(directory, state);
    expect(await loadState(directory, log)).toEqual(state);
    expect(log.lines).toEqual([]);
  });

  it('keeps the last state that was saved', async () => {
    await saveState(directory, { nodeId: 'node-1', subnet: parseSubnet('10.240.26.0/24') });
    await saveState(directory, { nodeId: 'node-1', subnet: undefined });
    expect(await loadState(directory, log)).toEqual({ nodeId: 'node-1', subnet: undefined });
  });
});

describe('saveState', () => {
  it('makes the directory and writes one line that only the owner reads', async () => {
    const deep = join(directory, 'lib', 'rudder');
    await saveState(deep, { nodeId: 'node-1', subnet: parseSubnet('10.240.26.0/24') });
    expect(readFileSync(join(deep, 'state.json'), 'utf8')).toBe('{"nodeId":"node-1","subnet":"10.240.26.0/24"}\n');
    expect(statSync(join(deep, 'state.json')).mode & 0o7777).toBe(0o600);
    expect(readdirSync(deep)).toEqual(['state.json']);
  });

  it('fails in one line that names the file and the option', async () => {
    writeFileSync(file, '');
    await expect(saveState(file, { nodeId: 'node-1', subnet: undefined })).rejects.toMatchObject({
      name: 'RudderError',
      code: 'file',
      message: expect.stringMatching(/^cannot write the state file .*\/state\.json\/state\.json: .+--state-dir$/),
    });
  });
});

describe('loadState', () => {
  it('makes a new random node id at the first start, without a word and without writing', async () => {
    const [first, second] = [await loadState(directory, log), await loadState(join(directory, 'missing'), log)];
    expect(first).toEqual({ nodeId: expect.stringMatching(UUID), subnet: undefined });
    expect(second.nodeId).toMatch(UUID);
    expect(second.nodeId).not.toBe(first.nodeId);
    expect(log.lines).toEqual([]);
    expect(readdirSync(directory)).toEqual([]);
  });

  it.each([
    '',
    '{',
    'null',
    '[]',
    '{}',
    '{"nodeId":7}',
    '{"nodeId":""}',
    '{"subnet":"10.240.26.0/24"}',
    '{"nodeId":"node-1","subnet":7}',
    `{"nodeId":"${'n'.repeat(129)}"}`,
    '{"nodeId":"node-1","subnet":"10.240.26.0',
    '\0\0\0\0',
  ])('takes a new node id and warns once for the corrupt text %j', async (text) => {
    writeFileSync(file, text);
    const state = await loadState(directory, log);
    expect(state).toEqual({ nodeId: expect.stringMatching(UUID), subnet: undefined });
    expect(log.lines).toEqual([
      { level: 'warn', message: 'the state file is corrupt, starting with a new node id', fields: { path: file } },
    ]);
  });

  it('keeps the node id and forgets a subnet that makes no sense', async () => {
    writeFileSync(file, '{"nodeId":"node-1","subnet":"10.240.26.0"}');
    expect(await loadState(directory, log)).toEqual({ nodeId: 'node-1', subnet: undefined });
  });

  it('forgets an address that makes no sense', async () => {
    writeFileSync(file, '{"nodeId":"node-1","address":"10.1.1"}');
    expect(await loadState(directory, log)).toEqual({ nodeId: 'node-1', subnet: undefined });
  });

  it('ignores what a later version may have added', async () => {
    writeFileSync(file, '{"nodeId":"node-1","more":[1]}');
    expect(await loadState(directory, log)).toEqual({ nodeId: 'node-1', subnet: undefined });
  });

  it('fails, and does not take a new node id, if the file cannot be read', async () => {
    mkdirSync(file);
    await expect(loadState(directory, log)).rejects.toMatchObject({
      name: 'RudderError',
      code: 'file',
      message: expect.stringMatching(
        /^cannot read the state file .*\/state\.json: it is not a regular file; .+--state-dir$/,
      ),
    });
  });

  it('fails if the state directory is a file', async () => {
    writeFileSync(file, '');
    await expect(loadState(file, log)).rejects.toMatchObject({ code: 'file' });
  });
});
