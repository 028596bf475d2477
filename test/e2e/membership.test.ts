import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { etcdctl } from '../../src/lab/etcd.js';
import { addNode, createLab, labDown, labStatus, labUp } from '../../src/lab/lab.js';
import { etcdUrl, nodeAddress } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { addContainer, launchNode, logLines, startNode, waitUntilReady } from '../../src/lab/nodes.js';
import { signalProcess } from '../../src/lab/process.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { SHARED_CONFIG } from '../helpers/network.js';
import { describeWith } from '../helpers/requires.js';
import { reaches } from './traffic.js';

const NAME = 'test-members';
const SUBNETS = '/coreos.com/network/subnets';
/** The promise of the issue: a change in etcd counts within a second. */
const ONE_SECOND = 1000;

const leaseKeys = async (lab: LabState) =>
  (await etcdctl(lab, 'get', '--prefix', '--keys-only', `${SUBNETS}/`)).split('\n').filter(Boolean);

describeWith(['root', 'tun', 'etcd'], 'membership', () => {
  describe('of a running cluster', () => {
    let lab: LabState;

    beforeAll(async () => {
      lab = await labUp({ name: NAME, nodes: 2, config: SHARED_CONFIG });
    });
    afterAll(() => labDown(NAME));

    /** Waits until a daemon has logged that; the log tells the moment at which a route took effect. */
    const logged = (node: number, msg: string, subnet: string) =>
      waitFor(
        `n${node} to log "${msg}" of ${subnet}`,
        () => logLines(lab, lab.nodes[node - 1]).findLast((line) => line.msg === msg && line.subnet === subnet),
        ONE_SECOND,
      );

    it('a node is reachable within a second of its lease appearing', async () => {
      const joining = await addNode(lab);
      await launchNode(lab, joining);
      const known = new Set(labStatus(lab).map((row) => row.subnet.replace(/\.1\/24$/, '.0-24')));
      const key = await waitFor(
        'the lease',
        async () => (await leaseKeys(lab)).find((name) => ![...known].some((subnet) => name.endsWith(subnet))),
        20_000,
      );
      const overlay = key.slice(SUBNETS.length + 1).replace('-24', '');
      await waitFor('the new node to answer', () => reaches(lab, 'c1', overlay), ONE_SECOND);
      await waitUntilReady(lab, joining);
    });

    it('a lease that is removed is unroutable within a second', async () => {
      await etcdctl(lab, 'put', `${SUBNETS}/10.240.150.0-24`, '{"PublicIP":"172.30.0.99","PublicIPv6":null}');
      await logged(1, 'peer added', '10.240.150.0/24');
      await etcdctl(lab, 'del', `${SUBNETS}/10.240.150.0-24`);
      await logged(1, 'peer removed', '10.240.150.0/24');
      const unreachable = execIn(lab, 'c1', ['ping', '-n', '-c', '1', '-W', '1', '10.240.150.2']);
      await expect(unreachable).rejects.toThrow('Destination Net Unreachable');
    });

    it('a dead node is unroutable within a second of its lease running out', async () => {
      const third = lab.nodes[2];
      const key = labStatus(lab)[2].subnet.replace(/\.1\/24$/, '.0');
      signalProcess(third.process!, 'SIGKILL');
      await waitFor(
        'the lease to run out',
        async () => !(await leaseKeys(lab)).some((name) => name.endsWith(`${key}-24`)),
        20_000,
      );
      await logged(1, 'peer removed', `${key}/24`);
      await logged(2, 'peer removed', `${key}/24`);
    });

    it.each([
      ['without a TTL', false],
      ['with a TTL', true],
    ])('a lease written by flannel, %s, is a peer like any other', async (_, withTtl) => {
      // flannel's part is played by another node's address: what is sent to its subnet arrives there.
      const value = `{"PublicIP":"${nodeAddress(lab, lab.nodes[1])}","PublicIPv6":null}`;
      const flag = withTtl ? [`--lease=${(await etcdctl(lab, 'lease', 'grant', '60')).split(' ')[1]}`] : [];
      await etcdctl(lab, 'put', ...flag, `${SUBNETS}/10.240.160.0-24`, value);
      await logged(1, 'peer added', '10.240.160.0/24');
      const capture = execIn(lab, 'n2', [
        'timeout',
        '5',
        'tcpdump',
        '-nn',
        '-c',
        '1',
        '-i',
        'eth0',
        'udp',
        'port',
        '8285',
      ]);
      await waitFor(
        'a packet on the wire',
        async () => {
          await reaches(lab, 'c1', '10.240.160.2');
          return Promise.race([capture, Promise.resolve('')]);
        },
        5000,
      );
      await etcdctl(lab, 'del', `${SUBNETS}/10.240.160.0-24`);
    });

    it("follows a peer's changed PublicIP", async () => {
      const key = `${SUBNETS}/10.240.170.0-24`;
      const leaseAt = (host: number) => `{"PublicIP":"${nodeAddress(lab, lab.nodes[host])}","PublicIPv6":null}`;
      const arrives = async (member: string) => {
        const capture = execIn(lab, member, [
          'timeout',
          '3',
          'tcpdump',
          '-nn',
          '-c',
          '1',
          '-i',
          'eth0',
          'udp',
          'port',
          '8285',
          'and',
          'src',
          nodeAddress(lab, lab.nodes[1]),
          // For that subnet, by the destination in the inner header: nodes probe each other besides.
          'and',
          'udp[24:4]',
          '=',
          '0x0af0aa02',
        ]);
        let [seen, ended] = [false, false];
        const finish = (found: boolean) => () => {
          [seen, ended] = [found, true];
        };
        capture.then(finish(true), finish(false));
        const sendUntilEnded = async () => {
          await reaches(lab, 'c2', '10.240.170.2');
          return ended;
        };
        await waitFor('the capture to end', sendUntilEnded, 8000);
        return seen;
      };
      await etcdctl(lab, 'put', key, leaseAt(0));
      await logged(2, 'peer added', '10.240.170.0/24');
      expect(await arrives('n1')).toBe(true);
      await etcdctl(lab, 'put', key, leaseAt(2));
      await logged(2, 'peer changed', '10.240.170.0/24');
      expect(await arrives('n3')).toBe(true);
      expect(await arrives('n1')).toBe(false);
      await etcdctl(lab, 'del', key);
    });

    it('skips malformed keys and values with one warning each, and nothing else suffers', async () => {
      // etcdctl takes a value from its input when it is not among the arguments, where 1 MB would not fit.
      const putMegabyte = `head -c 1000000 /dev/zero | tr '\\0' x | ETCDCTL_API=3 etcdctl --endpoints=${etcdUrl(lab)} put ${SUBNETS}/10.240.185.0-24`;
      const bad: [string, string][] = [
        ['10.240.180.0-24', 'not JSON'],
        ['10.240.181.0-24', '{"PublicIP":42}'],
        ['10.240.182.0-24', '[]'],
        ['10.240.183.0-24', ''],
        ['192.168.1.0-24', '{"PublicIP":"172.30.0.96"}'],
        ['10.240.184.128-25', '{"PublicIP":"172.30.0.96"}'],
        ['hello', '{"PublicIP":"172.30.0.96"}'],
        ['10.240.186.0-24', '{"PublicIP":"10.240.50.1"}'],
        ['10.240.999.0-24', '{"PublicIP":"172.30.0.96"}'],
      ];
      for (const [key, value] of bad) await etcdctl(lab, 'put', `${SUBNETS}/${key}`, '--', value);
      await execIn(lab, 'etcd', ['sh', '-c', putMegabyte]);
      const warnings = () =>
        logLines(lab, lab.nodes[0]).filter((line) => line.msg === 'skipping a key that is no lease');
      await waitFor('all warnings', () => warnings().length >= bad.length + 1, 5000);
      expect(
        warnings()
          .map((line) => line.key)
          .sort(),
      ).toEqual([...bad.map(([key]) => key), '10.240.185.0-24'].sort());
      for (const line of warnings()) expect(JSON.stringify(line).length).toBeLessThan(500);

      // A node that starts into this list works too, and the old ones still do.
      const [second] = labStatus(lab).slice(1);
      expect(await reaches(lab, 'c1', second.containerAddress)).toBe(true);
      const late = await addNode(lab);
      await startNode(lab, late);
      await addContainer(lab, late);
      expect(await reaches(lab, 'c1', labStatus(lab).at(-1)!.containerAddress)).toBe(true);
    });
  });

  describe('of twenty nodes that start at the same instant', () => {
    afterEach(() => labDown(NAME));

    it('gives each a subnet of its own within 10 s', { timeout: 120_000 }, async () => {
      // To boot twenty times Node.js takes two cores some seconds: all are up, and wait, before the race begins.
      const lab = await createLab({ name: NAME, nodes: 20 });
      await Promise.all(lab.nodes.map((node) => launchNode(lab, node)));
      const waits = (node: LabNode) => logLines(lab, node).some((line) => /network config/.test(line.msg ?? ''));
      await waitFor('twenty daemons to wait for the config', () => lab.nodes.every(waits), 60_000);
      const started = performance.now();
      await etcdctl(lab, 'put', '/coreos.com/network/config', '{"Network":"10.240.0.0/16"}');
      const keys = await waitFor(
        'twenty leases',
        async () => {
          const found = await leaseKeys(lab);
          return found.length >= 20 && found;
        },
        10_000 - (performance.now() - started),
      );
      expect(keys).toHaveLength(20);
      for (const node of lab.nodes) await waitUntilReady(lab, node);
      expect(new Set(labStatus(lab).map((row) => row.subnet)).size).toBe(20);
    });

    it('makes the fifth and sixth node of a network of four subnets wait, and shares none', {
      timeout: 120_000,
    }, async () => {
      const lab = await createLab({
        name: NAME,
        nodes: 6,
        config: '{"Network":"10.240.0.0/28","SubnetLen":30,"SubnetMin":"10.240.0.0"}',
      });
      for (const node of lab.nodes) await launchNode(lab, node);
      await waitFor(
        'two nodes to say that the network is full',
        () =>
          lab.nodes.filter((node) =>
            logLines(lab, node).some((line) => String(line.msg).startsWith('no free subnet left')),
          ).length === 2,
        20_000,
      );
      expect(await leaseKeys(lab)).toHaveLength(4);
    });
  });
});
