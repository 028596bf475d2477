import { writeFileSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { administerKubernetes } from '../../src/control/kubernetes/kube-administration.js';
import type { KubernetesOptions } from '../../src/control/kubernetes/options.js';
import { formatIpv4 } from '../../src/core/ipv4.js';
import {
  type Administrator,
  flannelNode,
  IDENTITY,
  joinNode,
  membershipOf,
  PREFIX,
  type TestNode,
} from '../helpers/kubernetes.js';

/** One contract over the fake and a real API server: what is true of the one is true of the other. */
export interface KubernetesSubject {
  readonly admin: Administrator;
  /** For files of a test. */
  readonly directory: string;
  optionsOf(nodeName: string): KubernetesOptions;
}

const NET_CONF = '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}';
const WAIT = { timeout: 10_000, interval: 20 };

/** What a Node says by our annotations. */
async function annotationsOf(admin: Administrator, name: string): Promise<Record<string, string>> {
  const { metadata } = await admin.node(name);
  const ours = Object.entries(metadata.annotations ?? {}).filter(([key]) => key.startsWith(PREFIX));
  return Object.fromEntries(ours.map(([key, value]) => [key.slice(PREFIX.length), value]));
}

async function conditionOf(admin: Administrator, name: string) {
  const { status } = await admin.node(name);
  return status?.conditions?.find(({ type }) => type === 'NetworkUnavailable');
}

export function describeKubernetes(
  title: string,
  start: () => Promise<KubernetesSubject & { close(): Promise<void> }>,
): void {
  describe(`membership by Kubernetes: ${title}`, () => {
    let subject: KubernetesSubject & { close(): Promise<void> };
    let admin: Administrator;
    let options: KubernetesOptions;
    const nodes: TestNode[] = [];
    beforeEach(async () => {
      subject = await start();
      ({ admin } = subject);
      await admin.deleteAll();
      options = subject.optionsOf('n1');
      writeFileSync(options.netConfigPath, NET_CONF);
    });
    afterEach(async () => {
      for (const { joined, membership } of nodes.splice(0)) {
        await joined.stop();
        membership.close();
      }
      await subject.close();
    });

    async function join(keeping: Parameters<typeof joinNode>[1] = {}, of = options): Promise<TestNode> {
      const node = await joinNode(of, keeping);
      nodes.push(node);
      await node.joined.listed(new AbortController().signal);
      return node;
    }

    it('the config is that of the file, with the subnets of Kubernetes: the first one counts too', async () => {
      await admin.createNode('n1', '10.244.0.0/24');
      const membership = membershipOf(options);
      const json = JSON.parse((await membership.getConfig())!);
      expect(json).toEqual({
        Network: '10.244.0.0/16',
        Backend: { Type: 'vxlan' },
        SubnetLen: 24,
        SubnetMin: '10.244.0.0',
      });
      membership.close();
    });

    it('a Node that is not there, and one without a podCIDR, are waited for, with the remedy', async () => {
      const membership = membershipOf(options);
      await expect(membership.getConfig()).rejects.toMatchObject({
        code: 'registry-unavailable',
        message: expect.stringMatching(
          /^there is no Node "n1" in Kubernetes: .*its kubelet makes it, and NODE_NAME has its name$/,
        ),
      });
      await admin.createNode('n1');
      await expect(membership.getConfig()).rejects.toMatchObject({
        code: 'registry-unavailable',
        message: expect.stringMatching(
          /^Node "n1" has no podCIDR yet: .*--allocate-node-cidrs=true and --cluster-cidr \(kubeadm init --pod-network-cidr\)$/,
        ),
      });
      await admin.giveSubnet('n1', '10.244.3.0/24');
      expect(JSON.parse((await membership.getConfig())!).SubnetLen).toBe(24);
      membership.close();
    });

    it('the own Node says what flannel reads, and its subnet is the podCIDR', async () => {
      await admin.createNode('n1', '10.244.1.0/24', { other: 'kept' });
      const { own, joined } = await join();
      expect(own).toMatchObject({ subnet: { prefixLength: 24 }, created: true });
      const { 'backend-data': data, ...rest } = await annotationsOf(admin, 'n1');
      expect(rest).toEqual({ 'kube-subnet-manager': 'true', 'backend-type': 'vxlan', 'public-ip': '192.0.2.7' });
      expect(JSON.parse(data)).toEqual({ VNI: 1, VtepMAC: '0e:00:00:00:00:07', NodeID: 'me', Version: '1.2.3' });
      expect((await admin.node('n1')).metadata.annotations?.other).toBe('kept');
      expect(joined.state().lease).toMatchObject({
        ownKey: 'written',
        remainingSeconds: undefined,
        ttlSeconds: undefined,
      });
    });

    it('what a dual-stack flannel has said of IPv6 goes, since nobody would answer there', async () => {
      await admin.createNode('n1', '10.244.1.0/24', {
        ...flannelNode('192.0.2.9'),
        [`${PREFIX}public-ipv6`]: 'fd00::1',
        [`${PREFIX}backend-v6-data`]: '{"VNI":1}',
      });
      const { own } = await join();
      expect(own.created).toBe(false);
      expect(Object.keys(await annotationsOf(admin, 'n1')).sort()).toEqual([
        'backend-data',
        'backend-type',
        'kube-subnet-manager',
        'public-ip',
      ]);
    });

    it('peers come, move and go as their Nodes do, by the names of these', async () => {
      await admin.createNode('n1', '10.244.1.0/24');
      await admin.createNode('n2', '10.244.2.0/24', flannelNode('192.0.2.2'));
      await admin.createNode('without', '10.244.9.0/24');
      const node = await join();
      expect(node.peers()).toEqual({ '10.244.2.0/24': 'n2 192.0.2.2' });
      await admin.createNode('n3', '10.244.3.0/24', flannelNode('192.0.2.3'));
      await vi.waitFor(() => expect(node.peers()['10.244.3.0/24']).toBe('n3 192.0.2.3'), WAIT);
      await admin.annotate('n3', { [`${PREFIX}public-ip`]: '192.0.2.33' });
      await vi.waitFor(() => expect(node.peers()['10.244.3.0/24']).toBe('n3 192.0.2.33'), WAIT);
      await admin.annotate('n3', { [`${PREFIX}backend-data`]: '{"VNI":1,"VtepMAC":"0e:00:00:00:00:33"}' });
      await vi.waitFor(
        () => expect(node.changes.at(-1)?.lease.backend.data).toMatchObject({ VtepMAC: '0e:00:00:00:00:33' }),
        WAIT,
      );
      await admin.annotate('n2', { [`${PREFIX}kube-subnet-manager`]: null });
      await vi.waitFor(() => expect(Object.keys(node.peers())).toEqual(['10.244.3.0/24']), WAIT);
      await admin.deleteNode('n3');
      await vi.waitFor(() => expect(node.peers()).toEqual({}), WAIT);
    });

    it('a peer made anew with another podCIDR is not reached by its old one', async () => {
      await admin.createNode('n1', '10.244.1.0/24');
      await admin.createNode('n2', '10.244.2.0/24', flannelNode('192.0.2.2'));
      const node = await join();
      await admin.deleteNode('n2');
      await admin.createNode('n2', '10.244.8.0/24', flannelNode('192.0.2.2'));
      await vi.waitFor(() => expect(node.peers()).toEqual({ '10.244.8.0/24': 'n2 192.0.2.2' }), WAIT);
    });

    it('a Node that makes no sense is no peer, and is told once', async () => {
      await admin.createNode('n1', '10.244.1.0/24');
      await admin.createNode('bad', '10.99.2.0/24', flannelNode('192.0.2.2'));
      await admin.createNode('worse', '10.244.2.0/24', flannelNode('nowhere'));
      await admin.createNode('other', '10.244.3.0/24', flannelNode('192.0.2.3', null, 'host-gw'));
      const node = await join();
      expect(node.peers()).toEqual({});
      const ignored = [...node.joined.state().ignored.values()].map(({ key, problem }) => `${key}: ${problem}`);
      expect(ignored.sort()).toEqual([
        'bad: subnet 10.99.2.0/24 is outside Network 10.244.0.0/16',
        'other: backend "host-gw"',
        'worse: PublicIP "nowhere" is not the IPv4 address of a host',
      ]);
      expect(node.log.lines.filter(({ message }) => message === 'skipping a Node that is no peer')).toHaveLength(3);
    });

    it('250 Nodes are read in pages', async () => {
      await admin.createNode('n1', '10.244.0.0/24');
      for (let i = 1; i <= 250; i++)
        await admin.createNode(`peer-${i}`, `10.244.${i}.0/24`, flannelNode(`192.0.2.${i}`));
      expect(Object.keys((await join()).peers())).toHaveLength(250);
    });

    it('20 nodes that join at once see each other', async () => {
      const numbers = Array.from({ length: 20 }, (_, i) => i + 1);
      const subnetOf = (number: number) => `10.244.${number}.0/24`;
      const addressOf = (number: number) => IDENTITY.publicIp + number;
      for (const number of numbers) await admin.createNode(`n${number}`, subnetOf(number));
      const all = await Promise.all(
        numbers.map((number) => {
          const identity = { ...IDENTITY, publicIp: addressOf(number), nodeId: `id-${number}` };
          return join({ identity }, subject.optionsOf(`n${number}`));
        }),
      );
      const seen = (of: number) =>
        Object.fromEntries(
          numbers.flatMap((number) =>
            number === of ? [] : [[subnetOf(number), `n${number} ${formatIpv4(addressOf(number))}`]],
          ),
        );
      await vi.waitFor(() => {
        for (const [i, node] of all.entries()) {
          expect(node.peers()).toEqual(seen(numbers[i]));
          const isWell = { isCurrent: true, problem: undefined, lease: { ownKey: 'written' } };
          expect(node.joined.state()).toMatchObject(isWell);
        }
      }, WAIT);
    });

    it('what is taken from the own Node is put back', async () => {
      await admin.createNode('n1', '10.244.1.0/24');
      await join();
      await admin.annotate('n1', { [`${PREFIX}public-ip`]: null, [`${PREFIX}backend-data`]: 'null' });
      await vi.waitFor(
        async () =>
          expect(await annotationsOf(admin, 'n1')).toMatchObject({
            'public-ip': '192.0.2.7',
            'backend-data': expect.stringContaining('VtepMAC'),
          }),
        WAIT,
      );
    });

    it('another address of this host is told', async () => {
      await admin.createNode('n1', '10.244.1.0/24');
      const { joined } = await join();
      joined.publish({ publicIp: 0x0a010101 });
      await vi.waitFor(async () => expect((await annotationsOf(admin, 'n1'))['public-ip']).toBe('10.1.1.1'), WAIT);
      expect(joined.state().publicIp).toBe(0x0a010101);
    });

    it("an operator's overwrite is followed while it is there", async () => {
      await admin.createNode('n1', '10.244.1.0/24', { [`${PREFIX}public-ip-overwrite`]: '203.0.113.1' });
      await join();
      const told = async () => (await annotationsOf(admin, 'n1'))['public-ip'];
      expect(await told()).toBe('203.0.113.1');
      await admin.annotate('n1', { [`${PREFIX}public-ip-overwrite`]: '203.0.113.2' });
      await vi.waitFor(async () => expect(await told()).toBe('203.0.113.2'), WAIT);
      await admin.annotate('n1', { [`${PREFIX}public-ip-overwrite`]: 'nonsense' });
      await vi.waitFor(async () => expect(await told()).toBe('192.0.2.7'), WAIT);
      await admin.annotate('n1', {
        [`${PREFIX}public-ip-overwrite`]: null,
        [`${PREFIX}node-public-ip`]: '203.0.113.3',
      });
      await vi.waitFor(async () => expect(await told()).toBe('203.0.113.3'), WAIT);
    });

    it('the own Node made anew with its podCIDR is written anew', async () => {
      await admin.createNode('n1', '10.244.1.0/24');
      const { joined } = await join();
      await admin.deleteNode('n1');
      await vi.waitFor(() => expect(joined.state().lease.ownKey).toBe('gone'), WAIT);
      await admin.createNode('n1');
      await admin.giveSubnet('n1', '10.244.1.0/24');
      await vi.waitFor(async () => expect((await annotationsOf(admin, 'n1'))['public-ip']).toBe('192.0.2.7'), WAIT);
      expect(joined.state().lease).toMatchObject({ ownKey: 'written', recoveries: 1 });
      expect(joined.isLost()).toBe(false);
    });

    it('the own Node made anew with another podCIDR ends the claim', async () => {
      await admin.createNode('n1', '10.244.1.0/24');
      const { joined } = await join();
      await admin.deleteNode('n1');
      await admin.createNode('n1', '10.244.7.0/24');
      await expect(joined.lost).rejects.toMatchObject({
        code: 'lease-conflict',
        message: expect.stringMatching(
          /^Node "n1" was made anew with podCIDR 10\.244\.7\.0\/24, and this node has 10\.244\.1\.0\/24: .*restart rudder to take it/,
        ),
      });
      expect((await annotationsOf(admin, 'n1'))['public-ip']).toBeUndefined();
    });

    it('the condition is set when packets flow, kept, and withdrawn when they have not for a while', async () => {
      await admin.createNode('n1', '10.244.1.0/24');
      const { joined } = await join();
      expect(await conditionOf(admin, 'n1')).toBeUndefined();
      joined.carries?.(undefined);
      const says = (status: string, reason: string) =>
        vi.waitFor(async () => expect(await conditionOf(admin, 'n1')).toMatchObject({ status, reason }), WAIT);
      await says('False', 'RudderIsUp');
      await admin.deleteNode('n1');
      await admin.createNode('n1', '10.244.1.0/24');
      await says('False', 'RudderIsUp');
      joined.carries?.('rudder0 is down or gone');
      await says('True', 'RudderDoesNotForward');
      expect((await conditionOf(admin, 'n1'))?.message).toBe('rudder0 is down or gone');
      joined.carries?.(undefined);
      await says('False', 'RudderIsUp');
      await joined.stop();
      expect(await conditionOf(admin, 'n1')).toMatchObject({ status: 'False' });
    });

    it('leaving takes the annotations back and no more', async () => {
      await admin.createNode('n1', '10.244.1.0/24', { [`${PREFIX}public-ip-overwrite`]: '203.0.113.1' });
      const { joined } = await join();
      await joined.leave();
      expect(await annotationsOf(admin, 'n1')).toEqual({ 'public-ip-overwrite': '203.0.113.1' });
    });

    it('what a stopped node has left is taken back, and the Node says so, if it is that node that says it', async () => {
      await admin.createNode('n1', '10.244.1.0/24', { other: 'kept' });
      const { own, joined } = await join();
      joined.carries?.(undefined);
      await vi.waitFor(async () => expect(await conditionOf(admin, 'n1')).toMatchObject({ status: 'False' }), WAIT);
      await joined.stop();
      const administration = administerKubernetes(options);
      const before = await annotationsOf(admin, 'n1');
      const another = { ...own.subnet, address: own.subnet.address + 256 };
      expect(await administration.giveBack(own.subnet, 'somebody else')).toBe(false);
      expect(await administration.giveBack(another, IDENTITY.nodeId)).toBe(false);
      expect(await annotationsOf(admin, 'n1')).toEqual(before);
      expect(await conditionOf(admin, 'n1')).toMatchObject({ status: 'False', reason: 'RudderIsUp' });
      expect(await administration.giveBack(own.subnet, IDENTITY.nodeId)).toBe(true);
      expect((await admin.node('n1')).metadata.annotations).toEqual({ other: 'kept' });
      expect(await conditionOf(admin, 'n1')).toMatchObject({ status: 'True', reason: 'RudderIsGone' });
      expect(await administration.giveBack(own.subnet, IDENTITY.nodeId)).toBe(false);
      administration.close();
    });

    it("the condition of a node that keeps none, or of somebody else's word, is left alone", async () => {
      const unkept = { ...options, setNetworkUnavailable: false };
      const theirs = { type: 'NetworkUnavailable', status: 'False', reason: 'CalicoIsUp', message: '' };
      for (const of of [options, unkept]) {
        await admin.createNode('n1', '10.244.1.0/24');
        await admin.setCondition('n1', of === unkept ? { ...theirs, reason: 'RudderIsUp' } : theirs);
        const { own, joined } = await join({}, of);
        await joined.stop();
        const administration = administerKubernetes(of);
        expect(await administration.giveBack(own.subnet, IDENTITY.nodeId)).toBe(true);
        administration.close();
        expect(await conditionOf(admin, 'n1')).toMatchObject({ status: 'False' });
        await admin.deleteNode('n1');
      }
    });

    it('the file of the config is followed', async () => {
      await admin.createNode('n1', '10.244.1.0/24');
      const node = await join();
      await vi.waitFor(() => expect(node.configs).toHaveLength(1), WAIT);
      writeFileSync(joinPath(subject.directory, 'net-conf.json'), NET_CONF.replace('vxlan', 'host-gw'));
      await vi.waitFor(() => expect(node.configs.at(-1)).toContain('host-gw'), WAIT);
    });
  });
}
