import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { messageOf } from '../../../src/core/errors.js';
import { writeFileAtomic } from '../../../src/state/atomic-file.js';
import { parseSubnetEnv } from '../../../src/state/subnet-env.js';
import { prepareSubnetEnv, proposalOf, publishSubnetEnv } from '../../../src/state/subnet-publish.js';

vi.mock('../../../src/state/atomic-file.js', async (original) => {
  const file = await original<typeof import('../../../src/state/atomic-file.js')>();
  return { ...file, writeFileAtomic: vi.fn(file.writeFileAtomic) };
});
/** The real one. */
const write = vi.mocked(writeFileAtomic).getMockImplementation()!;

const GOOD = 'RUDDER_SUBNET=10.240.26.1/24\nRUDDER_MTU=1472\nRUDDER_NETWORK=10.240.0.0/16\nRUDDER_IPMASQ=false\n';
const OTHER = GOOD.replace('1472', '1372');
const SECRET = 'root:$6$secret';
const isRoot = process.getuid?.() === 0;

let directory: string;
let subnetFile: string;
let proposal: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rudder-publish-'));
  mkdirSync(join(directory, 'run'));
  subnetFile = join(directory, 'run', 'subnet.env');
  proposal = proposalOf(subnetFile);
  writeFileSync(join(directory, 'secret'), `${SECRET}\n`, { mode: 0o600 });
});
afterEach(() => {
  vi.mocked(writeFileAtomic).mockReset().mockImplementation(write);
  rmSync(directory, { recursive: true });
});

const published = () => readFileSync(subnetFile, 'utf8');
const secretPath = () => join(directory, 'secret');

/** Texts that are no proposal of a daemon's. */
const TEXTS: [string, string][] = [
  ['a line for the linker before', `LD_PRELOAD=/tmp/x.so\n${GOOD}`],
  ['a line for the linker behind', `${GOOD}LD_PRELOAD=/tmp/x.so\n`],
  ['an empty line behind', `${GOOD}\n`],
  ['no end of the last line', GOOD.trimEnd()],
  ['nothing', ''],
  ['a line less', GOOD.split('\n').slice(0, 3).join('\n')],
  ['another order', GOOD.split('\n').slice(0, 4).reverse().join('\n')],
  ['a carriage return', GOOD.replaceAll('\n', '\r\n')],
  ['one in a value', GOOD.replace('1472', '1472\rLD_PRELOAD=x')],
  ['NUL', GOOD.replace('1472', '1472\0')],
  ['NUL behind', `${GOOD}\0`],
  ['a comment', `#\n${GOOD}`],
  ['a continued line', GOOD.replace('1472', '1472\\')],
  ['quotes', GOOD.replace('1472', '"1472"')],
  ['a space', GOOD.replace('1472', '1472 ')],
  ['another prefix', GOOD.replaceAll('RUDDER', 'FLANNEL')],
  ['another prefix in one line', GOOD.replace('RUDDER_MTU', 'LD_MTU')],
  ['an option for dockerd', GOOD.replace('/24', '/24 --iptables=false')],
  ['a leading zero', GOOD.replace('1472', '01472')],
  ['an MTU too small', GOOD.replace('1472', '67')],
  ['an MTU too large', GOOD.replace('1472', '65508')],
  ['the address of the subnet instead of its first', GOOD.replace('26.1/24', '26.0/24')],
  ['an address outside', GOOD.replace('10.240.26.1', '10.241.26.1')],
  ['a subnet as large as the network', GOOD.replace('10.240.26.1/24', '10.240.0.1/16')],
  ['a subnet of one address', GOOD.replace('/24', '/32')],
  ['all addresses', GOOD.replace('10.240.0.0/16', '0.0.0.0/0')],
  ['loopback', GOOD.replaceAll('10.240.', '127.0.')],
  ['host bits in the network', GOOD.replace('10.240.0.0/16', '10.240.0.1/16')],
  ['another truth', GOOD.replace('false', 'FALSE')],
  ['bytes that are no UTF-8', `${GOOD}\xff`],
  ['a megabyte', GOOD + '#'.repeat(1024 * 1024)],
  ['5 KB of right lines', GOOD.repeat(50)],
];

/** What may lie at the proposal's place and is no file of the daemon's. */
const OBJECTS: [string, () => void][] = [
  ['a link to a file for root alone', () => symlinkSync(secretPath(), proposal)],
  ['a link to a right file', () => symlinkSync(good('right'), proposal)],
  ['a link to itself', () => symlinkSync(proposal, proposal)],
  ['a second name of a file for root alone', () => linkSync(secretPath(), proposal)],
  ['a second name of a right file', () => linkSync(good('right'), proposal)],
  ['a directory', () => mkdirSync(proposal)],
  ['a FIFO that nobody writes to', () => execFileSync('mkfifo', [proposal])],
  ['a device', () => symlinkSync('/dev/zero', proposal)],
];

function good(name: string): string {
  writeFileSync(join(directory, name), GOOD);
  return join(directory, name);
}

describe('a proposal that is refused', () => {
  /** Whatever it was: the old file stays, nothing else is written, and the line tells nothing of what was read. */
  async function expectRefused(): Promise<void> {
    writeFileSync(subnetFile, OTHER);
    const before = readdirSync(join(directory, 'run'));
    const error = await publishSubnetEnv(subnetFile, 'RUDDER').catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ name: 'RudderError', code: 'file' });
    expect(messageOf(error)).toMatch(/^.*subnet\.env\.proposal is refused: .+; restart rudder, which makes it anew$/);
    expect(messageOf(error)).not.toMatch(/secret|LD_PRELOAD|10\.24|iptables/);
    expect(published()).toBe(OTHER);
    expect(readdirSync(join(directory, 'run'))).toEqual(before);
    expect(readFileSync(secretPath(), 'utf8')).toBe(`${SECRET}\n`);
  }

  it.each(TEXTS)('has %s', async (_, text) => {
    writeFileSync(proposal, text, 'latin1');
    await expectRefused();
  });

  it.each(OBJECTS)('is %s', async (_, make) => {
    make();
    await expectRefused();
  });

  it('is a socket', async () => {
    const server = createServer().listen(proposal);
    await new Promise((resolve) => server.once('listening', resolve));
    await expectRefused();
    server.close();
  });

  it('is any text at all, unless it is one that the formatter makes', () => {
    const line = fc.oneof(fc.constantFrom(...GOOD.split('\n')), fc.string());
    fc.assert(
      fc.property(fc.array(line, { maxLength: 7 }), (lines) => {
        const text = lines.join('\n');
        expect(parseSubnetEnv(text, 'RUDDER') === undefined).toBe(text !== GOOD);
      }),
    );
  });
});

describe('publishing', () => {
  it('makes the file of a right proposal, for all to read and for us to write', async () => {
    writeFileSync(proposal, GOOD, { mode: 0o666 });
    const umask = process.umask(0);
    try {
      expect(await publishSubnetEnv(subnetFile, 'RUDDER')).toBe('written');
    } finally {
      process.umask(umask);
    }
    expect(published()).toBe(GOOD);
    expect(statSync(subnetFile)).toMatchObject({ uid: process.getuid!(), nlink: 1 });
    expect(statSync(subnetFile).mode & 0o7777).toBe(0o644);
    expect(readdirSync(join(directory, 'run')).sort()).toEqual(['subnet.env', 'subnet.env.proposal']);
  });

  it('leaves a file alone that is right already, and follows a change', async () => {
    writeFileSync(proposal, GOOD);
    await publishSubnetEnv(subnetFile, 'RUDDER');
    const { ino } = statSync(subnetFile);
    expect(await publishSubnetEnv(subnetFile, 'RUDDER')).toBe('unchanged');
    expect(statSync(subnetFile).ino).toBe(ino);
    writeFileSync(proposal, OTHER);
    expect(await publishSubnetEnv(subnetFile, 'RUDDER')).toBe('written');
    expect(published()).toBe(OTHER);
  });

  it('replaces a link and leaves what it leads to', async () => {
    writeFileSync(proposal, GOOD);
    for (const target of [secretPath(), good('right')]) {
      rmSync(subnetFile, { force: true });
      const before = readFileSync(target, 'utf8');
      symlinkSync(target, subnetFile);
      expect(await publishSubnetEnv(subnetFile, 'RUDDER')).toBe('written');
      expect(lstatSync(subnetFile).isFile()).toBe(true);
      expect(readFileSync(target, 'utf8')).toBe(before);
    }
  });

  it.each<[string, () => void]>([
    ['that others may write', () => chmodSync(subnetFile, 0o646)],
    ['with a second name', () => linkSync(subnetFile, join(directory, 'second'))],
  ])('writes a right file anew %s', async (_, spoil) => {
    for (const path of [proposal, subnetFile]) writeFileSync(path, GOOD, { mode: 0o644 });
    spoil();
    expect(await publishSubnetEnv(subnetFile, 'RUDDER')).toBe('written');
    expect(statSync(subnetFile).mode & 0o7777).toBe(0o644);
    expect(statSync(subnetFile).nlink).toBe(1);
  });

  it('empties the file and does not remove it if nothing is proposed', async () => {
    writeFileSync(subnetFile, GOOD);
    expect(await publishSubnetEnv(subnetFile, 'RUDDER')).toBe('emptied');
    expect(published()).toBe('');
    expect(await publishSubnetEnv(subnetFile, 'RUDDER')).toBe('unchanged');
  });

  it('ends with the last proposal, also if that comes while an earlier one is written', async () => {
    writeFileSync(proposal, GOOD);
    vi.mocked(writeFileAtomic).mockImplementationOnce(async (...file) => {
      writeFileSync(proposal, OTHER);
      await write(...file);
    });
    expect(await publishSubnetEnv(subnetFile, 'RUDDER')).toBe('written');
    expect(published()).toBe(OTHER);
  });

  it('ends although proposals come for ever', async () => {
    writeFileSync(proposal, GOOD);
    let mtu = 1000;
    vi.mocked(writeFileAtomic).mockImplementation(async (...file) => {
      writeFileSync(proposal, GOOD.replace('1472', `${mtu++}`));
      await write(...file);
    });
    expect(await publishSubnetEnv(subnetFile, 'RUDDER')).toBe('written');
    expect(mtu).toBe(1010);
  });

  it('fails in one line where a directory has the place of the file', async () => {
    writeFileSync(proposal, GOOD);
    mkdirSync(subnetFile);
    await expect(publishSubnetEnv(subnetFile, 'RUDDER')).rejects.toMatchObject({
      code: 'file',
      message: expect.stringMatching(/^cannot write the subnet file .*; remove what is there$/),
    });
    expect(readdirSync(join(directory, 'run')).sort()).toEqual(['subnet.env', 'subnet.env.proposal']);
  });
});

describe('the directory', () => {
  const publish = () => publishSubnetEnv(subnetFile, 'RUDDER');
  beforeEach(() => writeFileSync(proposal, GOOD));

  it('may be written by others if it is sticky', async () => {
    chmodSync(join(directory, 'run'), 0o1777);
    expect(await publish()).toBe('written');
  });

  it.each([0o777, 0o775, 0o757])('may not with mode %o', async (mode) => {
    chmodSync(join(directory, 'run'), mode);
    await expect(publish()).rejects.toThrow(/others than root may rename files in .*\/run; .*systemd-tmpfiles/);
    expect(existsSync(subnetFile)).toBe(false);
  });

  it('may lie in none that others may rename it in', async () => {
    chmodSync(directory, 0o777);
    await expect(publish()).rejects.toThrow(/others than root may rename files in/);
    expect(existsSync(subnetFile)).toBe(false);
  });

  it.runIf(isRoot)("is refused if it is the daemon's own", async () => {
    chownSync(join(directory, 'run'), 65534, 65534);
    await expect(publish()).rejects.toThrow(/run is not root's; make the directory with/);
    expect(existsSync(subnetFile)).toBe(false);
  });

  it.runIf(isRoot)('is refused if the way there leads through a link of another', async () => {
    symlinkSync(join(directory, 'run'), join(directory, 'link'));
    execFileSync('chown', ['-h', '65534', join(directory, 'link')]);
    await expect(publishSubnetEnv(join(directory, 'link', 'subnet.env'), 'RUDDER')).rejects.toThrow(
      /link is not root's/,
    );
    expect(existsSync(subnetFile)).toBe(false);
  });

  it('is told in one line if it is missing', async () => {
    await expect(publishSubnetEnv(join(directory, 'nowhere', 'subnet.env'), 'RUDDER')).rejects.toMatchObject({
      code: 'file',
      message: expect.stringMatching(/^cannot publish .*ENOENT.*systemd-tmpfiles --create rudder\.conf"$/),
    });
  });
});

describe('before the daemon starts', () => {
  const prepare = () => prepareSubnetEnv(subnetFile, 'RUDDER');

  it('there is an empty file, so that nobody else can make one', async () => {
    expect(await prepare()).toBeUndefined();
    expect(published()).toBe('');
    expect(statSync(subnetFile).mode & 0o7777).toBe(0o644);
  });

  it('a right file of an earlier run is left as it is', async () => {
    writeFileSync(subnetFile, GOOD, { mode: 0o644 });
    const { ino } = statSync(subnetFile);
    expect(await prepare()).toBeUndefined();
    expect(statSync(subnetFile).ino).toBe(ino);
  });

  it.runIf(isRoot)("one that was the daemon's own becomes root's with the same text", async () => {
    writeFileSync(subnetFile, GOOD, { mode: 0o644 });
    chownSync(subnetFile, 65534, 65534);
    expect(await prepare()).toBeUndefined();
    expect(published()).toBe(GOOD);
    expect(statSync(subnetFile)).toMatchObject({ uid: 0, gid: 0 });
  });

  it.each(TEXTS.filter(([, text]) => text !== ''))('a file with %s is replaced by an empty one', async (_, text) => {
    writeFileSync(subnetFile, text, 'latin1');
    expect(await prepare()).not.toMatch(/secret|LD_PRELOAD|10\.24/);
    expect(published()).toBe('');
  });

  it('a link is replaced and not followed', async () => {
    symlinkSync(secretPath(), subnetFile);
    expect(await prepare()).toBe('it is a symbolic link');
    expect(published()).toBe('');
    expect(lstatSync(subnetFile).isFile()).toBe(true);
    expect(readFileSync(secretPath(), 'utf8')).toBe(`${SECRET}\n`);
    rmSync(subnetFile);
    symlinkSync('nowhere', subnetFile);
    await prepare();
    expect(() => readlinkSync(subnetFile)).toThrow('EINVAL');
    expect(existsSync(join(directory, 'run', 'nowhere'))).toBe(false);
  });
});
