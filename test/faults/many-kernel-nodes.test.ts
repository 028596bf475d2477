import { afterEach, describe, expect, it } from 'vitest';
import { createLab, labDown } from '../../src/lab/lab.js';
import { nodeName } from '../../src/lab/names.js';
import { addContainer, launchNode, readSubnetEnv, waitUntilReady } from '../../src/lab/nodes.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { statusOf } from '../e2e/cli.js';
import { reaches } from '../e2e/traffic.js';
import { describeWith } from '../helpers/requires.js';

const NODES = 20;

describe.each(['vxlan', 'host-gw'])('%s', (type) => {
  const name = `test-many-${type}`;
  afterEach(() => labDown(name));

  describeWith(['root', 'vxlan', 'etcd', 'iptables', 'nft'], 'twenty nodes at once', () => {
    it('have a subnet each, know all others, and their bridges reach each other', { timeout: 180_000 }, async () => {
      const config = JSON.stringify({ Network: '10.240.0.0/16', Backend: { Type: type } });
      const lab = await createLab({ name, nodes: NODES, config, daemon: { leaseTtl: '60s' } });
      await Promise.all(lab.nodes.map((node) => launchNode(lab, node)));
      await Promise.all(lab.nodes.map((node) => waitUntilReady(lab, node)));
      const subnets = lab.nodes.map((node) => readSubnetEnv(lab, node).RUDDER_SUBNET);
      expect(new Set(subnets).size).toBe(NODES);
      const each = type === 'vxlan' ? 3 : 1;
      const wanted = 1 + each * (NODES - 1);
      for (const node of lab.nodes) {
        const isWhole = async () => {
          const { peers, backend } = await statusOf(lab, node);
          return peers.length === NODES - 1 && backend.kernel?.present === wanted && backend.kernel.wanted === wanted;
        };
        await waitFor(`${nodeName(node)} to know all others`, isWhole, 20_000);
      }
      const [first, last] = [lab.nodes[0], lab.nodes[NODES - 1]];
      for (const node of [first, last]) await addContainer(lab, node);
      for (const [from, to] of [
        [first, last],
        [last, first],
      ]) {
        const bridge = readSubnetEnv(lab, to).RUDDER_SUBNET.replace('/24', '');
        expect(await reaches(lab, `c${from.number}`, bridge)).toBe(true);
      }
    });
  });
});
