import { describe, expect, it } from 'vitest';
import {
  annotationsOf,
  completePrefix,
  isManaged,
  missingOf,
  peerLeaseOf,
  wantedAddress,
} from '../../../../src/control/kubernetes/annotations.js';
import { nodeFactsOf, podSubnetOf } from '../../../../src/control/kubernetes/node-facts.js';
import { parseIpv4, parseSubnet } from '../../../../src/core/address-text.js';
import { parseCommonConfig } from '../../../../src/core/network-config.js';

/** Field by field what flannel writes and reads: pkg/subnet/kube/annotations.go and kube.go. */
const P = 'flannel.alpha.coreos.com/';
const CONFIG = parseCommonConfig('{"Network":"10.244.0.0/16","SubnetMin":"10.244.0.0","Backend":{"Type":"vxlan"}}');

const nodeWith = (
  annotations: Record<string, string>,
  spec: object = { podCIDR: '10.244.3.0/24', podCIDRs: ['10.244.3.0/24'] },
) => nodeFactsOf({ metadata: { name: 'n3', uid: 'u', resourceVersion: '7', annotations }, spec }, P)!;

/** As flannel 0.28 has written them: taken from its source, with the texts of Go's JSON. */
const FLANNEL = {
  vxlan: { 'backend-type': 'vxlan', 'backend-data': '{"VNI":1,"VtepMAC":"0e:7d:0a:4a:0f:0c"}' },
  'host-gw': { 'backend-type': 'host-gw', 'backend-data': 'null' },
  udp: { 'backend-type': '', 'backend-data': 'null' },
};

const written = (fields: Record<string, string>) => ({
  [`${P}kube-subnet-manager`]: 'true',
  [`${P}public-ip`]: '192.0.2.3',
  ...Object.fromEntries(Object.entries(fields).map(([name, value]) => [P + name, value])),
});

describe('what flannel writes', () => {
  it.each([
    ['vxlan', FLANNEL.vxlan, { type: 'vxlan', data: { VNI: 1, VtepMAC: '0e:7d:0a:4a:0f:0c' } }],
    ['host-gw', FLANNEL['host-gw'], { type: 'host-gw', data: {} }],
    ['udp', FLANNEL.udp, { type: '', data: {} }],
  ])('of %s is a lease', (_, fields, backend) => {
    expect(peerLeaseOf(CONFIG, nodeWith(written(fields)))).toEqual({
      subnet: parseSubnet('10.244.3.0/24'),
      publicIp: parseIpv4('192.0.2.3'),
      nodeId: undefined,
      host: 'n3',
      version: undefined,
      nodeKey: undefined,
      backend,
    });
  });

  it('of two families is the lease of its IPv4 half', () => {
    const both = {
      ...FLANNEL.vxlan,
      'backend-v6-data': '{"VNI":1,"VtepMAC":"0e:00:00:00:00:01"}',
      'public-ipv6': 'fd00::3',
    };
    const node = nodeWith(written(both), { podCIDR: 'fd01::/64', podCIDRs: ['fd01::/64', '10.244.3.0/24'] });
    expect(peerLeaseOf(CONFIG, node)).toMatchObject({ subnet: parseSubnet('10.244.3.0/24') });
  });

  it.each([
    ['without kube-subnet-manager', { [`${P}kube-subnet-manager`]: 'false' }, undefined],
    ['without a public IP', { [`${P}public-ip`]: '' }, 'PublicIP "" is not the IPv4 address of a host'],
    ['with one inside the overlay', { [`${P}public-ip`]: '10.244.9.9' }, 'PublicIP 10.244.9.9 lies inside the overlay'],
  ])('%s is no peer', (_, change, problem) => {
    const lease = peerLeaseOf(CONFIG, nodeWith({ ...written(FLANNEL.vxlan), ...change }));
    expect(lease).toEqual(problem === undefined ? undefined : { problem });
  });

  it.each([
    ['no podCIDR yet', {}, undefined],
    ['one outside of the Network', { podCIDR: '10.99.0.0/24' }, /outside Network/],
    ['a smaller one', { podCIDR: '10.244.3.0/25' }, /smaller than SubnetLen 24/],
    ['a larger one', { podCIDR: '10.244.4.0/23' }, 'lease'],
    ['the first one of the Network', { podCIDR: '10.244.0.0/24' }, 'lease'],
    ['IPv6 alone', { podCIDR: 'fd01::/64' }, /is no IPv4 network/],
  ])('a Node with %s', (_, spec, expected) => {
    const lease = peerLeaseOf(CONFIG, nodeWith(written(FLANNEL.vxlan), spec));
    if (expected === undefined) expect(lease).toBeUndefined();
    else if (expected === 'lease') expect(lease).toHaveProperty('subnet');
    else expect(lease).toHaveProperty('problem', expect.stringMatching(expected));
  });

  it('with data that is no JSON is reached by what else it says', () => {
    expect(peerLeaseOf(CONFIG, nodeWith(written({ 'backend-type': 'vxlan', 'backend-data': '{' })))).toMatchObject({
      backend: { data: {} },
    });
  });
});

describe('what we write', () => {
  const identity = {
    publicIp: parseIpv4('192.0.2.3')!,
    nodeId: 'id',
    host: 'ignored',
    version: '1.2.3',
    nodeKey: 'k'.repeat(43),
    backend: { type: 'vxlan', data: { VNI: 1, VtepMAC: '0e:00:00:00:00:03' } },
  };

  it('is what flannel reads, and more fields in the data, which Go passes by', () => {
    const wanted = annotationsOf(identity);
    expect(wanted).toMatchObject({ 'kube-subnet-manager': 'true', 'backend-type': 'vxlan', 'public-ip': '192.0.2.3' });
    expect(JSON.parse(wanted['backend-data']!)).toEqual({
      VNI: 1,
      VtepMAC: '0e:00:00:00:00:03',
      NodeID: 'id',
      Version: '1.2.3',
      NodeKey: 'k'.repeat(43),
    });
    expect([wanted['backend-v6-data'], wanted['public-ipv6']]).toEqual([null, null]);
  });

  it('is read as who wrote it', () => {
    const annotations = Object.fromEntries(
      Object.entries(annotationsOf(identity)).flatMap(([name, value]) => (value === null ? [] : [[P + name, value]])),
    );
    const node = nodeWith(annotations);
    expect(isManaged(node)).toBe(true);
    expect(peerLeaseOf(CONFIG, node)).toEqual({ ...identity, host: 'n3', subnet: parseSubnet('10.244.3.0/24') });
    expect(missingOf(annotationsOf(identity), node)).toEqual({});
    expect(missingOf(annotationsOf({ ...identity, publicIp: 1 }), node)).toEqual({ 'public-ip': '0.0.0.1' });
  });
});

it.each([
  ['flannel.alpha.coreos.com', 'flannel.alpha.coreos.com/'],
  ['flannel.alpha.coreos.com/', 'flannel.alpha.coreos.com/'],
  ['example.org/second', 'example.org/second-'],
  ['example.org/second-', 'example.org/second-'],
])('the prefix %s is completed to %s, as flannel does', (given, completed) => {
  expect(completePrefix(given)).toBe(completed);
});

it('annotations of another prefix are another network', () => {
  const object = {
    metadata: {
      name: 'n',
      uid: 'u',
      resourceVersion: '1',
      annotations: { 'example.org/second-public-ip': '192.0.2.1', [`${P}public-ip`]: '192.0.2.2' },
    },
  };
  expect(nodeFactsOf(object, 'example.org/second-')?.annotations).toEqual({ 'public-ip': '192.0.2.1' });
});

it('an overwrite counts more than a node-public-ip', () => {
  const of = (fields: Record<string, string>) =>
    wantedAddress(nodeWith(Object.fromEntries(Object.entries(fields).map(([name, value]) => [P + name, value]))));
  expect(of({})).toBeUndefined();
  expect(of({ 'node-public-ip': '192.0.2.1' })).toMatchObject({ address: parseIpv4('192.0.2.1') });
  expect(of({ 'node-public-ip': '192.0.2.1', 'public-ip-overwrite': '192.0.2.2' })).toMatchObject({
    address: parseIpv4('192.0.2.2'),
  });
  expect(of({ 'public-ip-overwrite': '::1' })).toMatchObject({
    problem: 'annotation public-ip-overwrite "::1" is not the IPv4 address of a host',
  });
});

it('what is no Node is none', () => {
  for (const object of [undefined, null, {}, { metadata: {} }, { metadata: { name: 1 } }])
    expect(nodeFactsOf(object, P)).toBeUndefined();
  expect(podSubnetOf({ podCidrs: ['nonsense.', 'fd00::/64'] })).toBeUndefined();
});
