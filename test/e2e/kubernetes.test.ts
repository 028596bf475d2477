import { afterEach, beforeEach, expect, it } from 'vitest';
import { execIn } from '../../src/lab/network.js';
import { launchNode, nodePaths, startNode, stopNode } from '../../src/lab/nodes.js';
import type { LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { createKubeLab, type KubeLab } from '../helpers/kube-lab.js';
import { expectPodsToReach } from '../helpers/kube-pods.js';
import { describeWith } from '../helpers/requires.js';
import { cli, RUDDER } from './cli.js';

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

  it('rudder cleanup speaks of Kubernetes, whatever it is told of the store, and takes the annotations back', async () => {
    const [node] = lab.nodes;
    kube.giveSubnet(node, '10.244.5.0/24');
    await startNode(lab, node);
    await waitFor('the condition', () => kube.conditionOf(node)?.status === 'False', 10_000);
    await stopNode(lab, node);
    const { subnetFile, stateDir } = nodePaths(lab, node);
    const bare = async (...options: string[]) => {
      const rudder = [process.execPath, RUDDER, 'cleanup', `--subnet-file=${subnetFile}`, `--state-dir=${stateDir}`];
      return (await execIn(lab, 'n1', [...rudder, ...options])).split('\n');
    };
    const stays = 'what the Node of podCIDR 10.244.5.0/24 says of this host stays in Kubernetes';
    const first = await bare();
    expect(first).toContain(`removed what ${stateDir} knew of the cluster`);
    expect(first.join('\n')).not.toMatch(/etcd|lease/);
    expect(first.at(-1) || first.at(-2)).toMatch(
      new RegExp(`^${stays} \\(annotations, the condition NetworkUnavailable\\): .*give --kubeconfig-file$`),
    );
    // What was last known is gone, and of which store it was is not.
    const again = await bare('--etcd-endpoints=http://127.0.0.1:9', '--keep-lease');
    expect(again.slice(0, 2)).toEqual(['nothing to remove', expect.stringMatching(`^${stays} `)]);
    expect(kube.annotation(node, 'public-ip')).toBeDefined();
    expect(kube.conditionOf(node)).toMatchObject({ status: 'False' });

    // Nor where its annotations are.
    const { code, stdout, stderr } = await cli(lab, node, 'cleanup', '--kube-annotation-prefix=another.example');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toBe('removed the annotations of podCIDR 10.244.5.0/24 from its Node in Kubernetes\n');
    expect(kube.annotation(node, 'public-ip')).toBeUndefined();
    expect(kube.conditionOf(node)).toMatchObject({ status: 'True', reason: 'RudderIsGone' });
    expect((await cli(lab, node, 'cleanup')).stdout).toBe('nothing to remove\n');
  });
});
