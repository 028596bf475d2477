import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { LEAST_FOR_DAEMON } from '../../src/cli/descriptor-limit.js';
import { createLab, labDown } from '../../src/lab/lab.js';
import { execIn } from '../../src/lab/network.js';
import { logLines, nodePaths, startNode } from '../../src/lab/nodes.js';
import { isRunning } from '../../src/lab/process.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import type { Status } from '../../src/ops/status.js';
import { cli, statusOf } from '../e2e/cli.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-http-flood';
const PORT = '9478';
const CLIENT = fileURLToPath(new URL('./http-client.mjs', import.meta.url));
const SECONDS = 10;
/** The promises of the issue. */
const MOST_GROWTH_MB = 50;
const STATUS_DEADLINE_MS = 5000;
const MOST_LOG_LINES = 50;

describeWith(['root', 'tun', 'etcd', 'iptables'], 'HTTP clients that take what they can', () => {
  let lab: LabState;
  let node: LabNode;

  beforeAll(async () => {
    // The least TTL there is: renewed every 1.7 s.
    lab = await createLab({
      name: NAME,
      nodes: 1,
      config: '{"Network":"10.240.0.0/16"}',
      daemon: { leaseTtl: '5s' },
    });
    node = lab.nodes[0];
    await startNode(lab, node, [`--healthz-port=${PORT}`]);
  });
  afterAll(() => labDown(NAME));

  const run = (...command: string[]) => execIn(lab, 'n1', [process.execPath, ...command]);

  /** What a probe that waits for a second sees. */
  const probe = () =>
    run(
      '-e',
      `fetch('http://127.0.0.1:${PORT}/healthz', { signal: AbortSignal.timeout(1000) }).then((r) => console.log(r.status), (e) => console.log(String(e)))`,
    ).then((text) => text.trim());

  function residentMb(): number {
    const status = readFileSync(`/proc/${node.process!.pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1000;
  }

  const descriptors = () => readdirSync(`/proc/${node.process!.pid}/fd`).length;

  /** Looks at the node as an operator and a probe do until the clients are done. */
  async function watch(clients: Promise<unknown>): Promise<{ statuses: Status[]; probes: string[]; peakMb: number }> {
    const seen = { statuses: [] as Status[], probes: [] as string[], peakMb: 0 };
    const looking = setInterval(() => {
      seen.peakMb = Math.max(seen.peakMb, residentMb());
    }, 50);
    let done = false;
    void clients.finally(() => {
      done = true;
    });
    while (!done) {
      const before = performance.now();
      const { code, stdout, stderr } = await cli(lab, node, 'status', '--json');
      expect(performance.now() - before).toBeLessThan(STATUS_DEADLINE_MS);
      expect(code, stderr).toBe(0);
      seen.statuses.push(JSON.parse(stdout) as Status);
      seen.probes.push(await probe());
    }
    clearInterval(looking);
    return seen;
  }

  it.each(['reads', 'deaf'])('asks for everything without waiting (%s), and costs the node little', async (manner) => {
    const [before, lines] = [residentMb(), logLines(lab, node).length];
    const paths = ['/status', '/page.js', '/metrics'];
    const clients = Promise.all(paths.map((path) => run(CLIENT, PORT, path, String(SECONDS), manner)));
    const { statuses, probes, peakMb } = await watch(clients);
    expect(isRunning(node.process!)).toBe(true);
    // It was a flood, and each client had its share.
    for (const received of await clients) if (manner === 'reads') expect(Number(received)).toBeGreaterThan(100_000);
    expect(peakMb - before).toBeLessThan(MOST_GROWTH_MB);
    expect(logLines(lab, node).length - lines).toBeLessThan(MOST_LOG_LINES);
    expect(new Set(probes)).toEqual(new Set(['200']));
    expect(statuses.length).toBeGreaterThan(2);
    for (const { lease, problems } of statuses) {
      expect(lease.recoveries).toBe(0);
      expect(problems).toEqual([]);
    }
    expect(
      logLines(lab, node)
        .slice(lines)
        .filter(({ level, msg }) => level !== 30 || /lease/.test(msg ?? '')),
    ).toEqual([]);
  });

  it.each([
    ['that say nothing', ''],
    ['that never finish', 'GET /healthz HTTP/1.1\\r\\nX: '],
  ])('do not keep a probe out as 64 connections %s', async (_, bytes) => {
    const script = `
      const { connect } = require('node:net');
      const open = (i) => i === 64 ? probe() : connect(${PORT}, '127.0.0.1', function () { this.write('${bytes}', () => open(i + 1)); }).on('error', () => {});
      const probe = () => fetch('http://127.0.0.1:${PORT}/healthz').then((r) => console.log(r.status), (e) => console.log(String(e))).then(() => process.exit());
      open(0);`;
    expect((await run('-e', script)).trim()).toBe('200');
  });

  it('leave the node the descriptors it needs, of the least that it starts with', async () => {
    const lines = logLines(lab, node).length;
    const { repairs } = (await statusOf(lab, node)).firewall;
    await execa('prlimit', [`--pid=${node.process!.pid}`, `--nofile=${LEAST_FOR_DAEMON}:${LEAST_FOR_DAEMON}`]);
    const path = nodePaths(lab, node).subnetFile.replace('subnet.env', 'rudder.sock');
    const script = `
      const { connect } = require('node:net');
      for (let i = 0; i < 70; i++) for (const to of [{ path: '${path}' }, { port: ${PORT} }]) {
        connect(to, function () { this.write('GET / HTTP/1.1\\r\\nX: '); }).on('close', () => {}).on('error', () => {});
      }
      setTimeout(() => process.exit(), 4000);`;
    const clients = run('-e', script);
    await waitFor('both servers to be full', () => descriptors() > 2 * 64, 4000);
    await execIn(lab, 'n1', ['iptables', '-F', 'RUDDER-FORWARD']);
    await clients;
    await waitFor('a repair', async () => (await statusOf(lab, node)).firewall.repairs > repairs, 5000);
    expect(await probe()).toBe('200');
    // Of the repair, and of nothing that was lacking.
    expect(
      logLines(lab, node)
        .slice(lines)
        .filter(({ reason }) => reason !== undefined),
    ).toEqual([]);
  });
});
