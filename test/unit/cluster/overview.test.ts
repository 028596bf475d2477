import { describe, expect, it } from 'vitest';
import { type Answer, answerOf } from '../../../src/cluster/answers.js';
import { type OverviewInput, overviewOf } from '../../../src/cluster/overview.js';
import type { PeerView, Summary } from '../../../src/cluster/summary.js';
import type { PeerStatus } from '../../../src/ops/status.js';
import { createStatus } from '../../helpers/status.js';

const [A, B, C] = ['10.240.1.0/24', '10.240.2.0/24', '10.240.3.0/24'];
const OWN = createStatus().node.subnet;
const ok = { state: 'ok', reason: null, rttMs: 0.4, lastHeardSeconds: 1 } as const;
const silent = { state: 'silent', reason: null, rttMs: null, lastHeardSeconds: 20 } as const;

const peer = (host: string | null, subnet: string, health: PeerStatus['health'] = ok): PeerStatus => ({
  ...createStatus().peers[0],
  host,
  subnet,
  health,
});
const view = (subnet: string, changes: Partial<PeerView> = {}): PeerView => ({
  subnet,
  heardSeconds: 1,
  answeredSeconds: 1,
  misses: 0,
  rttMs: 0.5,
  obstacle: null,
  ...changes,
});
const DEAF = { heardSeconds: null, answeredSeconds: null, misses: 9, rttMs: null };
const summary = (peers: PeerView[], changes: Partial<Summary> = {}): Summary => ({
  host: null,
  version: '1.2.3',
  ready: true,
  peers,
  ...changes,
});
const answer = (told: Summary): Answer => answerOf(told, null, undefined);

/** Two peers, of which one is asked through nobody else. */
function look(changes: Partial<OverviewInput> = {}, answers: Record<string, Answer> = {}) {
  return overviewOf({
    status: createStatus({ peers: [peer('n10', B), peer('n9', A)] }),
    own: answer(summary([view(A), view(B)])),
    answerOf: (subnet) => answers[subnet],
    whyNotAsked: () => undefined,
    isNew: () => false,
    lost: [],
    ...changes,
  });
}
const stateOf = ({ nodes }: ReturnType<typeof look>, name: string) => nodes.find(({ host }) => host === name)?.state;

describe('the overview of a cluster', () => {
  it('names this node first and the others as people count, and those that are lost at the end', () => {
    const lost = [{ host: 'n1', subnet: C, nextHop: '10.1.1.9', version: null, seconds: 60 }];
    const { nodes } = look({ lost });
    expect(nodes.map(({ host }) => host)).toEqual(['alpha', 'n9', 'n10', 'n1']);
    expect(nodes[3]).toMatchObject({ state: 'lost', lostSeconds: 60 });
  });

  it('tells of each pair what both ends say, and what flows as its sender counts it', () => {
    const first = answer(summary([view(B, { outBytes: 0, inBytes: 0 })], { about: about(10) }));
    const rates = answerOf(summary([view(B, { outBytes: 8000, inBytes: 0 })], { about: about(12) }), null, first);
    const { links, nodes } = look({}, { [A]: rates, [B]: answer(summary([view(OWN), view(A, DEAF)])) });
    const between = links.find(({ a, b }) => a === 1 && b === 2);
    expect(between).toMatchObject({ aToB: 4000, bToA: 0, state: 'ok', rttMs: 0.5 });
    expect(nodes[1]).toMatchObject({ out: 4000, in: 0, linksFailed: 0, linksOk: 2 });
  });

  it('says whether what flows is counted: not where the kernel moves it, and what goes directly is not', () => {
    const backend = createStatus().backend;
    expect(look().traffic).toBe('counted');
    expect(look({ status: createStatus({ backend: { ...backend, direct: 0 } }) }).traffic).toBe('counted');
    expect(look({ status: createStatus({ backend: { ...backend, direct: 2 } }) }).traffic).toBe('tunnel-only');
    const uncounted = { ...backend, countsTraffic: false };
    expect(look({ status: createStatus({ packetPath: null, backend: uncounted }) }).traffic).toBe('not-counted');
  });

  it("tells traffic that the kernel's WireGuard counts from drops, which nobody knows of there", () => {
    expect(look()).toMatchObject({ traffic: 'counted', countsDrops: true });
    expect(look({ status: createStatus({ packetPath: null }) })).toMatchObject({
      traffic: 'counted',
      countsDrops: false,
    });
  });

  it('tells a pair that this node is not part of to be broken, but not of a node that has just come', () => {
    const answers = {
      [A]: answer(summary([view(OWN), view(B, DEAF)])),
      [B]: answer(summary([view(OWN), view(A, DEAF)])),
    };
    const broken = ({ links }: ReturnType<typeof look>) => links.filter(({ state }) => state === 'failed');
    expect(broken(look({}, answers))).toMatchObject([{ a: 1, b: 2, detail: 'leave n9, none arrive' }]);
    expect(look({}, answers).nodes[1]).toMatchObject({ state: 'ok', linksFailed: 1 });
    expect(broken(look({ isNew: (subnet) => subnet === B }, answers))).toEqual([]);
  });

  it('finds no fault with a node that nobody expects an answer of, as of flannel', () => {
    const unknown = { state: 'unknown', reason: null, rttMs: null, lastHeardSeconds: null } as const;
    const status = createStatus({ peers: [peer('n9', A), peer(null, B, unknown)] });
    const { links } = look({ status, own: answer(summary([view(A), view(B, DEAF)])), whyNotAsked: () => 'no key' });
    expect(links.filter(({ state }) => state === 'failed')).toEqual([]);
  });

  it('of 4,000 nodes takes no longer than those take that say something', () => {
    const peers = Array.from({ length: 4000 }, (_, i) => peer(`n${i}`, `10.${i >> 8}.${i & 255}.0/24`));
    const own = answer(summary(peers.map(({ subnet }) => view(subnet))));
    const began = performance.now();
    const { nodes, links } = look({ status: createStatus({ peers }), own });
    expect(nodes).toHaveLength(4001);
    expect(links).toEqual([]);
    // All pairs are eight million: those alone take longer.
    expect(performance.now() - began).toBeLessThan(2000);
  });

  it('tells of a node that is silent here, whether others reach it', () => {
    const status = createStatus({ peers: [peer('n9', A, silent), peer('n10', B)] });
    const own = answer(summary([view(A, DEAF), view(B)]));
    const { nodes } = look({ status, own }, { [B]: answer(summary([view(OWN), view(A)])) });
    expect(nodes[1]).toMatchObject({ state: 'silent', detail: '1 of the other nodes reaches it' });
  });

  it('tells what a node says of itself, that it does not answer, and why it is not asked', () => {
    const unready = summary([], { ready: false, about: { ...about(1), problems: ['rudder0 is down'] } });
    const answers = { [A]: answer(unready), [B]: answerOf(null, 'no answer', undefined) };
    const told = look({}, answers);
    expect(told.nodes[1]).toMatchObject({ state: 'not-ready', detail: 'rudder0 is down' });
    expect(told.nodes[2]).toMatchObject({ state: 'no-answer', detail: expect.stringMatching(/^does its daemon run/) });
    const unasked = look({ whyNotAsked: (subnet) => (subnet === B ? 'no key' : undefined) });
    expect(unasked.nodes[2]).toMatchObject({ state: 'ok', notAsked: 'no key' });
  });

  it('tells of this node what its status says', () => {
    const status = createStatus({ peers: [], problems: ['rudder0 is down or gone'] });
    expect(stateOf(look({ status }), 'alpha')).toBe('not-ready');
  });

  it('shows of very many pairs those that fail, then those that talk, and says how many are left out', () => {
    const peers = Array.from({ length: 300 }, (_, i) => peer(`n${i}`, `10.241.${i}.0/24`));
    const of = (i: number, j: number) =>
      view(peers[j].subnet, {
        ...(i === 299 || j === 299 ? DEAF : {}),
        outBytes: i === 0 && j < 5 ? 100_000 : 0,
        inBytes: null,
      });
    const told = (seconds: number) => (i: number) =>
      summary(
        peers.flatMap((_, j) => (i === j ? [] : { ...of(i, j), outBytes: of(i, j).outBytes! * seconds })),
        { about: about(seconds) },
      );
    const answers = Object.fromEntries(
      peers.map(({ subnet }, i) => [subnet, answerOf(told(2)(i), null, answer(told(1)(i)))]),
    );
    const { links, linksLeftOut } = look({ status: createStatus({ peers }), own: answer(summary([])) }, answers);
    expect(links.filter(({ state }) => state === 'failed')).toHaveLength(299);
    expect(links.filter(({ state }) => state === 'ok')).toHaveLength(4);
    expect(links.length + linksLeftOut).toBeGreaterThan(44_000);
  });
});

function about(uptimeSeconds: number) {
  const texts = { problems: [] as string[], warnings: [] };
  return {
    uptimeSeconds,
    backend: 'udp',
    mtu: 1472,
    leaseSeconds: 1,
    config: 'current',
    firewallProblem: null,
    ...texts,
  };
}
