import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { generateIdentity, privateKeyText } from '../../src/backend/wireguard/protocol/keys.js';
import { EXIT_CODES } from '../../src/cli/exit-codes.js';
import { etcdctl } from '../../src/lab/etcd.js';
import { createLab, labDown } from '../../src/lab/lab.js';
import { namespaceOf, nodeAddress } from '../../src/lab/names.js';
import { containerAddress, execIn } from '../../src/lab/network.js';
import {
  addContainer,
  launchNode,
  logText,
  nodePaths,
  readSubnetEnv,
  startNode,
  stopNode,
  waitUntilReady,
} from '../../src/lab/nodes.js';
import { isRunning, signalProcess } from '../../src/lab/process.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { startStream } from '../../src/lab/stream.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { SHARED_NETWORK } from '../helpers/network.js';
import { describeWith, kernelHasWireguard } from '../helpers/requires.js';
import { cli, statusOf } from './cli.js';
import { ping, reaches, transfer } from './traffic.js';

const NAME = 'test-wireguard';
const SUBNETS = '/coreos.com/network/subnets';
const PSK = generateIdentity().publicKey.toString('base64');
/** Outside of the node's namespace it has the same name, so it is the lab's own. */
const DEVICE = `wgl${process.pid % 1_000_000}`;

/** A key as it might be written somewhere. @param base64 as `wg` writes it */
function writingsOf(base64: string): string[] {
  const bytes = Buffer.from(base64, 'base64');
  return [base64.replace(/=$/, ''), bytes.toString('base64url'), bytes.toString('hex'), bytes.toString('latin1')];
}

describeWith(['root', 'tun', 'etcd', 'iptables', 'nft', 'wireguard-go'], 'nodes of WireGuard', () => {
  let lab: LabState;
  let nodes: LabNode[];
  let byHand: LabNode;
  let go: ChildProcess | undefined;
  const subnet = (node: LabNode) => readSubnetEnv(lab, node).RUDDER_SUBNET;
  const own = (node: LabNode) => subnet(node).replace(/\.1\/24$/, '.0');
  const container = (node: LabNode) => containerAddress(subnet(node));
  const leaseKey = (node: LabNode) => `${SUBNETS}/${own(node)}-24`;
  const leaseOf = async (node: LabNode) => JSON.parse(await etcdctl(lab, 'get', '--print-value-only', leaseKey(node)));
  const keyFile = (node: LabNode) => join(nodePaths(lab, node).stateDir, 'wireguard.key');

  /** All that others get to see of a node, by where. */
  async function everythingTold(node: LabNode): Promise<Record<string, string>> {
    const paths = ['/status', '/metrics', '/readyz', '/cluster', '/history'];
    const script = `Promise.all(${JSON.stringify(paths)}.map(async (path) =>
      (await fetch('http://127.0.0.1:9479' + path)).text())).then((texts) => console.log(texts.join('\\n')))`;
    const process_ = `/proc/${node.process!.pid}`;
    return {
      served: await execIn(lab, `n${node.number}`, [process.execPath, '-e', script]),
      status: (await cli(lab, node, 'status', '--json')).stdout,
      events: (await cli(lab, node, 'events')).stdout,
      log: logText(lab, node),
      'process list': ['cmdline', 'environ'].map((file) => readFileSync(`${process_}/${file}`, 'utf8')).join('\n'),
    };
  }

  beforeAll(async () => {
    const config = JSON.stringify({ ...SHARED_NETWORK, Backend: { Type: 'wireguard', PSK } });
    const args = kernelHasWireguard() ? ['--wireguard-implementation=user'] : [];
    lab = await createLab({ name: NAME, nodes: 4, config, daemon: { arguments: args } });
    byHand = lab.nodes[3];
    nodes = lab.nodes.slice(0, 3);
    for (const node of nodes) await launchNode(lab, node, ['--log-level=trace', '--healthz-port=9479']);
    for (const node of nodes) await waitUntilReady(lab, node);
    for (const node of nodes) await addContainer(lab, node);
  });
  afterAll(async () => {
    go?.kill('SIGTERM');
    await labDown(NAME);
  });

  it('join hosts and containers, all pairs', async () => {
    for (const from of nodes) {
      for (const to of nodes.filter((node) => node !== from)) {
        for (const [member, source] of [
          [`n${from.number}`, own(from)],
          [`c${from.number}`, container(from)],
        ]) {
          const sent = await transfer(lab, 'tcp', member, `c${to.number}`, container(to), 3_000_000);
          expect(sent.received, `${member} to ${to.number}`).toMatchObject({ bytes: 3_000_000, from: source });
          expect(sent.received.sha256).toBe(sent.sent.sha256);
        }
      }
    }
  });

  it("carry packets of the full MTU, which is flannel's", async () => {
    expect(readSubnetEnv(lab, nodes[0])).toMatchObject({ RUDDER_MTU: '1420' });
    await ping(lab, 'c1', container(nodes[1]), '-M', 'do', '-s', String(1420 - 28));
    await expect(ping(lab, 'c1', container(nodes[1]), '-M', 'do', '-s', String(1420 - 27))).rejects.toThrow(
      /message too long|Frag needed/i,
    );
  });

  it('tell their keys in their leases, and keep the private ones to themselves', async () => {
    const { BackendType, BackendData } = await leaseOf(nodes[0]);
    expect(BackendType).toBe('wireguard');
    expect(BackendData).toMatchObject({ Port: 51820, PublicKey: expect.stringMatching(/^[A-Za-z0-9+/]{43}=$/) });
    expect(statSync(keyFile(nodes[0])).mode & 0o777).toBe(0o600);
    const secrets = [PSK, readFileSync(keyFile(nodes[0]), 'utf8').trim()].flatMap(writingsOf);
    const told = await everythingTold(nodes[0]);
    for (const [where, text] of Object.entries(told)) {
      for (const secret of secrets) expect(text.includes(secret), where).toBe(false);
    }
    // Nor is any other key there, such as a session's: what looks like one is a public one of a lease.
    const keysIn = (text: string) => text.match(/(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{43}=/g) ?? [];
    const leases = await Promise.all(nodes.map(leaseOf));
    const known = new Set(keysIn(JSON.stringify(leases)));
    expect(known.size).toBeGreaterThanOrEqual(nodes.length);
    for (const [where, text] of Object.entries(told))
      expect(
        keysIn(text).filter((key) => !known.has(key)),
        where,
      ).toEqual([]);
  });

  it('leave no core dump', () => {
    const limits = readFileSync(`/proc/${nodes[0].process!.pid}/limits`, 'utf8');
    expect(limits).toMatch(/^Max core file size +0 +0 /m);
  });

  it('go on with a flow when one is killed and started again, with the same key', async () => {
    const before = (await leaseOf(nodes[1])).BackendData.PublicKey;
    const stream = await startStream(lab, 'c1', container(nodes[1]));
    await stream.flows(5000);
    signalProcess(nodes[1].process!, 'SIGKILL');
    await waitFor('the daemon to end', () => !isRunning(nodes[1].process!), 5000);
    await startNode(lab, nodes[1]);
    await stream.flows(6000);
    await stopNode(lab, nodes[1]);
    await startNode(lab, nodes[1]);
    await stream.flows(6000);
    await stream.stop();
    expect((await leaseOf(nodes[1])).BackendData.PublicKey).toBe(before);
  });

  it('go on with a flow when one is given another key', async () => {
    const before = (await leaseOf(nodes[1])).BackendData.PublicKey;
    const stream = await startStream(lab, 'c1', container(nodes[1]));
    const { code, stdout } = await cli(lab, nodes[1], 'keys', 'rotate');
    expect(code).toBe(0);
    const next = /^The public key is (\S{44}) now,/.exec(stdout)?.[1];
    expect(next).not.toBe(before);
    await waitFor('the lease', async () => (await leaseOf(nodes[1])).BackendData.PublicKey === next, 5000);
    await stream.flows(7000);
    await stream.stop();
    await waitFor('the other peer', () => reaches(lab, 'c3', container(nodes[1])), 7000);
    // The former key is nobody's any more: with it the node would be a stranger.
    await stopNode(lab, nodes[1]);
    await startNode(lab, nodes[1]);
    expect((await leaseOf(nodes[1])).BackendData.PublicKey).toBe(next);
    await waitFor('a session', () => reaches(lab, 'c1', container(nodes[1])), 7000);
  });

  it('say how it is with their sessions', async () => {
    const { cipher, implementation } = (await statusOf(lab, nodes[0])).backend;
    expect(['portable', 'avx2', 'avx512']).toContain(cipher);
    const why = kernelHasWireguard() ? '--wireguard-implementation user' : 'this kernel has no WireGuard';
    expect(implementation).toEqual({ runs: 'user', why });
    expect(await reaches(lab, 'c1', container(nodes[1]))).toBe(true);
    const { peers, warnings } = await statusOf(lab, nodes[0]);
    expect(peers.find(({ subnet: net }) => net === `${own(nodes[1])}/24`)?.session).toMatchObject({
      state: 'up',
      endpoint: `${nodeAddress(lab, nodes[1])}:51820`,
    });
    expect(warnings).toEqual([expect.stringMatching(/etcd is spoken to without TLS/)]);
    const { stdout } = await cli(lab, nodes[0], 'status');
    expect(stdout).toMatch(/^encrypted {1,2}wireguard, cipher \w+; [12] sessions?$/m);
  });

  it.skipIf(kernelHasWireguard())("do not start with the kernel's where it has none", async () => {
    const { code, stderr } = await cli(lab, byHand, '--wireguard-implementation', 'kernel');
    expect(code).toBe(EXIT_CODES.device);
    expect(stderr).toMatch(
      /cannot set up WireGuard device rudder-wg with port 51820: this kernel has no WireGuard, expected its module wireguard; run "modprobe wireguard", or choose Backend\.Implementation user, which needs none/,
    );
  });

  it('refuse a second lease with a key that is known, and say whose it is', async () => {
    const lease = await leaseOf(nodes[1]);
    const value = JSON.stringify({ ...lease, PublicIP: nodeAddress(lab, byHand) });
    await etcdctl(lab, 'put', `${SUBNETS}/10.240.200.0-24`, value);
    await waitFor(
      'the lease to be shown',
      async () =>
        (await statusOf(lab, nodes[0])).peers.some(({ problem }) =>
          problem?.includes(`its PublicKey is that of ${own(nodes[1])}/24 too`),
        ),
      5000,
    );
    expect(await reaches(lab, 'c1', container(nodes[1]))).toBe(true);
    await etcdctl(lab, 'del', `${SUBNETS}/10.240.200.0-24`);
  });

  it('reach a host with wireguard-go that is set up by hand, and are reached by it', async () => {
    const identity = generateIdentity();
    const { PublicIP, BackendData } = await leaseOf(nodes[0]);
    go = spawn('nsenter', [`--net=/run/netns/${namespaceOf(lab, 'n4')}`, 'wireguard-go', '--foreground', DEVICE], {
      stdio: 'ignore',
    });
    const inHost = (line: string, input = '') => execIn(lab, 'n4', ['sh', '-c', `cat | ${line}`], input);
    await waitFor('the device', () => inHost(`ip link show ${DEVICE}`), 5000);
    await inHost(`wg set ${DEVICE} listen-port 51820 private-key /dev/stdin`, privateKeyText(identity));
    const peer = `peer ${BackendData.PublicKey} endpoint ${PublicIP}:${BackendData.Port} allowed-ips ${own(nodes[0])}/24`;
    await inHost(`wg set ${DEVICE} ${peer} preshared-key /dev/stdin`, PSK);
    for (const line of [
      'link add br0 type bridge',
      'address add 10.240.99.1/24 dev br0',
      'link set br0 up',
      `address add 10.240.99.0/32 dev ${DEVICE}`,
      `link set ${DEVICE} mtu 1420 up`,
      `route add ${own(nodes[0])}/24 dev ${DEVICE}`,
    ])
      await execIn(lab, 'n4', ['ip', ...line.split(' ')]);
    const data = { PublicKey: identity.publicKey.toString('base64'), Port: 51820 };
    const value = { PublicIP: nodeAddress(lab, byHand), PublicIPv6: null, BackendType: 'wireguard', BackendData: data };
    await etcdctl(lab, 'put', `${SUBNETS}/10.240.99.0-24`, JSON.stringify(value));
    await waitFor('a way there', () => reaches(lab, 'c1', '10.240.99.1'), 10_000);
    await execIn(lab, 'n4', ['ping', '-n', '-c', '1', '-W', '2', '-I', '10.240.99.1', container(nodes[0])]);
    const sent = await transfer(lab, 'tcp', 'c1', 'n4', '10.240.99.1', 5_000_000);
    expect(sent.received).toMatchObject({ bytes: 5_000_000, from: container(nodes[0]) });
    // Not its key any more: it is another peer at once, and nothing of it is taken.
    const other = { ...data, PublicKey: generateIdentity().publicKey.toString('base64') };
    await etcdctl(lab, 'put', `${SUBNETS}/10.240.99.0-24`, JSON.stringify({ ...value, BackendData: other }));
    await waitFor('the way to be gone', async () => !(await reaches(lab, 'c1', '10.240.99.1')), 10_000);
    await etcdctl(lab, 'del', `${SUBNETS}/10.240.99.0-24`);
  });
});
