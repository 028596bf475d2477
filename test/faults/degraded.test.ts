import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { etcdArguments, etcdctl, startEtcd, stopEtcd } from '../../src/lab/etcd.js';
import { labDown, labUp } from '../../src/lab/lab.js';
import { etcdAddress, etcdNamespace, etcdUrl } from '../../src/lab/names.js';
import { containerAddress } from '../../src/lab/network.js';
import { launchNode, logLines, logText, nodePaths, readSubnetEnv, startNode, stopNode } from '../../src/lab/nodes.js';
import { isRunning, signalProcess, spawnInNamespace } from '../../src/lab/process.js';
import { type LabNode, type LabState, labDirectory, saveLab } from '../../src/lab/state.js';
import { startStream } from '../../src/lab/stream.js';
import { waitFor } from '../../src/lab/wait-for.js';
import type { Status } from '../../src/ops/status.js';
import { cli } from '../e2e/cli.js';
import { createPki } from '../helpers/pki.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-faults-degraded';
const KEYS = '/coreos.com/network/subnets/';

describeWith(['root', 'tun', 'etcd'], 'a start while etcd does not answer', () => {
  let lab: LabState;
  let node: LabNode;
  const file = () => `${nodePaths(lab, node).stateDir}/last-known.json`;
  const status = () => cli(lab, node, 'status');
  const said = (text: RegExp) => logLines(lab, node).some((line) => text.test(String(line.msg)));

  beforeEach(async () => {
    lab = await labUp({ name: NAME, nodes: 2, daemon: { leaseTtl: '60s' } });
    node = lab.nodes[1];
    await waitFor(
      'the peer to be remembered',
      () => JSON.parse(readFileSync(file(), 'utf8')).peers.length === 1,
      10_000,
    );
  });
  afterEach(() => labDown(NAME));

  it('forwards with the last known lease and peers, says so, and reconciles when etcd is back', async () => {
    const before = readSubnetEnv(lab, node);
    await stopEtcd(lab);
    signalProcess(node.process!, 'SIGKILL');
    await waitFor('the daemon to end', () => !isRunning(node.process!), 5000);
    rmSync(nodePaths(lab, node).subnetFile);
    await startNode(lab, node);
    expect(readSubnetEnv(lab, node)).toEqual(before);
    expect(said(/^degraded: going on with the last known lease/)).toBe(true);
    expect((await status()).stdout).toMatch(/^etcd +degraded/m);
    const stream = await startStream(lab, 'c1', containerAddress(before.RUDDER_SUBNET));

    await startEtcd(lab);
    await waitFor('etcd to be watched', async () => /^etcd +watched/m.test((await status()).stdout), 10_000);
    expect(await stream.stop()).toSatisfy(({ sent, received }) => sent - received <= 1);
    expect(await etcdctl(lab, 'get', '--prefix', '--keys-only', KEYS)).toContain(
      `${KEYS}${before.RUDDER_SUBNET.replace('.1/24', '.0-24')}`,
    );
  });

  const configKey = '/coreos.com/network/config';
  const problems = async () => (JSON.parse((await cli(lab, node, 'status', '--json')).stdout) as Status).problems;

  async function kill(): Promise<void> {
    signalProcess(node.process!, 'SIGKILL');
    await waitFor('the daemon to end', () => !isRunning(node.process!), 5000);
    rmSync(nodePaths(lab, node).subnetFile);
  }

  /** Ready within seconds, on the subnet of before, loudly. */
  async function startsDegraded(reason: RegExp, extra: string[] = []): Promise<void> {
    const began = performance.now();
    await startNode(lab, node, extra);
    expect(performance.now() - began).toBeLessThan(4500);
    const line = logLines(lab, node).find(({ msg }) => msg?.startsWith('degraded: '));
    expect(line).toMatchObject({ level: 40, reason: expect.stringMatching(reason) });
  }

  it('degrades when etcd is refused, and goes on for as long as it is', async () => {
    const before = readSubnetEnv(lab, node);
    await kill();
    // A plain etcd under an https:// URL: what TLS says is for the user to mend, as an expired certificate is.
    const endpoint = etcdUrl(lab).replace('http:', 'https:');
    const source = `${endpoint}/coreos.com/network`;
    writeFileSync(file(), JSON.stringify({ ...JSON.parse(readFileSync(file(), 'utf8')), source }));
    await startsDegraded(/TLS/, [`--etcd-endpoints=${endpoint}`]);
    expect(readSubnetEnv(lab, node)).toEqual(before);
    expect(await problems()).toEqual([expect.stringMatching(/^degraded: .*TLS/)]);
    await waitFor(
      'it to try again',
      () => logLines(lab, node).some(({ msg }) => msg === 'lease watch interrupted'),
      9000,
    );
    expect(isRunning(node.process!)).toBe(true);
  });

  it('degrades when no name server knows etcd', async () => {
    await kill();
    const endpoint = 'http://etcd.invalid:2379';
    const source = `${endpoint}/coreos.com/network`;
    writeFileSync(file(), JSON.stringify({ ...JSON.parse(readFileSync(file(), 'utf8')), source }));
    await startsDegraded(/./, [`--etcd-endpoints=${endpoint}`]);
  });

  it.each([
    ['invalid', /10\.0\.0\.0\/99/, () => etcdctl(lab, 'put', configKey, '{"Network":"10.0.0.0/99"}')],
    ['deleted', /there is no network config/, () => etcdctl(lab, 'del', configKey)],
  ])('keeps its lease and says so when the config in etcd is %s', async (state, reason, spoil) => {
    const before = readSubnetEnv(lab, node);
    await kill();
    await spoil();
    await startsDegraded(reason);
    expect(readSubnetEnv(lab, node)).toEqual(before);
    const told = async () => JSON.parse((await cli(lab, node, 'status', '--json')).stdout) as Status;
    await waitFor('etcd to be watched', async () => (await told()).config.state === state, 10_000);
    expect(await told()).toMatchObject({ problems: [], registry: { current: true }, warnings: [/a restart goes on/] });
    const log = logText(lab, node);
    expect(log).not.toContain('to apply it');
  });

  it('degrades with an expired certificate, says so everywhere, and goes on by itself with a new one', async () => {
    const pki = createPki();
    try {
      pki.authority('ca');
      pki.certificate('server', 'ca', `IP:${etcdAddress(lab)}`);
      pki.certificate('old', 'ca', 'DNS:node', -1);
      pki.certificate('new', 'ca', 'DNS:node');
      const client = [pki.install('old.crt', 'client.crt'), pki.install('old.key', 'client.key')];
      const before = readSubnetEnv(lab, node);
      await kill();
      await stopEtcd(lab);
      const endpoint = etcdUrl(lab).replace('http:', 'https:');
      const tls = [
        `--cert-file=${pki.path('server.crt')}`,
        `--key-file=${pki.path('server.key')}`,
        '--client-cert-auth',
        `--trusted-ca-file=${pki.path('ca.crt')}`,
      ];
      const directory = `${labDirectory(NAME)}/etcd`;
      const etcd = ['etcd', ...etcdArguments(directory, endpoint, `http://${etcdAddress(lab)}:2380`), ...tls];
      lab.etcd = await spawnInNamespace(etcdNamespace(lab), etcd, `${labDirectory(NAME)}/etcd.log`);
      saveLab(lab);
      const source = `${endpoint}/coreos.com/network`;
      writeFileSync(file(), JSON.stringify({ ...JSON.parse(readFileSync(file(), 'utf8')), source }));
      const flags = [
        `--etcd-endpoints=${endpoint}`,
        `--etcd-cafile=${pki.path('ca.crt')}`,
        `--etcd-certfile=${client[0]}`,
        `--etcd-keyfile=${client[1]}`,
      ];
      await startsDegraded(/CN=old|nothing listens/, flags);
      expect(readSubnetEnv(lab, node)).toEqual(before);
      await waitFor(
        'the reason to be told',
        async () =>
          (await problems()).some((text) =>
            /^degraded: .*does not take our certificate: "CN=old" in .* has expired/.test(text),
          ),
        15_000,
      );
      const expired = /the certificate "CN=old" in .*client\.crt has expired, on /;
      expect((await status()).stdout).toMatch(new RegExp(`^warning +${expired.source}`, 'm'));
      expect((await cli(lab, node, 'doctor')).stdout).toMatch(new RegExp(`^warning +daemon: ${expired.source}`, 'm'));

      pki.install('new.key', 'client.key');
      pki.install('new.crt', 'client.crt');
      await waitFor('the node to be ready', async () => (await problems()).length === 0, 30_000);
      // The lease may be kept a moment before the watch is up again.
      await waitFor('nothing of it to be told', async () => !/has expired/.test((await status()).stdout), 30_000);
    } finally {
      pki.remove();
    }
  });

  const prefix = '/coreos.com/network/';
  const asRoot = '--user=root:root';
  const asRudder = ['--etcd-username=rudder', '--etcd-password=rudder'];

  /** A node that is a user of etcd with a role, which may be changed. */
  async function startAsUser(): Promise<void> {
    await etcdctl(lab, 'user', 'add', 'root:root');
    await etcdctl(lab, 'user', 'grant-role', 'root', 'root');
    await etcdctl(lab, 'user', 'add', 'rudder:rudder');
    await etcdctl(lab, 'role', 'add', 'network');
    await etcdctl(lab, 'role', 'grant-permission', 'network', '--prefix=true', 'readwrite', prefix);
    await etcdctl(lab, 'user', 'grant-role', 'rudder', 'network');
    await stopNode(lab, node);
    await etcdctl(lab, 'auth', 'enable');
    await startNode(lab, node, asRudder);
    expect(await problems()).toEqual([]);
  }

  it('is not ready while it may list and not watch, and says which', async () => {
    await startAsUser();
    await etcdctl(lab, asRoot, 'role', 'revoke-permission', '--prefix=true', 'network', prefix);
    await etcdctl(lab, asRoot, 'role', 'grant-permission', 'network', 'readwrite', configKey);
    await etcdctl(lab, asRoot, 'role', 'grant-permission', 'network', '--prefix=true', 'readwrite', KEYS);
    await stopNode(lab, node);
    await startNode(lab, node, asRudder);
    await waitFor(
      'it to say so',
      async () =>
        (await problems()).some((text) =>
          /^etcd has not been watched for \d+ s, .*denies user "rudder" access/.test(text),
        ),
      20_000,
    );
    expect((await status()).stdout).toMatch(/^etcd +degraded: .*denies user "rudder".*, last word \d+ s ago/m);
    expect((await cli(lab, node, 'doctor', ...asRudder)).stdout).toMatch(
      /^PROBLEM +etcd: .*: reading works, watching fails: .*denies user "rudder"/m,
    );
    await etcdctl(lab, asRoot, 'role', 'grant-permission', 'network', '--prefix=true', 'readwrite', prefix);
    await waitFor('the node to be ready', async () => (await problems()).length === 0, 15_000);
  });

  it('is not ready when its key is gone and etcd refuses writes', async () => {
    const key = `${KEYS}${readSubnetEnv(lab, node).RUDDER_SUBNET.replace('.1/24', '.0-24')}`;
    await startAsUser();
    await etcdctl(lab, asRoot, 'role', 'revoke-permission', '--prefix=true', 'network', prefix);
    await etcdctl(lab, asRoot, 'role', 'grant-permission', 'network', '--prefix=true', 'read', prefix);
    await etcdctl(lab, asRoot, 'del', key);
    await waitFor(
      'it to say so',
      async () => (await problems()).some((text) => /own lease key is gone .*: .*denies user "rudder"/.test(text)),
      10_000,
    );
    expect((await status()).stdout).toMatch(/^lease +gone/m);
    expect(isRunning(node.process!)).toBe(true);
  });

  it("ends with exit code 10 when the subnet turns out to be another node's, and forgets it", async () => {
    const key = `${KEYS}${readSubnetEnv(lab, node).RUDDER_SUBNET.replace('.1/24', '.0-24')}`;
    await stopNode(lab, node);
    await etcdctl(lab, 'put', key, '{"PublicIP":"10.9.9.9"}');
    await stopEtcd(lab);
    expect(existsSync(file())).toBe(true);
    await startNode(lab, node);
    await startEtcd(lab);
    await waitFor('the daemon to end', () => !isRunning(node.process!), 20_000);
    expect(logText(lab, node)).toContain('now belongs to the node at 10.9.9.9');
    expect(existsSync(file())).toBe(false);
  });

  it.each([
    ['has run out by the clock', (text: string) => JSON.stringify({ ...JSON.parse(text), validUntil: Date.now() - 1 })],
    [
      'was saved later than the clock says',
      (text: string) => JSON.stringify({ ...JSON.parse(text), savedAt: Date.now() + 3_600_000 }),
    ],
    [
      'has more left than its TTL',
      (text: string) => JSON.stringify({ ...JSON.parse(text), validUntil: Date.now() + 3_600_000 }),
    ],
    [
      'is of another cluster',
      (text: string) => JSON.stringify({ ...JSON.parse(text), source: 'http://10.1.1.1:2379/other' }),
    ],
    ['is of another node id', (text: string) => JSON.stringify({ ...JSON.parse(text), nodeId: 'another' })],
    ['is of another address', (text: string) => JSON.stringify({ ...JSON.parse(text), publicIp: '10.1.1.1' })],
    ['cannot be read', (text: string) => text.slice(0, -20)],
  ])('waits for etcd if what was last known %s', async (_, spoil) => {
    await stopNode(lab, node);
    writeFileSync(file(), spoil(readFileSync(file(), 'utf8')));
    await stopEtcd(lab);
    await launchNode(lab, node);
    await waitFor('it to say what it waits for', () => said(/^waiting for etcd/), 15_000);
    expect(said(/^ready/)).toBe(false);
    expect(said(/^the last known lease is not used|cannot be read$/)).toBe(true);
    await startEtcd(lab);
    await waitFor('it to be ready', () => said(/^ready/), 15_000);
  });
});
