import { chmodSync, linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { parseSubnet } from '../../../src/core/address-text.js';
import { createSubnetFile } from '../../../src/daemon/subnet-file.js';
import { createRecordingLog, type RecordingLog } from '../../helpers/recording-log.js';

const TEXT = 'RUDDER_SUBNET=10.240.26.1/24\nRUDDER_MTU=1472\nRUDDER_NETWORK=10.240.0.0/16\nRUDDER_IPMASQ=false\n';
const OTHERS = TEXT.replace('26', '77');

let directory: string;
let path: string;
let log: RecordingLog;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
  directory = mkdtempSync(`${tmpdir()}/rudder-subnet-file-`);
  path = `${directory}/subnet.env`;
  log = createRecordingLog();
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(directory, { recursive: true });
});

const read = (file = path) => readFileSync(file, 'utf8');
const told = () => log.lines.map(({ fields, message }) => [(fields as { found?: string }).found, message]);

function create(subnetProposal: boolean) {
  const env = {
    subnet: parseSubnet('10.240.26.0/24')!,
    mtu: 1472,
    network: parseSubnet('10.240.0.0/16')!,
    ipMasq: false,
  };
  const now = { mtu: 1472 };
  const options = { subnetFile: path, subnetProposal, subnetEnvPrefix: 'RUDDER' };
  return { now, ...createSubnetFile(options, () => ({ ...env, ...now }), log) };
}

describe('the subnet file of a daemon that writes it', () => {
  it('is left alone while it is right', async () => {
    const file = create(false);
    await file.write();
    file.now.mtu = 1372; // told by a write, and not by a look
    await file.look();
    expect([read(), log.lines]).toEqual([TEXT, []]);
  });

  it.each<[string, () => void, string]>([
    ['removed', () => rmSync(path), 'it is gone'],
    ['emptied', () => writeFileSync(path, ''), 'it says something else'],
    ["made another daemon's", () => writeFileSync(path, OTHERS), 'it says something else'],
    ['given a line more', () => writeFileSync(path, `${TEXT}LD_PRELOAD=/tmp/evil.so\n`), 'it says something else'],
    ['made very large', () => writeFileSync(path, 'x'.repeat(100_000)), 'it is larger than 4096 bytes'],
    ["opened to everybody's writing", () => chmodSync(path, 0o666), 'its owner, mode or number of names is another'],
    ['given another name', () => linkSync(path, `${path}.b`), 'its owner, mode or number of names is another'],
    ['taken away with its directory', () => rmSync(directory, { recursive: true }), 'it is gone'],
  ])('is written again when somebody has %s it', async (_, change, found) => {
    const file = create(false);
    await file.write();
    change();
    await file.look();
    expect(read()).toBe(TEXT);
    expect(told()).toEqual([[found, 'the subnet file was not as it should be: written again']]);
    await file.look();
    expect(log.lines).toHaveLength(1);
  });

  it('takes the place of a link, and what that leads to stays as it is', async () => {
    const file = create(false);
    await file.write();
    const precious = `${directory}/precious`;
    writeFileSync(precious, TEXT);
    rmSync(path);
    symlinkSync(precious, path);
    rmSync(precious);
    writeFileSync(precious, 'secret');
    await file.look();
    expect([read(), read(precious)]).toEqual([TEXT, 'secret']);
    expect(told()[0][0]).toBe('it is a symbolic link');
  });

  it('that cannot be written again is a problem until it can', async () => {
    const file = create(false);
    await file.write();
    rmSync(path);
    mkdirSync(`${path}/full`, { recursive: true });
    await expect(file.look()).rejects.toThrow(/^cannot write the subnet file \S+: EISDIR.*; expected a writable/);
    rmSync(path, { recursive: true });
    await file.look();
    expect(read()).toBe(TEXT);
  });

  it('that somebody else keeps writing is told at a bounded rate', async () => {
    const file = create(false);
    await file.write();
    for (let i = 0; i < 20; i++) {
      writeFileSync(path, OTHERS);
      await file.look();
      vi.advanceTimersByTime(1500);
    }
    expect(log.lines.length).toBeLessThanOrEqual(6);
  });
});

describe('the subnet file that root makes of a proposal', () => {
  const proposal = () => read(`${path}.proposal`);

  it("is waited for, proposed again when somebody has changed it, and root's to write", async () => {
    const file = create(true);
    await file.write();
    await file.look();
    vi.advanceTimersByTime(9000);
    await file.look();
    expect(log.lines).toEqual([]);
    writeFileSync(path, proposal(), { mode: 0o640 }); // as root has it
    vi.advanceTimersByTime(9000);
    await file.look();
    expect(log.lines).toEqual([]);
    rmSync(`${path}.proposal`); // to see that it is made anew
    writeFileSync(path, OTHERS);
    await file.look();
    expect([read(), proposal()]).toEqual([OTHERS, TEXT]);
    expect(told()).toEqual([['it says something else', 'the subnet file was not as it should be: proposed again']]);
  });

  it('that root does not make is a problem, and none any more when it is there', async () => {
    const file = create(true);
    await file.write();
    vi.advanceTimersByTime(10_000);
    await file.look();
    vi.advanceTimersByTime(10_000);
    const problem =
      /subnet\.env is not as it should be, it is gone: expected "rudder publish" to make it .*; see "systemctl status/;
    await expect(file.look()).rejects.toThrow(problem);
    // It stays one meanwhile.
    await expect(file.look()).rejects.toThrow(problem);
    writeFileSync(path, proposal());
    await file.look();
    rmSync(path);
    await file.look();
  });
});
