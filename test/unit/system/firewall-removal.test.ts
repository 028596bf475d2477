import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { removeFirewall } from '../../../src/system/firewall.js';
import { isNftTableThere } from '../../../src/system/nft-table.js';

let directory: string;

// Commands that only say something: nothing of this host's rules is looked at or changed.
beforeEach(() => {
  directory = mkdtempSync(`${tmpdir()}/rudder-firewall-`);
  vi.stubEnv('PATH', directory);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(directory, { recursive: true });
});

const command = (name: string, ...script: string[]) =>
  writeFileSync(`${directory}/${name}`, ['#!/bin/sh', ...script, ''].join('\n'), { mode: 0o755 });
const nft = (tables: string) => command('nft', `case "$*" in "list tables ip") echo '${tables}';; *) exit 0;; esac`);
const NO_RULES = 'echo "*filter"; echo ":INPUT ACCEPT [0:0]"; echo COMMIT';

it('names what is not installed: rules of that are not known', async () => {
  expect(await removeFirewall()).toEqual({ isRemoved: false, missing: ['iptables', 'nft'] });
  command('iptables-save', NO_RULES);
  expect(await removeFirewall()).toEqual({ isRemoved: false, missing: ['nft'] });
  nft('table ip filter');
  expect(await removeFirewall()).toEqual({ isRemoved: false, missing: [] });
  rmSync(`${directory}/iptables-save`);
  nft('table ip rudder');
  expect(await removeFirewall()).toEqual({ isRemoved: true, missing: ['iptables'] });
});

it('finds our own table, and no other of a name that begins so', async () => {
  nft('table ip rudder-other');
  expect(await isNftTableThere()).toBe(false);
  nft('table ip filter\ntable ip rudder');
  expect(await isNftTableThere()).toBe(true);
});

it.each(['iptables-save', 'nft'])('does not take it for an answer that %s fails', async (name) => {
  command('iptables-save', NO_RULES);
  nft('');
  command(name, 'echo "Operation not permitted (you must be root)" >&2; exit 4');
  await expect(removeFirewall()).rejects.toThrow(
    `cannot remove the firewall rules: ${name}: Operation not permitted (you must be root); run as root, or leave them`,
  );
});
