// Rules that somebody flushes are back soon, also where each look takes long.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { keepFirewall } from '../../dist/system/firewall.js';
import { openNetlink } from '../../dist/system/netlink.js';

/** As on a host with ten processes for each core. */
const LOOK_SECONDS = 0.7;
const DEADLINE_MS = 30_000;

const run = (command, ...args) => execFileSync(command, args, { encoding: 'utf8' });
const real = run('sh', '-c', 'command -v iptables-save').trim();
const directory = mkdtempSync(`${tmpdir()}/rudder-firewall-`);
writeFileSync(`${directory}/iptables-save`, `#!/bin/sh\nsleep ${LOOK_SECONDS}\nexec ${real} "$@"\n`, { mode: 0o755 });
process.env.PATH = `${directory}:${process.env.PATH}`;

async function until(holds) {
  const start = performance.now();
  while (!holds() && performance.now() - start < DEADLINE_MS) await delay(50);
  return performance.now() - start;
}

const ip = (text) => text.split('.').reduce((address, part) => (address << 8) | Number(part), 0);
const log = { debug() {}, info() {}, warn() {}, error() {} };
const netlink = openNetlink();
const firewall = await keepFirewall(
  {
    devices: ['rudder0'],
    network: { address: ip('10.240.0.0'), prefixLength: 16 },
    subnet: { address: ip('10.240.1.0'), prefixLength: 24 },
    ipMasq: true,
    localAddress: ip('10.1.1.1'),
    tunnel: { port: 8285 },
    uplinks: ['eth0'],
  },
  { direct: new Set(), portMapped: new Set() },
  netlink,
  log,
  new AbortController().signal,
);
const { checks } = firewall.state();
run('iptables', '-N', 'STRANGER');
await until(() => firewall.state().checks > checks);
const { repairs } = firewall.state();
run('iptables', '-F', 'FORWARD');
const isBack = () => run(real, '-t', 'filter').includes('-A FORWARD -j RUDDER-FORWARD');
const backMs = await until(isBack);
run('iptables', '-F', 'FORWARD');
const backAgainMs = await until(isBack);
await firewall.stop();
netlink.close();
rmSync(directory, { recursive: true });
console.log(JSON.stringify({ repairs, backMs, backAgainMs }));
