import { describe, expect, it } from 'vitest';
import { parseIpv4, parseSubnet } from '../../../src/core/address-text.js';
import {
  type FirewallSettings,
  faultOf,
  ownChains,
  removalOf,
  repairOf,
  tablesIn,
} from '../../../src/system/firewall-rules.js';

const settings: FirewallSettings = {
  devices: ['rudder0'],
  network: parseSubnet('10.240.0.0/16')!,
  subnet: parseSubnet('10.240.26.0/24')!,
  ipMasq: false,
  isTracked: true,
  localAddress: parseIpv4('10.1.1.26')!,
  tunnel: { port: 8285 },
  uplinks: ['eth0', 'eth1'],
};
/** The chain of that name. */
const chainOf = (name: string, of = settings) => ownChains(of).find((chain) => chain.name === `RUDDER-${name}`)!;
const [forward, nat] = [chainOf('FORWARD'), chainOf('POSTROUTING')];

const DOCKER = '-A POSTROUTING -s 10.240.26.0/24 ! -o docker0 -j MASQUERADE';
/** What iptables-save prints of the nat table. */
const saved = (...lines: string[]) =>
  ['# Generated', '*nat', ':POSTROUTING ACCEPT [0:0]', ':RUDDER-POSTROUTING - [0:0]', ...lines, 'COMMIT'].join('\n');
const RULES = [
  '-m mark --mark 0x4000/0x4000 -j RETURN',
  '-s 10.240.26.0/24 -d 10.240.26.0/24 -j RETURN',
  '-s 10.240.26.0/24 -d 10.240.0.0/16 -o rudder0 -j ACCEPT',
  '-s 10.240.0.0/16 -d 10.240.26.0/24 -j ACCEPT',
];
const OURS = RULES.map((rule) => `-A RUDDER-POSTROUTING ${rule}`).join('\n');
const JUMP = '-A POSTROUTING -j RUDDER-POSTROUTING';

describe('the rules', () => {
  it('exempt what crosses the tunnel between our subnet and foreign ones, and nothing else', () => {
    expect(forward.rules).toEqual([
      '-s 10.240.26.0/24 -d 10.240.0.0/16 -o rudder0 -j ACCEPT',
      '-s 10.240.0.0/16 -d 10.240.26.0/24 -i rudder0 -j ACCEPT',
      '-d 10.240.26.0/24 -i rudder0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
    ]);
    expect(nat.rules).toEqual(RULES);
    expect(chainOf('PREROUTING').rules).toEqual(['-s 10.240.0.0/16 -d 10.240.26.0/24 -i rudder0 -j ACCEPT']);
  });

  it('accept datagrams of the tunnel that connection tracking does not see', () => {
    expect(chainOf('INPUT').rules).toEqual([
      '-d 10.1.1.26/32 -p udp -m udp --dport 8285 -m conntrack --ctstate UNTRACKED -j ACCEPT',
    ]);
    expect(chainOf('OUTPUT').rules).toEqual([
      '-s 10.1.1.26/32 -p udp -m udp --sport 8285 --dport 8285 -m conntrack --ctstate UNTRACKED -j ACCEPT',
    ]);
  });

  it('ask for the state of no connection where nobody has them tracked', () => {
    const chains = ownChains({ ...settings, isTracked: false });
    expect(chains.flatMap(({ rules }) => rules).filter((rule) => rule.includes('conntrack'))).toEqual([]);
    expect(chains.find(({ name }) => name === 'RUDDER-FORWARD')?.rules).toHaveLength(2);
  });

  it('let in what VXLAN sends from any port, and nothing where there is no tunnel', () => {
    const vxlan = { ...settings, tunnel: { port: 8472, vni: 1 } };
    const rulesOf = (chain: string, of: FirewallSettings) => ownChains(of).find(({ name }) => name === chain)!.rules;
    expect(rulesOf('RUDDER-OUTPUT', vxlan)).toEqual([
      '-s 10.1.1.26/32 -p udp -m udp --dport 8472 -m conntrack --ctstate UNTRACKED -j ACCEPT',
    ]);
    const bare = { ...settings, tunnel: undefined, devices: ['eth0'] };
    expect([rulesOf('RUDDER-OUTPUT', bare), rulesOf('RUDDER-INPUT', bare)]).toEqual([[], []]);
    expect(rulesOf('RUDDER-FORWARD', bare)[0]).toMatch(/ -o eth0 -j ACCEPT$/);
  });

  it('let in a member by its own address, as our nft table marks it, where packets of nodes go as they are', () => {
    const bare = { ...settings, tunnel: undefined, devices: ['eth0'], bareWay: 'eth0' };
    const member = '-d 10.240.26.0/24 -i eth0 -m mark --mark 0x1000/0x1000 -j ACCEPT';
    expect(chainOf('FORWARD', bare).rules.slice(3)).toEqual([
      member,
      '-s 10.240.26.0/24 -o eth0 -m mark --mark 0x1000/0x1000 -j ACCEPT',
    ]);
    expect(chainOf('PREROUTING', bare).rules).toEqual(['-s 10.240.0.0/16 -d 10.240.26.0/24 -i eth0 -j ACCEPT', member]);
    expect(chainOf('POSTROUTING', bare).rules).toEqual(RULES.map((rule) => rule.replace('rudder0', 'eth0')));
    const tracksNothing = chainOf('FORWARD', { ...bare, isTracked: false }).rules;
    expect(tracksNothing.filter((rule) => rule.includes('0x1000'))).toHaveLength(2);
  });

  it('go with what they are for: a chain without rules is removed', () => {
    const input = { ...chainOf('INPUT'), rules: [] };
    const others = ':INPUT DROP [0:0]\n:RUDDER-INPUT - [0:0]\n-A INPUT -j RUDDER-INPUT\n-A INPUT -j DROP';
    expect(repairOf(input, `*filter\n${others}\nCOMMIT`)).toContain('-X RUDDER-INPUT');
    expect(repairOf(input, '*filter\n:INPUT DROP [0:0]\nCOMMIT')).toBeUndefined();
  });

  it('with --ip-masq also let the outside be reached by the uplinks, under the address of the host', () => {
    const masq = { ...settings, ipMasq: true };
    // Not by any interface: containers of another Docker network are kept apart by Docker.
    expect(chainOf('FORWARD', masq).rules.slice(3)).toEqual([
      '-s 10.240.26.0/24 ! -d 10.240.0.0/16 -o eth0 -j ACCEPT',
      '-s 10.240.26.0/24 ! -d 10.240.0.0/16 -o eth1 -j ACCEPT',
      '-d 10.240.26.0/24 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
    ]);
    expect(chainOf('POSTROUTING', masq).rules[4]).toBe('-s 10.240.26.0/24 ! -d 224.0.0.0/4 -j MASQUERADE');
  });
});

describe('repairOf', () => {
  it('changes nothing where all is right', () => {
    expect(repairOf(nat, saved(JUMP, DOCKER, OURS))).toBeUndefined();
  });

  it.each([
    ['the table is empty', '*nat\n:POSTROUTING ACCEPT [0:0]\nCOMMIT', 0],
    ['the jump is gone', saved(DOCKER, OURS), 0],
    ['another rule is first', saved(DOCKER, JUMP, OURS), 1],
    ['the jump is there twice', saved(JUMP, DOCKER, JUMP, OURS), 2],
    ['our chain is empty', saved(JUMP, DOCKER), 1],
    ['our chain has a rule more', saved(JUMP, DOCKER, OURS, '-A RUDDER-POSTROUTING -j MASQUERADE'), 1],
    ['our chain is of another network', saved(JUMP, OURS.replaceAll('10.240', '10.99')), 1],
  ])('puts the chain back first in one step when %s', (_, text, deleted) => {
    expect(repairOf(nat, text)?.split('\n')).toEqual([
      '*nat',
      ':RUDDER-POSTROUTING - [0:0]',
      ...OURS.split('\n'),
      ...Array(deleted).fill('-D POSTROUTING -j RUDDER-POSTROUTING'),
      '-I POSTROUTING 1 -j RUDDER-POSTROUTING',
      'COMMIT',
      '',
    ]);
  });

  it('leaves rules of others alone, such as a chain whose name begins like ours', () => {
    const others = saved('-A POSTROUTING -j RUDDER-POSTROUTING-OLD', JUMP, OURS);
    expect(repairOf(nat, others)).not.toContain('OLD');
  });
});

describe('the operator', () => {
  const filter = (...lines: string[]) => ['*filter', ':FORWARD DROP [0:0]', ...lines, 'COMMIT'].join('\n');

  it('is asked first, in the chain that Docker has for that', () => {
    expect(repairOf(forward, filter())).not.toContain('DOCKER-USER');
    const repair = repairOf(forward, filter(':DOCKER-USER - [0:0]'));
    expect(repair?.split('\n')[2]).toBe('-A RUDDER-FORWARD -j DOCKER-USER');
  });

  it.each([
    ['KUBE-ROUTER-FORWARD', '-A FORWARD -m comment --comment "kube-router netpol - TEMCG2" -j KUBE-ROUTER-FORWARD'],
    ['cali-FORWARD', '-A FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD'],
  ])('is asked by his network policies too, in %s, which is not fought for the first place', (chain, jump) => {
    const theirs = [`:${chain} - [0:0]`, jump];
    const [, , first, ...rest] = repairOf(forward, filter(...theirs))!.split('\n');
    expect(first).toBe(`-A RUDDER-FORWARD -j ${chain}`);
    const ours = [first, ...rest.filter((line) => line.startsWith('-A RUDDER-FORWARD'))];
    const after = filter(':RUDDER-FORWARD - [0:0]', ...theirs, '-A FORWARD -j RUDDER-FORWARD', ...ours);
    expect(faultOf(forward, after)).toBeUndefined();
    const dropped = filter(
      ':RUDDER-FORWARD - [0:0]',
      theirs[0],
      '-A FORWARD -j DROP',
      '-A FORWARD -j RUDDER-FORWARD',
      ...ours,
    );
    expect(faultOf(forward, dropped)).toMatch(/"-j DROP" comes before/);
  });
});

describe('removalOf', () => {
  it('removes jumps and chain, and does nothing where there is none', () => {
    expect(removalOf(nat, saved(JUMP, DOCKER, OURS))?.split('\n')).toEqual([
      '*nat',
      ':RUDDER-POSTROUTING - [0:0]',
      '-D POSTROUTING -j RUDDER-POSTROUTING',
      '-X RUDDER-POSTROUTING',
      'COMMIT',
      '',
    ]);
    expect(removalOf(nat, '*nat\n:POSTROUTING ACCEPT [0:0]\nCOMMIT')).toBeUndefined();
    expect(removalOf(forward, '*filter\n:RUDDER-FORWARDING - [0:0]\nCOMMIT')).toBeUndefined();
  });
});

describe('tablesIn', () => {
  it('takes the output of iptables-save apart', () => {
    const text = '# by\n*filter\n:FORWARD DROP [0:0]\nCOMMIT\n# by\n*nat\n-A POSTROUTING -j X\nCOMMIT\n';
    const tables = tablesIn(text);
    expect([...tables.keys()]).toEqual(['filter', 'nat']);
    expect(tables.get('filter')).toContain(':FORWARD DROP');
    expect(tables.get('filter')).not.toContain('POSTROUTING');
    expect(tablesIn('').size).toBe(0);
  });
});
