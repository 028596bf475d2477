import { expect, it } from 'vitest';
import type { PeerView } from '../../../src/cluster/summary.js';
import { type Member, survey } from '../../../src/cluster/survey.js';

it('of very many nodes looks at 300, and says so: what each says of each other one would fill the memory', async () => {
  const subnets = Array.from({ length: 1000 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`);
  const view = { heardSeconds: 1, answeredSeconds: 1, misses: 0, rttMs: 1, obstacle: null };
  const peers: PeerView[] = subnets.map((subnet) => ({ subnet, ...view }));
  const members: Member[] = subnets.map((subnet) => ({
    host: null,
    subnet,
    address: '',
    overlayAddress: undefined,
    publicKey: undefined,
  }));
  const summary = { host: 'n1', version: '1', ready: true, peers };
  const { nodes, leftOut } = await survey(
    { host: 'n1', subnet: '10.9.0.0/24', address: '', summary },
    members,
    undefined,
  );
  expect(nodes).toHaveLength(300);
  expect(leftOut).toBe(701);
  expect(nodes[0].summary!.peers).toHaveLength(299);
});
