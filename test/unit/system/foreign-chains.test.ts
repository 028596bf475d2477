import { describe, expect, it } from 'vitest';
import { describeChain, legacyChains, nftChains } from '../../../src/system/foreign-chains.js';

const chain = (table: string, name: string, hook: string, prio: number, policy = 'accept') => {
  const [family, ...rest] = table.split(' ');
  return { chain: { family, table: rest.join(' '), name, type: 'filter', hook, prio, policy } };
};
const rule = (table: string, name: string, ...expr: object[]) => {
  const [family, ...rest] = table.split(' ');
  return { rule: { family, table: rest.join(' '), chain: name, expr } };
};
const told = (inNfTables: boolean, ...nftables: object[]) =>
  nftChains(JSON.stringify({ nftables: [{ metainfo: {} }, ...nftables] }), inNfTables).map(describeChain);

describe('chains of nft', () => {
  it('are named with what they, and chains that they jump to, may do', () => {
    const corp = [
      chain('inet corp', 'fwd', 'forward', 10),
      rule('inet corp', 'fwd', { match: {} }, { jump: { target: 'more' } }),
      rule('inet corp', 'more', { counter: {} }, { reject: null }),
      rule('inet corp', 'more', { goto: { target: 'fwd' } }),
    ];
    expect(told(true, ...corp)).toEqual(['inet corp fwd (forward 10: reject)']);
  });

  it('are named for their policy alone', () => {
    expect(told(true, chain('ip x', 'c', 'forward', 0, 'drop'))).toEqual(['ip x c (forward 0: drop)']);
  });

  it.each([
    ['let all pass', [chain('inet x', 'c', 'forward', 0), rule('inet x', 'c', { accept: null })]],
    ['are ours', [chain('ip rudder', 'forwarding', 'forward', -350), rule('ip rudder', 'forwarding', { drop: null })]],
    [
      'are of another family',
      [chain('ip6 x', 'c', 'forward', 0, 'drop'), chain('bridge x', 'c', 'forward', 0, 'drop')],
    ],
    ['hang on no hook', [{ chain: { family: 'ip', table: 'x', name: 'c' } }, rule('ip x', 'c', { drop: null })]],
    [
      'come behind ours',
      [
        chain('ip filter', 'FORWARD', 'forward', 0, 'drop'),
        rule('ip filter', 'FORWARD', { counter: {} }, { jump: { target: 'RUDDER-FORWARD' } }),
        rule('ip filter', 'FORWARD', { drop: null }),
      ],
    ],
  ])('that %s are left out', (_, listed) => {
    expect(told(true, ...listed)).toEqual([]);
  });

  it('of the operator are named, which ours ask first', () => {
    const filter = [
      chain('ip filter', 'FORWARD', 'forward', 0),
      rule('ip filter', 'FORWARD', { jump: { target: 'RUDDER-FORWARD' } }),
      rule('ip filter', 'DOCKER-USER', { drop: null }),
    ];
    expect(told(true, ...filter)).toEqual(['ip filter DOCKER-USER (forward 0: drop)']);
  });

  it('of iptables count where ours do not come first', () => {
    const filter = [chain('ip filter', 'FORWARD', 'forward', 0, 'drop'), rule('ip filter', 'FORWARD', { drop: null })];
    expect(told(true, ...filter)).toEqual(['ip filter FORWARD (forward 0: drop)']);
  });

  it('of iptables count where ours are in the older tables', () => {
    expect(told(false, chain('ip filter', 'FORWARD', 'forward', 0, 'drop'))).toEqual([
      'ip filter FORWARD (forward 0: drop)',
    ]);
  });

  it('of iptables in which ours do not come first always count', () => {
    const mangle = [
      chain('ip mangle', 'FORWARD', 'forward', -150),
      rule('ip mangle', 'FORWARD', { xt: { type: 'target', name: 'DROP' } }),
    ];
    expect(told(true, ...mangle)).toEqual(['ip mangle FORWARD (forward -150: drop)']);
  });
});

describe('chains of the older tables', () => {
  it('are named with what they, and chains that they jump to, may do', () => {
    const saved = `# Generated
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:MORE - [0:0]
-A FORWARD -i eth0 -j MORE
-A MORE -p udp -j REJECT --reject-with icmp-port-unreachable
COMMIT
*nat
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -o rudder0 -j MASQUERADE
COMMIT
`;
    expect(legacyChains(saved).map(describeChain)).toEqual([
      'iptables-legacy filter FORWARD (forward: reject, drop)',
      'iptables-legacy nat POSTROUTING (postrouting: masquerade)',
    ]);
    expect(legacyChains('')).toEqual([]);
  });
});
