import { describe, expect, it } from 'vitest';
import { examine } from '../../../src/cli/doctor/doctor.js';
import { parseSubnet } from '../../../src/core/address-text.js';
import { formatCniConf } from '../../../src/state/cni-conf.js';
import { createStatus } from '../../helpers/status.js';
import { complaints, createHost, type Differences } from './fake-host.js';

const PATH = '/etc/cni/net.d/10-rudder.conflist';
const { node } = createStatus();
const GOOD: Differences = {
  status: createStatus({ node: { ...node, cniConf: PATH } }),
  files: {
    [PATH]: formatCniConf({ subnet: parseSubnet('10.240.26.0/24')!, mtu: 1472 }),
    '/proc/sys/net/bridge/bridge-nf-call-iptables': '1\n',
    '/etc/cni/net.d/20-old.conf': '{"type":"flannel"}',
    '/etc/cni/net.d/00-README': '',
  },
};
const differing = (files: Record<string, string | undefined>, more: Differences = {}): Differences => ({
  ...GOOD,
  ...more,
  files: { ...GOOD.files, ...files },
});
const ofPods = async (differences: Differences) =>
  (await complaints(differences)).flatMap(({ check, text }) => (/pods|br_netfilter/.test(check) ? text : []));

describe('rudder doctor, of pods', () => {
  it('says what new ones get, and nothing where the node does not see to them', async () => {
    const findings = await examine(createHost(GOOD));
    expect(findings.filter(({ check }) => check === 'pods' || check === 'br_netfilter')).toEqual([
      {
        check: 'pods',
        state: 'ok',
        detail: `${PATH} gives new ones addresses of 10.240.26.0/24 and MTU 1472`,
        remedy: '',
      },
      { check: 'br_netfilter', state: 'ok', detail: 'services see what passes between pods of this node', remedy: '' },
    ]);
    const checks = (await examine(createHost())).map(({ check }) => check);
    expect(checks).not.toContain('pods');
    expect(checks).not.toContain('br_netfilter');
  });

  it.each<[string, Record<string, string | undefined>, RegExp]>([
    ['no file', { [PATH]: undefined }, /is missing, so no pod can start/],
    ['a file of somebody else', { [PATH]: '{}' }, /is not what the node has written/],
    [
      'a file of another subnet',
      { [PATH]: formatCniConf({ subnet: parseSubnet('10.240.9.0/24')!, mtu: 1472 }) },
      /expected subnet 10\.240\.26\.0\/24 and MTU 1472/,
    ],
    [
      "flannel's file, which is before ours",
      { '/etc/cni/net.d/10-flannel.conflist': '{"plugins":[{"type":"flannel"}]}' },
      /10-flannel\.conflist \(flannel\) is before 10-rudder\.conflist: .* -> remove that file, once/,
    ],
    ['a file before ours that says nothing', { '/etc/cni/net.d/05-x.conf': undefined }, /05-x\.conf is before/],
    [
      'br_netfilter off',
      { '/proc/sys/net/bridge/bridge-nf-call-iptables': '0\n' },
      /is switched off: a pod may not reach a service .* -> modprobe/,
    ],
    ['no br_netfilter', { '/proc/sys/net/bridge/bridge-nf-call-iptables': undefined }, /the module is not loaded/],
  ])('names %s', async (_, files, expected) => {
    const lines = await ofPods(differing(files));
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(expected);
  });

  it('never takes br_netfilter for more than a warning', async () => {
    const findings = await examine(
      createHost(differing({ '/proc/sys/net/bridge/bridge-nf-call-iptables': undefined })),
    );
    expect(findings.find(({ check }) => check === 'br_netfilter')?.state).toBe('warning');
  });

  it('names a bridge of the subnet of before', async () => {
    const bridge = [
      { ifname: 'rudder0', addr_info: [{ local: '10.240.26.0', prefixlen: 16 }] },
      { ifname: 'cni0', addr_info: [{ local: '10.240.9.1', prefixlen: 24 }] },
    ];
    const [line] = await ofPods(differing({}, { bridge }));
    expect(line).toMatch(/cni0 is on 10\.240\.9\.1\/24 and not on 10\.240\.26\.0\/24: pods of before are cut off/);
  });
});
