import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { expect, it } from 'vitest';
import type { Sample } from '../../src/bench/rounds.js';
import { describeWith } from '../helpers/requires.js';

const TREE = fileURLToPath(new URL('../../', import.meta.url));
const BENCH = `${TREE}dist/bench/main.js`;
const BUILDS = `${TREE}dist/bench/builds.js`;
const ROUND_TRIPS = `${TREE}dist/bench/round-trips.js`;
const DEADLINE_MS = 170_000;

describeWith(['root', 'tun', 'etcd', 'iperf3'], 'the benchmark', () => {
  it('runs all its kinds of parts to the end, and writes table, JSON and charts', {
    timeout: DEADLINE_MS,
  }, async () => {
    const out = mkdtempSync(join(tmpdir(), 'rudder-bench-'));
    try {
      const args = ['--quick', '--bare', '--congestion', 'reno', '--only', 'tcp', 'hostile', 'inside', '--out', out];
      const { stdout, stderr } = await execa(process.execPath, [BENCH, ...args], { timeout: DEADLINE_MS });
      expect(stderr).not.toContain('failed');
      expect(stdout).toMatch(/TCP 1 flow, host to host/);
      expect(stdout).toContain('TCP with reno');
      const { summaries, inside, hostile, samples } = JSON.parse(readFileSync(`${out}/bench.json`, 'utf8'));
      // Who wins is the benchmark's to say, on a machine that does nothing else.
      const systems = new Set(samples.map(({ system }: { system: string }) => system));
      expect(systems).toEqual(new Set(['veth', 'vxlan', 'plain', 'rudder', 'bare']));
      const throughput = (samples as Sample[]).filter(({ measure }) => measure.startsWith('tcp1'));
      expect(throughput).toHaveLength(20);
      for (const { value } of throughput) expect(value).toBeGreaterThan(0);
      expect(summaries.length).toBeGreaterThan(5);
      expect(inside.collections).toBe(0);
      expect(hostile.rounds).toHaveLength(1);
      expect(existsSync(`${out}/throughput.svg`)).toBe(true);
    } finally {
      rmSync(out, { recursive: true });
    }
  });

  it.each(['vxlan', 'host-gw'])('measures %s beside what it is made of', { timeout: DEADLINE_MS }, async (backend) => {
    const out = mkdtempSync(join(tmpdir(), 'rudder-bench-'));
    try {
      const args = ['--quick', '--backend', backend, '--only', 'latency', '--out', out];
      const { stdout } = await execa(process.execPath, [BENCH, ...args], { timeout: DEADLINE_MS });
      expect(stdout).toContain(`Rudder with ${backend}.`);
      const { samples } = JSON.parse(readFileSync(`${out}/bench.json`, 'utf8')) as { samples: Sample[] };
      expect(new Set(samples.map(({ system }) => system))).toEqual(new Set(['veth', 'vxlan', 'rudder']));
      for (const { value } of samples) expect(value).toBeGreaterThan(0);
    } finally {
      rmSync(out, { recursive: true });
    }
  });

  it('measures what encrypts beside itself unencrypted, and names what is left out', {
    timeout: DEADLINE_MS,
  }, async () => {
    const out = mkdtempSync(join(tmpdir(), 'rudder-bench-'));
    try {
      const args = ['--quick', '--only', 'sealed', 'latency', '--out', out];
      const { stdout, stderr } = await execa(process.execPath, [BENCH, ...args], { timeout: DEADLINE_MS });
      expect(stdout).toContain('Rudder with wireguard.');
      const { samples } = JSON.parse(readFileSync(`${out}/bench.json`, 'utf8')) as { samples: Sample[] };
      for (const { value } of samples) expect(value).toBeGreaterThan(0);
      const systems = new Set(samples.map(({ system }) => system));
      for (const system of ['rudder', 'unencrypted'] as const) expect(systems).toContain(system);
      for (const other of ['wireguard-go', 'nebula'] as const) {
        const isLeftOut = stderr.includes(`${other} is left out: apt-get install`);
        expect(systems.has(other), other).toBe(!isLeftOut);
      }
    } finally {
      rmSync(out, { recursive: true });
    }
  });

  it('compares builds, each with its own daemons in a lab of its own', { timeout: DEADLINE_MS }, async () => {
    const args = ['--rounds', '2', '--place', 'container', '--', TREE, TREE];
    const { stdout } = await execa(process.execPath, [BUILDS, ...args], { timeout: DEADLINE_MS });
    expect(stdout).toContain('container to container');
    const rows = [...stdout.matchAll(/([\d.]+) ± ([\d.]+)/g)].map(([, ratio]) => Number(ratio));
    expect(rows).toHaveLength(4); // of two builds, rate and CPU time
    expect([rows[0], rows[1]]).toEqual([1, 1]);
    for (const ratio of rows) expect(ratio).toBeGreaterThan(0);
  });

  it('compares a build with VXLAN and with no overlay, on an underlay that cuts super-packets, flows both ways at once', {
    timeout: DEADLINE_MS,
  }, async () => {
    const load = ['--underlay', 'segmented', '--flows', '2', '--both-ways'];
    const args = ['--veth', '--vxlan', '--rounds', '2', ...load, '--', TREE];
    const { stdout } = await execa(process.execPath, [BUILDS, ...args], { timeout: DEADLINE_MS });
    const cells = stdout.split('\n').map((line) => line.split('│').map((cell) => cell.trim()));
    const [none, vxlan, build] = ['no overlay', 'VXLAN', TREE].map((name) => cells.find((row) => row[1] === name)!);
    expect(none.slice(3, 6)).toEqual(['1.000 ± 0.000', '-', '-']);
    for (const other of [vxlan, build]) expect(Number.parseFloat(other[3])).toBeGreaterThan(0);
    expect(vxlan.slice(4, 6)).toEqual(['-', '-']);
    expect(Number(build[4])).toBeGreaterThan(0); // the daemons' CPU time
    expect(build[5]).toBe('-');
  });

  it.each(['vxlan', 'udp-direct'])('compares round trips of %s with VXLAN on hosts without Rudder', {
    timeout: DEADLINE_MS,
  }, async (backend) => {
    const args = ['--backend', backend, '--rounds', '3', '--labs', '1'];
    const { stdout } = await execa(process.execPath, [ROUND_TRIPS, ...args], { timeout: DEADLINE_MS });
    const rows = stdout.split('\n').map((line) => line.split('│').map((cell) => cell.trim()));
    const row = (name: string) => rows.find((cells) => cells[1] === name)!;
    for (const name of ['VXLAN by hand, no Rudder there', 'VXLAN by hand beside Rudder', 'Rudder', 'no overlay']) {
      expect(Number(row(name)[2]), name).toBeGreaterThan(0);
    }
    expect(row('VXLAN by hand, no Rudder there')[4]).toBe('1.000');
    expect(row('no overlay')[6]).toBe('1.000');
  });

  it('refuses to compare with a tree that is not built, in one line', async () => {
    const { exitCode, stderr } = await execa(process.execPath, [BUILDS, '/proc'], { reject: false });
    expect(exitCode).toBe(1);
    expect(stderr).toBe('bench:builds: /proc: expected a built tree of Rudder; run npm run setup in it');
  });
});
