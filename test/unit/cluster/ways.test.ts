import { describe, expect, it } from 'vitest';
import type { PeerView } from '../../../src/cluster/summary.js';
import type { SurveyedNode } from '../../../src/cluster/survey.js';
import { waysOf } from '../../../src/cluster/ways.js';

const FRESH = { heardSeconds: 1, answeredSeconds: 1, misses: 0, rttMs: 0.5, obstacle: null };
const LOST = { heardSeconds: null, answeredSeconds: null, misses: 3, rttMs: null, obstacle: null };
const HEARD = { ...LOST, heardSeconds: 1 };

/** Three nodes a, b, c; `sees` says how one sees another if it is not well. */
function cluster(sees: Record<string, Partial<PeerView>>, notAsked: string[] = []): SurveyedNode[] {
  const names = ['a', 'b', 'c'];
  const subnetOf = (name: string) => `10.42.${names.indexOf(name)}.0/24`;
  return names.map((name) => {
    const peers = names
      .filter((other) => other !== name)
      .map((other) => ({ subnet: subnetOf(other), ...FRESH, ...sees[`${name}${other}`] }));
    const isAsked = !notAsked.includes(name);
    const summary = isAsked ? { host: name, version: '1', ready: true, peers } : null;
    return { host: name, subnet: subnetOf(name), address: '', summary, problem: isAsked ? null : 'no answer' };
  });
}

const told = (nodes: SurveyedNode[]) =>
  waysOf({ nodes })
    .filter(({ state }) => state !== 'ok')
    .map(({ from, to, state, detail }) => `${from.host} -> ${to.host} ${state}: ${detail}`);

describe('the ways between nodes', () => {
  it('are all of them, in both directions', () => {
    const ways = waysOf({ nodes: cluster({}) });
    expect(ways).toHaveLength(6);
    expect(ways.every(({ state }) => state === 'ok')).toBe(true);
  });

  it.each<[string, Record<string, Partial<PeerView>>, string[]]>([
    ['one direction', { ab: HEARD, ba: LOST }, ['a -> b failed: leave a, none arrive']],
    ['both', { ab: LOST, ba: LOST }, ['a -> b failed: leave a, none arrive', 'b -> a failed: leave b, none arrive']],
    [
      'a host that sends nothing there',
      { ab: { ...HEARD, obstacle: 'no route' }, ba: LOST },
      ['a -> b failed: no route'],
    ],
    [
      'what was well a while ago',
      { ab: { ...HEARD, answeredSeconds: 8 }, ba: { ...LOST, heardSeconds: 8 } },
      ['a -> b failed: leave a, none arrive'],
    ],
    ['an answer that came, though nothing else was heard', { ab: FRESH, ba: LOST }, []],
  ])('that fail are told: %s', (_, sees, expected) => {
    expect(told(cluster(sees))).toEqual(expected);
  });

  it('to a node that was not asked are what comes back, and else not known', () => {
    expect(told(cluster({}, ['b']))).toEqual([]);
    expect(told(cluster({ ab: LOST }, ['b']))).toEqual([
      'a -> b unknown: no answer comes back; b was not asked: no answer',
      'b -> a failed: none arrive',
    ]);
    expect(waysOf({ nodes: cluster({}, ['b', 'c']) })).toHaveLength(4);
  });

  it('of nodes that do not know each other fail', () => {
    const [a, b] = cluster({});
    const alone = { ...b, summary: { ...b.summary!, peers: [] } };
    expect(
      told([
        { ...a, summary: { ...a.summary!, peers: a.summary!.peers.slice(0, 1).map((p) => ({ ...p, ...LOST })) } },
        alone,
      ]),
    ).toEqual(['a -> b failed: b does not know that node', 'b -> a failed: none arrive']);
  });
});
