import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { KINDS } from '../../src/backend/kinds.js';
import { WIREGUARD_DEVICE } from '../../src/backend/wireguard/kernel/device.js';
import { proposalOf } from '../../src/state/subnet-publish.js';
import { DEVICE_NAME } from '../../src/system/tun-device.js';
import { deadLinks } from '../helpers/links.js';

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

interface LockEntry {
  readonly link?: boolean;
  readonly integrity?: string;
  readonly version?: string;
  readonly dev?: boolean;
  readonly engines?: { readonly node?: string };
}

it('every package of the lock file is pinned by a strong hash', () => {
  const { packages } = JSON.parse(read('package-lock.json')) as { packages: Record<string, LockEntry> };
  const entries = Object.entries(packages).filter(([path, { link }]) => path !== '' && link !== true);
  expect(entries.length).toBeGreaterThan(100);
  expect(entries.filter(([, { integrity }]) => !/^sha(512|384)-/.test(integrity ?? '')).map(([path]) => path)).toEqual(
    [],
  );
});

it('package.json asks for a Node.js that is enough for every package that it runs with', () => {
  const { packages } = JSON.parse(read('package-lock.json')) as { packages: Record<string, LockEntry> };
  const { engines } = JSON.parse(read('package.json')) as Required<LockEntry>;
  expect(packages[''].engines).toEqual(engines);
  const least = (range = '') =>
    /^>= ?(\d+)(?:\.(\d+))?(?:\.0)?$/
      .exec(range)
      ?.slice(1)
      .map((number = '0') => Number(number));
  const [major, minor] = least(engines.node)!;
  const newer = Object.entries(packages).filter(([, entry]) => {
    const wanted = entry.dev === true ? undefined : least(entry.engines?.node);
    return wanted && (wanted[0] > major || (wanted[0] === major && wanted[1] > minor));
  });
  expect(newer.map(([path]) => path)).toEqual([]);
});

it('every dependency is explained, and no locked version is older than the one that mends a known hole', () => {
  const { packages } = JSON.parse(read('package-lock.json')) as { packages: Record<string, LockEntry> };
  const { dependencies } = JSON.parse(read('package.json')) as { dependencies: Record<string, string> };
  const page = read('docs/dependencies.md');
  const explained = page.slice(0, page.indexOf('## Known holes'));
  expect(Object.keys(dependencies).filter((name) => !explained.includes(`\`${name}\``))).toEqual([]);

  const rows = [...page.matchAll(/^\| `(.+?)` \| .*(?:GHSA|CVE)-.* \| ([\d.]+) \| ([\d.]+) \|$/gm)];
  expect(rows.length).toBeGreaterThan(10);
  for (const [, name, mended, locked] of rows) {
    const installed = Object.entries(packages).filter(([path]) => path.endsWith(`node_modules/${name}`));
    expect(installed.map(([, { version }]) => version)).toEqual([locked]);
    expect(locked.localeCompare(mended, 'en', { numeric: true }), `${name} ${locked}`).toBeGreaterThanOrEqual(0);
  }
});

it('the unit leaves two capabilities and nothing to gain more by', () => {
  const unit = read('systemd/rudder.service');
  for (const name of ['CapabilityBoundingSet', 'AmbientCapabilities']) {
    expect(unit).toMatch(new RegExp(`^${name}=CAP_NET_ADMIN CAP_NET_RAW$`, 'm'));
  }
  for (const line of ['NoNewPrivileges=yes', 'DevicePolicy=closed', 'ProtectSystem=strict'])
    expect(unit).toContain(line);
  expect(unit.match(/^DeviceAllow=.*$/gm)).toEqual(['DeviceAllow=/dev/net/tun rw']);
});

it('the unit allows no core dump, which would hold secrets', () => {
  expect(read('systemd/rudder.service')).toMatch(/^LimitCORE=0$/m);
});

/** Names of devices in the source, with a star for what is put in: whoever adds one gives it such a name. */
function deviceNames(): Set<string> {
  const files = ['src/backend', 'src/system'].flatMap((folder) =>
    readdirSync(new URL(`../../${folder}`, import.meta.url), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .map((file) => `${folder}/${file}`),
  );
  const names = files.flatMap((file) => [...read(file).matchAll(/['`]((?:rudder|flannel)[\d.-][^'`\s]*)['`]/g)]);
  return new Set(names.map(([, name]) => name.replace(/\$\{[^}]*\}/g, '*')));
}

it('systemd-networkd and NetworkManager leave every device alone that a backend makes or takes over', () => {
  const names = deviceNames();
  expect([...names]).toEqual(expect.arrayContaining([DEVICE_NAME, WIREGUARD_DEVICE, 'rudder.*', 'flannel.*']));
  expect(new Set(valuesOf('50-rudder.network', 'Name')[0].split(' '))).toEqual(names);
  const [managed] = valuesOf('50-rudder-networkmanager.conf', 'unmanaged-devices');
  expect(new Set(managed.split(';'))).toEqual(new Set([...names].map((name) => `interface-name:${name}`)));
});

/** The values of one setting of a unit, in their order. */
const valuesOf = (unit: string, name: string) =>
  [...read(`systemd/${unit}`).matchAll(new RegExp(`^${name}=(.*)$`, 'gm'))].map(([, value]) => value);

it("the directory of subnet.env is root's and sticky, and nothing makes it the user's", () => {
  expect(read('systemd/rudder.tmpfiles.conf').match(/^[^#].*$/gm)).toEqual(['d /run/rudder 1775 root rudder']);
  expect(valuesOf('rudder.service', 'RuntimeDirectory')).toEqual([]);
  expect(valuesOf('rudder.service', 'User')).toEqual(['rudder']);
});

it('root makes subnet.env before the daemon starts, before the unit counts as started, and after a change', () => {
  const commands = read('systemd/rudder.service').match(/^Exec(Start|StartPre|StartPost)=.*(tmpfiles|\/rudder\b).*$/gm);
  expect(commands).toEqual([
    'ExecStartPre=+systemd-tmpfiles --create rudder.conf',
    'ExecStartPre=+/usr/bin/rudder publish --before-start',
    'ExecStart=/usr/bin/rudder',
    'ExecStartPost=+/usr/bin/rudder publish',
  ]);
  expect(valuesOf('rudder.service', 'Environment')).toEqual(['RUDDERD_SUBNET_PROPOSAL=true']);
  expect(valuesOf('rudder.service', 'Type')).toEqual(['notify']);
  expect(valuesOf('rudder.service', 'Wants')[0].split(' ')).toContain('rudder-publish.path');
  expect(valuesOf('rudder-publish.path', 'PathChanged')).toEqual([proposalOf('/run/rudder/subnet.env')]);
  expect(valuesOf('rudder-publish.service', 'ExecStart')).toEqual(['/usr/bin/rudder publish']);
});

it("root's step after a change has no capability, no network, and may write to one directory", () => {
  const has = (name: string) => valuesOf('rudder-publish.service', name);
  expect([has('CapabilityBoundingSet'), has('PrivateNetwork'), has('ProtectSystem'), has('ReadWritePaths')]).toEqual([
    [''],
    ['yes'],
    ['strict'],
    ['/run/rudder'],
  ]);
  expect([has('NoNewPrivileges'), has('RestrictAddressFamilies'), has('LimitCORE')]).toEqual([
    ['yes'],
    ['none'],
    ['0'],
  ]);
});

it('Docker waits for a subnet without a failure and without waiting for the start of Rudder', () => {
  const [condition] = valuesOf('docker.service.d/rudder.conf', 'ExecCondition');
  expect(condition).toMatch(/^\/bin\/sh -c 'grep -qs \^RUDDER_SUBNET= \/run\/rudder\/subnet\.env \|\| .*exit 1; }'$/);
  expect(valuesOf('docker.service.d/rudder.conf', 'EnvironmentFile')).toEqual(['-/run/rudder/subnet.env']);
  // Ordered behind a start that waits for etcd, "systemctl restart docker" would hang.
  for (const unit of ['docker.service.d/rudder.conf', 'docker.socket.d/rudder.conf']) {
    expect(valuesOf(unit, 'After')).toEqual(['rudder-docker.path']);
  }
  expect(valuesOf('rudder.service', 'Before')).toEqual([]);
  expect(valuesOf('rudder-docker.path', 'Before')).toEqual(['docker.service']);
});

it('a change of subnet.env is followed however often it failed, and a node that fails starts again soon, for ever', () => {
  expect(valuesOf('rudder-docker.service', 'ExecStart')).toEqual(['/usr/bin/rudder docker follow']);
  expect(valuesOf('rudder-docker.service', 'ConditionFileNotEmpty')).toEqual(['/run/rudder/subnet.env']);
  for (const unit of ['rudder-docker.service', 'rudder-publish.service', 'rudder.service']) {
    expect(valuesOf(unit, 'StartLimitIntervalSec')).toEqual(['0']);
  }
  expect(valuesOf('rudder.service', 'RestartSec')).toEqual(['1']);
});

it('every unit is in the package, and nothing of it is active for Docker', () => {
  const script = read('scripts/package').replace('rudder-{docker,publish}.{path,service}', () =>
    ['docker', 'publish'].flatMap((of) => ['path', 'service'].map((kind) => `rudder-${of}.${kind}`)).join(' '),
  );
  const files = readdirSync(new URL('../../systemd', import.meta.url), { recursive: true, encoding: 'utf8' });
  const units = files.filter((file) => file.includes('.') && !file.includes('.d/') && !file.endsWith('.d'));
  expect(units.filter((file) => !script.includes(file))).toEqual([]);
  expect(script).not.toMatch(/systemd\/system\/docker/);
});

it('packages bring a maintained Node.js, pinned by its hash, and the image one of the same line', () => {
  const { packages } = JSON.parse(read('scripts/node/package-lock.json')) as { packages: Record<string, LockEntry> };
  const runtimes = Object.entries(packages).filter(([path]) => path !== '');
  expect(runtimes.map(([path]) => path)).toEqual(['arm64', 'x64'].map((cpu) => `node_modules/node-linux-${cpu}`));
  for (const [, { version, integrity }] of runtimes) {
    expect(version).toMatch(/^24\./);
    expect(integrity).toMatch(/^sha512-/);
  }
  expect(read('Dockerfile').match(/^ARG .*_IMAGE=(.*)$/gm)).toEqual([
    'ARG BUILD_IMAGE=node:24-bookworm',
    'ARG BASE_IMAGE=node:24-bookworm-slim',
  ]);
});

it('every link of the documentation leads to a file and a heading that are there', () => {
  const root = new URL('../../', import.meta.url);
  const docs = readdirSync(new URL('docs', root), { recursive: true, encoding: 'utf8' });
  expect(deadLinks(['README.md', 'LICENSE', ...docs.map((file) => `docs/${file}`)], read)).toEqual([]);
});

it('what the packages say of themselves names both stores and the ways of packets', () => {
  const [, deb] = /^Description: (.*?)^CONTROL$/ms.exec(read('scripts/package'))!;
  const ways = KINDS.map(({ type }) => type).filter((type) => type !== 'alloc');
  for (const word of ['etcd', 'Kubernetes', 'flannel', ...ways]) expect(deb).toContain(word);
  const { description } = JSON.parse(read('package.json')) as { description: string };
  for (const word of ['UDP', 'WireGuard', 'VXLAN', 'etcd', 'Kubernetes']) expect(description).toContain(word);
});

it('the native part of netlink is the one that was built here, and not the one that came with it', () => {
  const require = createRequire(import.meta.url);
  const { path } = require('node-gyp-build') as { path(directory: string): string };
  const netlink = dirname(require.resolve('netlink/package.json'));
  expect(path(netlink)).toBe(join(netlink, 'build/Release/netlink_binding.node'));
});
