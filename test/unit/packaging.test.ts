import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

interface LockEntry {
  readonly link?: boolean;
  readonly integrity?: string;
  readonly version?: string;
}

it('every package of the lock file is pinned by a strong hash', () => {
  const { packages } = JSON.parse(read('package-lock.json')) as { packages: Record<string, LockEntry> };
  const entries = Object.entries(packages).filter(([path, { link }]) => path !== '' && link !== true);
  expect(entries.length).toBeGreaterThan(100);
  expect(entries.filter(([, { integrity }]) => !/^sha(512|384)-/.test(integrity ?? '')).map(([path]) => path)).toEqual(
    [],
  );
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
