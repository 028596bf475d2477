import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLab, labDown } from '../../src/lab/lab.js';
import { etcdUrl } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { startNode } from '../../src/lab/nodes.js';
import type { LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { statusOf } from '../e2e/cli.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-many-peers';
const PORT = '9478';
const CONFIG = '{"Network":"10.16.0.0/12","SubnetLen":24}';
/** Leases of nodes that are not there. */
const CHURN = fileURLToPath(new URL('../../dist/bench/churn.js', import.meta.url));
const PEERS = 4000;

describeWith(['root', 'tun', 'etcd', 'iptables'], 'thousands of peers that come at once', () => {
  let lab: LabState;

  beforeAll(async () => {
    lab = await createLab({ name: NAME, nodes: 1, config: CONFIG, daemon: { leaseTtl: '1h' } });
    await startNode(lab, lab.nodes[0], [`--healthz-port=${PORT}`]);
    await execIn(lab, 'etcd', [process.execPath, CHURN, etcdUrl(lab), CONFIG, 'fill', '96', `${PEERS}`]);
    await waitFor('all to be known', async () => (await statusOf(lab, lab.nodes[0])).peers.length === PEERS, 30_000);
  });
  afterAll(() => labDown(NAME));

  it('are told whole through a pipe, however many', async () => {
    expect((await statusOf(lab, lab.nodes[0])).peers).toHaveLength(PEERS);
  });

  it('leave the young heap as small as it was: it would be 32 MB from then on', async () => {
    const scrape = `fetch('http://127.0.0.1:${PORT}/metrics').then((r) => r.text()).then((text) => console.log(text))`;
    const metrics = await execIn(lab, 'n1', [process.execPath, '-e', scrape]);
    const young = /^nodejs_heap_space_size_total_bytes\{space="new"\} (\d+)/m.exec(metrics)?.[1];
    expect(Number(young)).toBeLessThanOrEqual(8 * 2 ** 20);
  });
});
