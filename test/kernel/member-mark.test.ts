import { execFileSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseIpv4, parseSubnet } from '../../src/core/address-text.js';
import { type FirewallSettings, ownChains, repairOf, tablesIn } from '../../src/system/firewall-rules.js';
import { tableOf } from '../../src/system/nft-rules.js';
import { describeWith } from '../helpers/requires.js';
import { ip, makeHosts, PEER, reaches, removeHosts, run, US } from './namespaces.js';

const CONTAINER = `krn-con-${process.pid}`;
const [MEMBER, STRANGER] = ['10.1.1.2', '10.1.1.77'];
const OURS = '10.240.1.2';
const SETTINGS: FirewallSettings = {
  devices: ['eth0'],
  bareWay: 'eth0',
  network: parseSubnet('10.240.0.0/16')!,
  subnet: parseSubnet('10.240.1.0/24')!,
  ipMasq: true,
  localAddress: parseIpv4('10.1.1.1')!,
  tunnel: undefined,
  isTracked: true,
  uplinks: ['eth0'],
};
/** As Docker has them: what it did not start is dropped, since version 28 in the raw table too. */
const DOCKER = `*raw
-A PREROUTING -d ${OURS}/32 ! -i br0 -j DROP
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER-USER - [0:0]
COMMIT
`;
/** Whoever could take the bit for his own, and those who shall see it. */
const WITNESS = `table ip witness {
  counter routed { }
  counter filtered { }
  counter left { }
  counter foreign { }
  chain before { type filter hook prerouting priority -400; meta mark set 0x20000; }
  chain routed { type filter hook prerouting priority -280; meta mark & 0x1000 != 0 counter name routed; }
  chain filtered { type filter hook forward priority 0; meta mark & 0x1000 != 0 counter name filtered; }
  chain left { type filter hook postrouting priority -300; meta mark & 0x1000 != 0 counter name left; meta mark 0x20000 counter name foreign; }
}`;

const feed = (input: string, ...command: string[]) =>
  execFileSync('ip', ['netns', 'exec', US, ...command], { input, encoding: 'utf8' });

function setRules(settings: FirewallSettings): void {
  const saved = tablesIn(run(US, 'iptables-save'));
  const repairs = ownChains(settings).map((chain) => repairOf(chain, saved.get(chain.table) ?? '') ?? '');
  feed(repairs.join(''), 'iptables-restore', '--noflush');
  const members = { direct: new Set([parseIpv4(MEMBER)!]), portMapped: new Set<number>() };
  feed(tableOf(settings, members), 'nft', '-f', '-');
}

const counted = (name: string) =>
  Number(/packets (\d+)/.exec(run(US, 'nft', 'list', 'counter', 'ip', 'witness', name))?.[1]);

describeWith(['root', 'nft', 'iptables'], 'a node whose packets go as they are, behind what Docker drops', () => {
  beforeEach(() => {
    makeHosts();
    ip(PEER, `address add ${STRANGER}/24 dev eth0`);
    ip(PEER, 'route add 10.240.1.0/24 via 10.1.1.1');
    execFileSync('ip', ['netns', 'add', CONTAINER]);
    ip(US, `link add br0 type veth peer name eth0 netns ${CONTAINER}`);
    ip(US, 'address add 10.240.1.1/24 dev br0');
    ip(US, 'link set br0 up');
    ip(CONTAINER, `address add ${OURS}/24 dev eth0`);
    ip(CONTAINER, 'link set eth0 up');
    ip(CONTAINER, 'route add default via 10.240.1.1');
    feed(DOCKER, 'iptables-restore', '--noflush');
  });
  afterEach(() => {
    removeHosts();
    execFileSync('ip', ['netns', 'delete', CONTAINER], { stdio: 'ignore' });
  });

  describe.each([true, false])('where connections are tracked: %s', (isTracked) => {
    beforeEach(() => setRules({ ...SETTINGS, isTracked, ipMasq: isTracked }));

    it('lets the host of a member reach its containers, and no stranger of that link', () => {
      expect(reaches(PEER, MEMBER, OURS, '-M', 'do', '-s', '1472')).toBe(true);
      expect(reaches(PEER, STRANGER, OURS)).toBe(false);
    });

    it('lets no stranger in whose packets somebody else has marked', () => {
      run(US, 'iptables', '-t', 'mangle', '-A', 'PREROUTING', '-j', 'MARK', '--set-mark', '0xffffffff');
      feed(
        'table ip early { chain c { type filter hook prerouting priority -400; meta mark set 0xffffffff; }; }',
        'nft',
        '-f',
        '-',
      );
      expect(reaches(PEER, STRANGER, OURS)).toBe(false);
      expect(reaches(PEER, MEMBER, OURS)).toBe(true);
    });

    it('leaves the last word to the operator', () => {
      run(US, 'iptables', '-A', 'DOCKER-USER', '-s', MEMBER, '-j', 'DROP');
      expect(reaches(PEER, MEMBER, OURS)).toBe(false);
    });
  });

  it('answers a member, and opens no way to it', () => {
    setRules({ ...SETTINGS, ipMasq: false });
    expect(reaches(PEER, MEMBER, OURS)).toBe(true);
    expect(reaches(CONTAINER, OURS, MEMBER)).toBe(false);
  });

  it('shows its mark to nobody who routes or translates, and leaves the rest of the mark alone', () => {
    setRules(SETTINGS);
    feed(WITNESS, 'nft', '-f', '-');
    expect(reaches(PEER, MEMBER, OURS)).toBe(true);
    // The echo and its answer.
    expect(counted('filtered')).toBe(2);
    expect([counted('routed'), counted('left')]).toEqual([0, 0]);
    expect(counted('foreign')).toBe(2);
  });

  it('has neither translated, with --ip-masq', () => {
    setRules(SETTINGS);
    const seen =
      'table ip seen { counter bare { }; chain c { type filter hook input priority 0; ip saddr 10.240.1.2 counter name bare; }; }';
    execFileSync('ip', ['netns', 'exec', PEER, 'nft', '-f', '-'], { input: seen });
    expect(reaches(PEER, MEMBER, OURS)).toBe(true);
    expect(run(PEER, 'nft', 'list', 'counter', 'ip', 'seen', 'bare')).toContain('packets 1 ');
  });
});
