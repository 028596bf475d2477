import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseSubnet } from '../../../src/core/address-text.js';
import { formatSubnetEnv, removeSubnetEnv, type SubnetEnv, writeSubnetEnv } from '../../../src/state/subnet-env.js';

const env: SubnetEnv = {
  subnet: parseSubnet('10.240.26.0/24')!,
  mtu: 1472,
  network: parseSubnet('10.240.0.0/16')!,
  ipMasq: false,
};
const TEXT = `RUDDER_SUBNET=10.240.26.1/24
RUDDER_MTU=1472
RUDDER_NETWORK=10.240.0.0/16
RUDDER_IPMASQ=false
`;

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rudder-env-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

describe('text of subnet.env', () => {
  it('is exactly what Docker and its unit read', () => {
    expect(formatSubnetEnv(env, 'RUDDER')).toBe(TEXT);
  });

  it('bears the names of the flannel CNI plugin with prefix FLANNEL', () => {
    expect(formatSubnetEnv({ ...env, ipMasq: true }, 'FLANNEL')).toBe(
      'FLANNEL_SUBNET=10.240.26.1/24\nFLANNEL_MTU=1472\nFLANNEL_NETWORK=10.240.0.0/16\nFLANNEL_IPMASQ=true\n',
    );
  });

  it.each([
    ['192.168.255.252/30', '192.168.255.253/30'],
    ['10.240.26.128/25', '10.240.26.129/25'],
    ['128.0.0.0/22', '128.0.0.1/22'],
  ])('gives Docker the first address of %s', (subnet, gateway) => {
    const [first] = formatSubnetEnv({ ...env, subnet: parseSubnet(subnet)! }, 'RUDDER').split('\n');
    expect(first).toBe(`RUDDER_SUBNET=${gateway}`);
  });
});

describe('writeSubnetEnv', () => {
  it('makes the directory and a file that everybody may read, whatever the umask', async () => {
    const path = join(directory, 'run', 'rudder', 'subnet.env');
    const umask = process.umask(0o077);
    try {
      await writeSubnetEnv(path, env, 'RUDDER');
    } finally {
      process.umask(umask);
    }
    expect(readFileSync(path, 'utf8')).toBe(TEXT);
    expect(statSync(path).mode & 0o7777).toBe(0o644);
    expect(readdirSync(join(directory, 'run', 'rudder'))).toEqual(['subnet.env']);
  });

  it('replaces an old file, its text and its mode', async () => {
    const path = join(directory, 'subnet.env');
    writeFileSync(path, 'OLD\n'.repeat(1000));
    chmodSync(path, 0o600);
    await writeSubnetEnv(path, env, 'RUDDER');
    expect(readFileSync(path, 'utf8')).toBe(TEXT);
    expect(statSync(path).mode & 0o7777).toBe(0o644);
  });

  it('fails in one line that names the file and the option', async () => {
    writeFileSync(join(directory, 'file'), '');
    const path = join(directory, 'file', 'subnet.env');
    await expect(writeSubnetEnv(path, env, 'RUDDER')).rejects.toMatchObject({
      name: 'RudderError',
      code: 'file',
      message: expect.stringMatching(/^cannot write the subnet file .*\/file\/subnet\.env: .+--subnet-file$/),
    });
  });
});

describe('removeSubnetEnv', () => {
  it('removes the file only, and is content without one', async () => {
    const path = join(directory, 'subnet.env');
    writeFileSync(path, TEXT);
    mkdirSync(join(directory, 'other'));
    await removeSubnetEnv(path);
    expect(existsSync(path)).toBe(false);
    await removeSubnetEnv(path);
    expect(readdirSync(directory)).toEqual(['other']);
  });

  it.each([
    ['an empty one, which waits for its text', ''],
    ['with another prefix', TEXT.replaceAll('RUDDER', 'FLANNEL')],
  ])('removes %s', async (_, text) => {
    const path = join(directory, 'subnet.env');
    writeFileSync(path, text);
    expect(await removeSubnetEnv(path)).toBe('removed');
    expect(await removeSubnetEnv(path)).toBe('absent');
  });

  it.each<[string, (path: string) => void]>([
    ["flannel's own", (path) => writeFileSync(path, TEXT.split('\n').slice(0, 4).reverse().join('\n'))],
    ['of any other text', (path) => writeFileSync(path, 'precious\n')],
    ['of a megabyte', (path) => writeFileSync(path, '#'.repeat(1024 * 1024))],
    ['that is a directory', (path) => mkdirSync(path)],
    ['that is a link', (path) => symlinkSync(join(directory, 'right'), path)],
  ])('leaves one alone %s', async (_, make) => {
    const path = join(directory, 'subnet.env');
    writeFileSync(join(directory, 'right'), TEXT);
    make(path);
    expect(await removeSubnetEnv(path)).toBe('not ours');
    expect(readdirSync(directory).sort()).toEqual(['right', 'subnet.env']);
  });
});
