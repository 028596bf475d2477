import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseSubnet } from '../../../src/core/address-text.js';
import { createCniFile } from '../../../src/daemon/cni-file.js';
import { formatCniConf } from '../../../src/state/cni-conf.js';
import { createRecordingLog, type RecordingLog } from '../../helpers/recording-log.js';

const NETWORK = { subnet: parseSubnet('10.244.3.0/24')!, mtu: 1450 };
const ISTIO = { type: 'istio-cni' };

let directory: string;
let path: string;
let log: RecordingLog;
beforeEach(() => {
  directory = mkdtempSync(`${tmpdir()}/rudder-cni-file-`);
  path = `${directory}/10-rudder.conflist`;
  log = createRecordingLog();
});
afterEach(() => rmSync(directory, { recursive: true }));

const read = () => readFileSync(path, 'utf8');
const told = () => log.lines.map(({ fields }) => (fields as { before?: string }).before);

describe('the CNI configuration of a node', () => {
  it('is written when it is looked for, and left alone while it is right', async () => {
    const file = createCniFile(path, () => NETWORK, log);
    await file.look();
    expect(read()).toBe(formatCniConf(NETWORK));
    const { ino } = statSync(path);
    await file.look();
    expect([statSync(path).ino, readdirSync(directory)]).toEqual([ino, ['10-rudder.conflist']]);
    expect(told()).toEqual(['there was none']);
  });

  it('follows subnet and MTU, and keeps what others have chained', async () => {
    const now = { ...NETWORK };
    const file = createCniFile(path, () => now, log);
    await file.look();
    const conf = JSON.parse(read());
    writeFileSync(path, JSON.stringify({ ...conf, plugins: [...conf.plugins, ISTIO] }));
    await file.look();
    expect(told()).toHaveLength(1);
    now.mtu = 1400;
    await file.look();
    expect(read()).toBe(formatCniConf(now, [ISTIO]));
    now.subnet = parseSubnet('10.244.9.0/24')!;
    await file.look();
    expect(read()).toBe(formatCniConf(now, [ISTIO]));
  });

  it.each([
    ['removed', () => rmSync(path), 'there was none'],
    ['emptied', () => writeFileSync(path, ''), 'it is no JSON'],
    ["made flannel's", () => writeFileSync(path, '{"plugins":[{"type":"flannel"}]}'), 'somebody else has written it'],
    ['changed', () => writeFileSync(path, read().replace('1450', '1500')), 'it said something else'],
  ])('is written again when somebody has %s it', async (_, change, before) => {
    const file = createCniFile(path, () => NETWORK, log);
    await file.look();
    change();
    await file.look();
    expect([read(), told()]).toEqual([formatCniConf(NETWORK), ['there was none', before]]);
  });

  it('is fought for without a line in the log each time', async () => {
    const file = createCniFile(path, () => NETWORK, log);
    for (let i = 0; i < 20; i++) {
      writeFileSync(path, '');
      await file.look();
    }
    expect(log.lines.length).toBeLessThanOrEqual(3);
  });

  it('that cannot be written is a fault', async () => {
    const file = createCniFile(`${directory}/x\0/y`, () => NETWORK, log);
    await expect(file.look()).rejects.toThrow();
  });

  it('is not written where no flag names it', async () => {
    await createCniFile(undefined, () => NETWORK, log).look();
    expect(readdirSync(directory)).toEqual([]);
  });
});
