import { hostname } from 'node:os';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { EXIT_CODES } from '../../src/cli/exit-codes.js';
import { etcdctl } from '../../src/lab/etcd.js';
import { labDown, labUp } from '../../src/lab/lab.js';
import { readSubnetEnv, startNode, stopNode } from '../../src/lab/nodes.js';
import type { LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';
import { cli, statusOf } from './cli.js';

const NAME = 'test-config-command';
const KEY = '/coreos.com/network/config';

describeWith(['root', 'tun', 'etcd'], 'rudder config', () => {
  let lab: LabState;
  beforeAll(async () => {
    lab = await labUp({ name: NAME, nodes: 2 });
  });
  afterAll(() => labDown(NAME));

  const config = (...args: string[]) => cli(lab, lab.nodes[0], 'config', ...args);
  const stored = async () => JSON.parse((await etcdctl(lab, 'get', '--print-value-only', KEY)).trim());
  const revision = async () => JSON.parse(await etcdctl(lab, 'get', KEY, '-w', 'json')).kvs[0].mod_revision as number;

  /** What a running node says of the config that is stored, as soon as it says so. */
  const saysChanged = (text: RegExp) =>
    waitFor(`a status like ${text}`, async () => text.test((await cli(lab, lab.nodes[0], 'status')).stdout), 10_000);

  it('shows what is stored and what it means', async () => {
    const { code, stdout } = await config('get');
    expect([code, stdout]).toEqual([
      0,
      expect.stringMatching(/"Network": "10\.240\.0\.0\/16"[\s\S]*Backend\.Port +8285/),
    ]);
    expect(JSON.parse((await config('get', '--json')).stdout)).toEqual(await stored());
  });

  it('sets the MTU after a plan, which running nodes tell of, and a restart applies', async () => {
    const before = readSubnetEnv(lab, lab.nodes[1]);
    const dry = await config('set', 'backend.mtu', '1400', '--dry-run');
    expect(dry.stdout).toMatch(
      /Backend\.MTU the underlay's becomes 1400\n.*2 nodes apply it at their next restart: \S/,
    );
    expect((await stored()).Backend).toBeUndefined();
    const { code, stdout } = await config('set', 'backend.mtu', '1400');
    expect([code, stdout]).toEqual([0, dry.stdout.replace('Nothing is written.', `Written: ${KEY}`)]);
    expect(await stored()).toEqual({ Network: '10.240.0.0/16', Backend: { MTU: 1400 } });
    await saysChanged(/changed: Backend\.MTU the underlay's becomes 1400: a restart applies it and keeps the subnet/);
    await stopNode(lab, lab.nodes[1]);
    await startNode(lab, lab.nodes[1]);
    expect(readSubnetEnv(lab, lab.nodes[1])).toEqual({ ...before, RUDDER_MTU: '1400' });
  });

  it('refuses a key that nobody knows, and writes nothing for the same config', async () => {
    const at = await revision();
    const { code, stderr } = await config('set', 'Backend.MUT', '1300');
    expect([code, stderr]).toEqual([EXIT_CODES['network-config'], expect.stringMatching(/did you mean MTU\?/)]);
    const same = await config('set', 'Backend.MTU', '1400');
    expect([same.code, same.stdout]).toEqual([0, `${KEY} holds this config already: nothing is written\n`]);
    expect(await revision()).toBe(at);
  });

  it('refuses to renumber nodes, unless it is asked to', async () => {
    const refused = await config('set', 'SubnetLen', '26');
    expect(refused.code).toBe(EXIT_CODES.renumbering);
    expect(refused.stderr).toMatch(
      /REFUSED: at their next restart 2 nodes would lose their \/24 subnets \(\S+, \S+\); --yes-renumber/,
    );
    expect((await stored()).SubnetLen).toBeUndefined();
    expect((await config('set', 'SubnetLen', '26', '--yes-renumber')).code).toBe(0);
    await saysChanged(/changed: SubnetLen 24 becomes 26.*a restart applies it and leases another subnet than/);
    await stopNode(lab, lab.nodes[1]);
    await startNode(lab, lab.nodes[1]);
    expect(readSubnetEnv(lab, lab.nodes[1]).RUDDER_SUBNET).toMatch(/\/26$/);
    // Its peer has not been restarted, and loses its subnet by the change before this one.
    const { code, stdout } = await config('set', 'Backend.MTU', '1300');
    expect([code, stdout]).toEqual([0, expect.stringMatching(/1 node has not been restarted since an earlier change/)]);
  });

  it('has a history of what it has written, which nodes do not take for leases', async () => {
    const { stdout } = await config('history');
    const lines = stdout.trim().split('\n');
    const by = String.raw`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC {2}root.* on ${hostname()}: `;
    expect(lines).toEqual([
      expect.stringMatching(`${by}Backend.MTU 1400 becomes 1300$`),
      expect.stringMatching(`${by}SubnetLen 24 becomes 26, `),
      expect.stringMatching(`${by}Backend.MTU the underlay's becomes 1400$`),
    ]);
    const versions = JSON.parse((await config('history', '--json')).stdout);
    expect(versions.map(({ version }: { version: number }) => version)).toEqual([3, 2, 1]);
    expect(versions[0].config).toEqual(await stored());
    for (const node of lab.nodes) {
      const { ignoredLeases } = await statusOf(lab, node);
      expect(JSON.stringify(ignoredLeases)).not.toContain('history');
    }
  });
});
