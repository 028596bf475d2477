import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addDaemonOptions } from '../../../../src/cli/daemon-options.js';
import { readNodeOptions } from '../../../../src/cli/defaults-file.js';
import { filesOf, findCluster } from '../../../../src/cli/join/etcd.js';
import { changesTo } from '../../../../src/cli/join/settings.js';
import { addRegistryOptions } from '../../../../src/cli/registry-options.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rudder-join-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

/** Of a host with these settings: the etcd, and what of the settings would be changed. */
function find(address: string, argv: string[] = [], settings = '') {
  const file = join(directory, 'default');
  writeFileSync(file, settings);
  const program = addDaemonOptions(addRegistryOptions(new Command())).exitOverride();
  program.parse(argv, { from: 'user' });
  const { options, other, wanted } = findCluster(address, readNodeOptions(program, file));
  const changes = changesTo(settings, wanted).map(({ name, after }) => [name.replace('RUDDERD_ETCD_', ''), after]);
  return { options, other, changes: Object.fromEntries(changes) as Record<string, string | undefined> };
}

describe('the cluster to join', () => {
  it.each([
    ['10.1.1.10', [], 'http://10.1.1.10:2379'],
    ['etcd-1:4001', [], 'http://etcd-1:4001'],
    ['a, b', [], 'http://a:2379,http://b:2379'],
    ['https://a', [], 'https://a:2379'],
    ['a', ['--etcd-cafile=/ca.pem'], 'https://a:2379'],
  ])('at %s with %j is %s', (address, argv, endpoints) => {
    const { options, changes, other } = find(address, argv);
    expect(options.endpoints.join()).toBe(endpoints);
    expect(changes.ENDPOINTS).toBe(endpoints);
    expect(other).toBeUndefined();
  });

  it('has files by their whole names, since the daemon is in another directory', () => {
    const argv = ['--etcd-cafile=ca.pem', '--etcd-username=u', '--etcd-password-file=password'];
    const { options, changes } = find('a', argv);
    expect(filesOf(options)).toEqual([resolve('ca.pem'), resolve('password')]);
    expect(changes).toMatchObject({ CAFILE: resolve('ca.pem'), PASSWORD_FILE: resolve('password'), USERNAME: 'u' });
  });

  const HAS =
    'RUDDERD_ETCD_ENDPOINTS=http://a:2379,http://b:2379\nRUDDERD_ETCD_USERNAME=u\nRUDDERD_ETCD_PASSWORD=secret\n';

  it('is the one of the settings if they share an endpoint, and then the rest of them counts', () => {
    expect(find('a,b', [], HAS)).toMatchObject({ changes: {}, other: undefined });
    expect(find('b', [], HAS).changes).toEqual({ ENDPOINTS: 'http://b:2379' });
    const changed = find('a,b', ['--etcd-username=v', '--etcd-password-file=/p'], HAS).changes;
    expect(changed).toEqual({ USERNAME: 'v', PASSWORD: undefined, PASSWORD_FILE: '/p' });
  });

  it('is another one than Kubernetes, which the daemon would go on asking', () => {
    const { other, changes } = find('a', [], 'RUDDERD_KUBE_SUBNET_MGR=true\n');
    expect(other).toMatch(/Kubernetes/);
    expect(changes).toEqual({ ENDPOINTS: 'http://a:2379', RUDDERD_KUBE_SUBNET_MGR: undefined });
  });

  it('is another one otherwise, and takes nothing of theirs', () => {
    const { other, changes } = find('c', [], HAS);
    expect(other).toBe("another cluster's etcd, http://a:2379,http://b:2379, prefix /coreos.com/network");
    expect(changes).toEqual({ ENDPOINTS: 'http://c:2379', USERNAME: undefined, PASSWORD: undefined });
    expect(find('a', ['--etcd-prefix=/coreos.com/network'], HAS).other).toBeUndefined();
    expect(find('a', ['--etcd-prefix=/other'], HAS).other).toContain('prefix /coreos.com/network');
  });
});
