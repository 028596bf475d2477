import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLab, labDown } from '../../src/lab/lab.js';
import { nodeAddress } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import {
  addContainer,
  launchNode,
  logLines,
  readSubnetEnv,
  startNode,
  stopNode,
  waitUntilReady,
} from '../../src/lab/nodes.js';
import { endProcess, spawnInNamespace } from '../../src/lab/process.js';
import { type LabNode, type LabState, labDirectory } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';
import { cli, statusOf } from './cli.js';
import { knock, NOBODY } from './knock.js';

const NAME = 'test-askers';

/** The port where nodes ask each other, for those who are none (docs/peers.md). */
describeWith(
  ['root', 'tun', 'etcd', 'iptables', 'nft'],
  'who is no node, at the port where nodes ask each other',
  () => {
    let lab: LabState;
    let [first, second, third]: LabNode[] = [];
    /** Overlay addresses. */
    let addresses: string[];

    beforeAll(async () => {
      lab = await createLab({
        name: NAME,
        nodes: 3,
        config: '{"Network":"10.240.0.0/16"}',
        daemon: { leaseTtl: '1h' },
      });
      [first, second, third] = lab.nodes;
      await launchNode(lab, first);
      await launchNode(lab, second);
      // Whose containers Docker masquerades, and nobody else keeps from anything.
      await launchNode(lab, third, ['--no-firewall=true']);
      for (const node of lab.nodes) await waitUntilReady(lab, node);
      for (const node of lab.nodes) await addContainer(lab, node);
      addresses = lab.nodes.map((node) => readSubnetEnv(lab, node).RUDDER_SUBNET.replace(/\.1\/24$/, '.0'));
      const masquerade = ['-t', 'nat', '-A', 'POSTROUTING', '-s', `${addresses[2]}/24`, '!', '-o', 'docker0'];
      await execIn(lab, 'n3', ['iptables', ...masquerade, '-j', 'MASQUERADE']);
      await execIn(lab, 'etcd', ['ip', 'route', 'add', `${addresses[0]}/32`, 'via', nodeAddress(lab, first)]);
    });
    afterAll(() => labDown(NAME));

    const waysFrom = async (node: LabNode) => (await cli(lab, node, 'connectivity', 'test')).stdout.trim();
    const areWell = () => waitFor('all ways', async () => (await waysFrom(first)) === '6 ways: 6 ok', 15_000);

    it('has no connection: a host of the underlay, a container of this node or of another, a user of this host', async () => {
      await areWell();
      const none = { connected: 0, heard: 0 };
      expect(await knock(lab, 'etcd', addresses[0], '/challenge')).toEqual(none);
      expect(await knock(lab, 'c1', addresses[0], '/challenge')).toEqual(none);
      expect(await knock(lab, 'c2', addresses[0], '/challenge')).toEqual(none);
      expect(await knock(lab, 'n1', addresses[0], '/challenge')).toEqual(none);
    });

    it('has no answer where there is one: at the address of a node, a user there, and a container that it masquerades', async () => {
      expect(await knock(lab, 'n2', addresses[0], '/summary', { from: addresses[1] })).toEqual({
        connected: 1,
        heard: 0,
      });
      expect(await knock(lab, 'c3', addresses[0], '/summary/a/b/c')).toEqual({ connected: 1, heard: 0 });
      // Nor at a node without firewall rules.
      expect(await knock(lab, 'c1', addresses[2], '/challenge')).toEqual({ connected: 1, heard: 0 });
      expect(await knock(lab, 'n3', addresses[2], '/challenge')).toEqual({ connected: 1, heard: 0 });
    });

    it('keeps no node out by thousands of connections, of which few come through', async () => {
      const crowd = knock(lab, 'c3', addresses[0], '/challenge', { count: 1000 });
      expect(await waysFrom(second)).toBe('6 ways: 6 ok');
      expect((await crowd).connected).toBeLessThan(200);
    });

    it('is not believed at the port of a node, which he took before it started, and does the asker no harm', async () => {
      await stopNode(lab, second);
      const summary = JSON.stringify({ host: 'n2', version: '1', ready: true, peers: [] });
      const code = `let asked = 0;
      require('http').createServer((request, response) => {
        if (request.url === '/challenge') return response.end('{"challenge":"c"}');
        response.end(++asked % 2 ? 'hello' : ${JSON.stringify(summary)});
      }).listen(8285, '${addresses[1]}', () => console.log('up'));`;
      const log = `${labDirectory(NAME)}/impostor.log`;
      const command = [...NOBODY, process.execPath, '-e', code];
      const impostor = await spawnInNamespace(`rudder-${NAME}-n2`, command, log);
      try {
        await waitFor('the impostor', async () => (await execIn(lab, 'n2', ['cat', log])).includes('up'), 5000);
        await startNode(lab, second);
        const told = () => logLines(lab, second).filter(({ msg }) => msg === 'other nodes cannot ask this one');
        await waitFor('n2 to tell of it', () => told().length > 0, 5000);
        expect(told()).toMatchObject([{ reason: expect.stringContaining('EADDRINUSE') }]);
        const isTold = async () => /^not asked: n2 \(what answers there is not that node/m.test(await waysFrom(first));
        await waitFor('n2 to be told of', isTold, 10_000);
        expect(await isTold()).toBe(true);
        expect((await statusOf(lab, first)).problems).toEqual([]);
      } finally {
        await endProcess(impostor, 1000);
      }
      await areWell();
    });
  },
);
