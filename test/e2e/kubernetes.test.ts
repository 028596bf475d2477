import { afterEach, beforeEach, expect, it } from 'vitest';
import { launchNode } from '../../src/lab/nodes.js';
import type { LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { createKubeLab, type KubeLab } from '../helpers/kube-lab.js';
import { expectPodsToReach } from '../helpers/kube-pods.js';
import { describeWith } from '../helpers/requires.js';
import { cli } from './cli.js';

/** The daemon with Kubernetes as its store. What takes longer is in test/faults. */
describeWith(['root', 'tun', 'etcd', 'vxlan'], 'a node with Kubernetes as the store', () => {
  let kube: KubeLab;
  let lab: LabState;
  beforeEach(async () => {
    kube = await createKubeLab('test-kube');
    ({ lab } = kube);
  });
  afterEach(() => kube.down());

  it('vxlan: subnets are the podCIDRs, the first one too, and containers reach each other', () =>
    expectPodsToReach(kube, 'vxlan'));

  it('a podCIDR that is late is waited for, and status says so with the remedy', async () => {
    const [node] = lab.nodes;
    kube.giveSubnet(node);
    await launchNode(lab, node);
    await waitFor(
      'the reason',
      async () => {
        const { stderr, code } = await cli(lab, node, 'status');
        return code === 14 && /Node "n1" has no podCIDR yet: .*--allocate-node-cidrs=true/.test(stderr);
      },
      10_000,
    );
    kube.giveSubnet(node, '10.244.5.0/24');
    await kube.ready(node);
    expect(kube.subnetOf(node)).toBe('10.244.5.1/24');
    await waitFor('the condition', () => kube.conditionOf(node)?.status === 'False', 10_000);
  });
});
