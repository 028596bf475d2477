import { describe, expect, it } from 'vitest';
import { toStatus } from '../../../src/cli/daemon-status.js';
import { messageOf } from '../../../src/core/errors.js';
import { createStatus } from '../../helpers/status.js';

const FILE = '/run/rudder/subnet.env';
const trust = (body: unknown) => toStatus(JSON.parse(JSON.stringify(body)), FILE);
const status = createStatus();
const [peer] = status.peers;

describe('what a daemon says of itself', () => {
  it('is believed as it is if it is right', () => {
    expect(trust(status)).toEqual(status);
    const other = { ...status, node: { ...status.node, subnetFile: '/run/rudder/other.env' } };
    expect(trust(other).node.subnetFile).toBe('/run/rudder/other.env');
  });

  it.each<[string, unknown]>([
    ['node.subnetFile', { node: { ...status.node, subnetFile: '/etc/shadow' } }],
    ['node.subnetFile', { node: { ...status.node, subnetFile: '/run/rudder/../../etc/shadow' } }],
    ['node.subnetFile', { node: { ...status.node, subnetFile: '/run/rudder/x/shadow' } }],
    ['node.subnet', { node: { ...status.node, subnet: '10.240.26.0' } }],
    ['node.network', { node: { ...status.node, network: '-f' } }],
    ['device.name', { device: { ...status.device, name: '../../../kernel/core_pattern' } }],
    ['device.name', { device: { ...status.device, name: '-eth0' } }],
    ['device.mtu', { device: { ...status.device, mtu: '-f' } }],
    ['device.mtu', { device: { ...status.device, mtu: 1e9 } }],
    ['peers.0.nextHop', { peers: [{ ...peer, nextHop: '-f' }] }],
    ['peers.0.nextHop', { peers: [{ ...peer, nextHop: 'evil.example' }] }],
    ['peers.0.nextHop', { peers: [{ ...peer, nextHop: '10.1.1.1\n' }] }],
    ['peers.1.subnet', { peers: [peer, { ...peer, subnet: '-f/24' }] }],
    ['peers', { peers: {} }],
    ['problems', { problems: 'none' }],
    ['firewall.problem', { firewall: { ...status.firewall, problem: {} } }],
  ])('is refused where %s is another thing, without quoting it', (field, change) => {
    let line = '';
    try {
      trust({ ...status, ...(change as object) });
    } catch (error) {
      line = messageOf(error);
      expect(error).toMatchObject({ name: 'RudderError', code: 'not-running' });
    }
    expect(line).toMatch(
      new RegExp(`^what answers beside ${FILE} is no rudder of this version: ${field}: .+; restart`),
    );
    expect(line).not.toMatch(/shadow|core_pattern|evil|"-f|\n/);
  });

  it.each([[[]], ['x'], [null], [1], [{}]])('is refused if it is %j', (body) => {
    expect(() => trust(body)).toThrow(/^what answers beside .* is no rudder of this version/);
  });

  it('turns no terminal over, wherever it stands', () => {
    const evil = '\u001b]0;owned\u0007 \u202etxt\r\n';
    const said = trust({
      ...status,
      problems: [evil, 'x'.repeat(10_000)],
      firewall: { ...status.firewall, problem: evil },
      offloads: { [evil]: 'off' },
    });
    expect(JSON.stringify(said)).not.toMatch(/\\u001b|\\u0007|\u202e|\\r|\\n/);
    expect(said.problems[1].length).toBeLessThanOrEqual(500);
  });
});
