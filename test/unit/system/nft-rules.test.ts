import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { parseIpv4, parseSubnet } from '../../../src/core/address-text.js';
import type { FirewallSettings } from '../../../src/system/firewall-rules.js';
import { elementsChange, tableOf } from '../../../src/system/nft-rules.js';
import { describeWith } from '../../helpers/requires.js';

const ip = (text: string) => parseIpv4(text)!;
const settings = {
  devices: ['rudder0'],
  network: parseSubnet('10.240.0.0/16')!,
  subnet: parseSubnet('10.240.26.0/24')!,
  ipMasq: false,
  isTracked: true,
  localAddress: ip('10.1.1.26'),
  tunnel: { port: 8285 },
  uplinks: ['eth0', 'weird.name-1'],
};
const members = (direct: string[], portMapped: string[] = []) => ({
  direct: new Set(direct.map(ip)),
  portMapped: new Set(portMapped.map(ip)),
});

it('changes of members are one line for each kind of them', () => {
  expect(elementsChange('add', members(['10.1.1.7', '10.1.1.8'], ['192.0.2.1']))).toBe(
    'add element ip rudder members { 10.1.1.7, 10.1.1.8 }\nadd element ip rudder mapped { 192.0.2.1 }\n',
  );
  expect(elementsChange('delete', members([]))).toBe('');
});

describeWith(['root', 'nft'], 'the table', () => {
  // In a namespace of its own, which is gone with the command.
  const nft = (...texts: string[]) =>
    execFileSync('unshare', ['--net', 'sh', '-c', 'nft -f - && nft list ruleset'], {
      input: texts.join('\n'),
      encoding: 'utf8',
    });

  it('is one that nft takes, with no member and with thousands, and again over itself', () => {
    const many = Array.from({ length: 4000 }, (_, i) => `10.9.${i >> 8}.${i & 255}`);
    for (const some of [members([]), members(['10.1.1.7'], ['192.0.2.1']), members(many)]) {
      const text = tableOf(settings, some);
      expect(nft(text, text)).toContain('table ip rudder');
    }
  });

  it('has nothing tracked where nobody else has', () => {
    const text = nft(tableOf({ ...settings, isTracked: false }, members(['10.1.1.7'])));
    expect(text).toContain('goto entering');
    expect(text).not.toMatch(/\bct (state|status|original)/);
    expect(nft(tableOf(settings, members(['10.1.1.7'])))).toMatch(/ct state new goto entering/);
  });

  it('asks nothing of what is sent where the kernel sends and nothing is translated', () => {
    const untracked = { ...settings, isTracked: false };
    const vxlan = { ...untracked, devices: ['flannel.1'], tunnel: { port: 8472, vni: 1, unbound: 'port' as const } };
    expect(nft(tableOf(vxlan, members(['10.1.1.7'])))).not.toMatch(/sending|hook output/);
    expect(nft(tableOf(untracked, members(['10.1.1.7'])))).toContain('hook output');
  });

  it('drops of VXLAN what is of our VNI and from no member, and asks for no source port', () => {
    const vxlan = {
      ...settings,
      devices: ['flannel.1', 'eth0'],
      tunnel: { port: 8472, vni: 1, unbound: 'port' as const },
    };
    const text = nft(tableOf(vxlan, members(['10.1.1.7'])));
    expect(text).toMatch(
      /chain stranger \{\s+fib daddr type != \{ local, broadcast, multicast \} accept\s+@th,96,24 != 0x0*1 accept\s+counter name "dropped_stranger" drop/,
    );
    expect(text).not.toContain('th sport');
    expect(text).toContain('oifname { "eth0", "flannel.1" }');
    expect(text).toMatch(/chain to_member \{\s+ip saddr 10\.1\.1\.26 notrack accept/);
    expect(nft(tableOf(settings, members(['10.1.1.7'])))).not.toContain('chain stranger');
  });

  /** Which of these sources may send to a member's port 8285: in a namespace with two addresses of the underlay, and a bridge's. */
  function sendersBy(tunnel: FirewallSettings['tunnel']): string[] {
    const script = [
      'ip link set lo up; ip link add eth0 type veth peer name far; ip link set eth0 up; ip link set far up',
      'for a in 10.1.1.26/24 10.1.1.99/24 10.240.26.1/24; do ip address add $a dev eth0; done',
      `nft -f - && exec ${process.execPath} -e "$SEND"`,
    ];
    const send = `
      for (const [address, port] of [['10.1.1.26', 8285], ['10.1.1.99', 8285], ['10.1.1.26', 4000], ['10.1.1.99', 4000], ['10.240.26.1', 4000]]) {
        const socket = require('dgram').createSocket('udp4');
        socket.bind(port, address, () => socket.send('x', 8285, '10.1.1.7', (error) => {
          if (!error) console.log(address + ':' + port);
          socket.close();
        }));
      }`;
    const input = tableOf({ ...settings, tunnel }, members(['10.1.1.7']));
    const options = { input, encoding: 'utf8', env: { ...process.env, SEND: send } } as const;
    return execFileSync('unshare', ['--net', 'sh', '-c', script.join('\n')], options)
      .trim()
      .split('\n')
      .sort();
  }

  it('lets out what is from the end of the tunnel, and is as narrow as its socket', () => {
    expect(sendersBy({ port: 8285 })).toEqual(['10.1.1.26:8285']);
    expect(sendersBy({ port: 8285, unbound: 'address' })).toEqual(['10.1.1.26:8285', '10.1.1.99:8285']);
    expect(sendersBy({ port: 8285, vni: 1, unbound: 'port' })).toEqual(['10.1.1.26:4000', '10.1.1.26:8285']);
  });

  it('takes datagrams of members at any address of this host, where the socket has all of them', () => {
    const text = nft(tableOf({ ...settings, tunnel: { port: 8285, unbound: 'address' } }, members(['10.1.1.7'])));
    expect(text).toMatch(/@members th sport 8285 iifname @uplinks fib daddr type local notrack accept/);
    expect(text).toMatch(/chain inside \{[^}]*drop\s+fib daddr type local notrack/);
  });

  it('lets nodes alone ask, through the overlay, and so many times a second; where they do not ask, there are no such rules', () => {
    const asked = tableOf({ ...settings, asked: { address: ip('10.240.26.0'), port: 8285 } }, members([]));
    const text = nft(asked, asked);
    expect(text).toMatch(/th dport 8285 ip daddr 10\.240\.26\.0 ip protocol tcp goto asking/);
    expect(text).toMatch(
      /iifname != "rudder0" drop\s+ip saddr != 10\.240\.0\.0\/16 drop\s+ip saddr & 0\.0\.0\.255 != 0\.0\.0\.0 drop/,
    );
    expect(text).toMatch(/update @askers \{ ip saddr limit rate over 20\/second burst 100 packets \} drop/);
    expect(nft(tableOf(settings, members([])))).not.toMatch(/asking|askers/);
  });

  it('lets them ask at the address of a bridge, without a tunnel, from the addresses of their bridges', () => {
    const asked = { address: ip('10.240.26.1'), port: 8285 };
    const text = nft(tableOf({ ...settings, devices: ['eth0'], tunnel: undefined, asked }, members([])));
    expect(text).toMatch(/th dport 8285 ip daddr 10\.240\.26\.1 ip protocol tcp goto asking/);
    expect(text).toMatch(/iifname != "eth0" drop\s+ip saddr != 10\.240\.0\.0\/16 drop/);
    expect(text).toMatch(/ip saddr & 0\.0\.0\.255 != 0\.0\.0\.1 drop/);
    expect(text).not.toMatch(/udp/);
  });

  it('has no rules for a tunnel where there is none', () => {
    const text = nft(tableOf({ ...settings, devices: ['eth0'], tunnel: undefined }, members(['10.1.1.7'])));
    expect(text).not.toMatch(/th dport|undefined|chain (arriving|sending)/);
    expect(text).toContain('counter name "out_entered"');
  });

  const bare = { ...settings, devices: ['eth0'], bareWay: 'eth0', tunnel: undefined };

  it('marks what comes from a member itself where packets go as they are, and takes the mark away again', () => {
    const made = tableOf(bare, members(['10.1.1.7']));
    const text = nft(made);
    const inward =
      'ip daddr & 255\\.255\\.255\\.0 == 10\\.240\\.26\\.0 ip saddr & 255\\.255\\.0\\.0 != 10\\.240\\.0\\.0 iifname "eth0"';
    const outward =
      'ip saddr & 255\\.255\\.255\\.0 == 10\\.240\\.26\\.0 ip daddr & 255\\.255\\.0\\.0 != 10\\.240\\.0\\.0 oifname "eth0"';
    const unmark = 'meta mark set meta mark & 0xffffefff';
    for (const [hook, ...rules] of [
      ['prerouting priority -350', `${inward} jump from_member`],
      ['prerouting priority -290', `${inward} ${unmark}`],
      ['forward priority -350', `${inward} jump from_member`, `${outward} jump answer_to_member`],
      ['forward priority 500', `${inward} ${unmark}`, `${outward} ${unmark}`],
    ]) {
      expect(made).toMatch(new RegExp(`hook ${hook}; policy accept;\\s+${rules.join('\\s+')}`));
    }
    expect(text).toMatch(
      new RegExp(`chain from_member \\{\\s+${unmark}\\s+ip saddr @members meta mark set meta mark \\| 0x0*1000`),
    );
    expect(text).toMatch(/ip daddr @members ct state established,related meta mark set/);
    expect(nft(tableOf(settings, members([])))).not.toMatch(/meta mark|from_member/);
  });

  it('marks what goes to a member where no connection is tracked, and has none tracked', () => {
    const text = nft(tableOf({ ...bare, isTracked: false }, members(['10.1.1.7'])));
    expect(text).toMatch(/ip daddr @members meta mark set/);
    expect(text).not.toMatch(/\bct (state|status|original)/);
  });

  it('takes and gives up members', () => {
    const text = tableOf(settings, members(['10.1.1.7']));
    const changed = nft(
      text,
      elementsChange('add', members(['10.1.1.8'])),
      elementsChange('delete', members(['10.1.1.7'])),
    );
    expect(changed).toContain('10.1.1.8');
    expect(changed).not.toContain('10.1.1.7');
  });
});
