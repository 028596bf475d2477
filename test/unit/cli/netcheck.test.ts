import { describe, expect, it } from 'vitest';
import { NETWORK_CHECKS } from '../../../src/cli/doctor/checks.js';
import { examine } from '../../../src/cli/doctor/doctor.js';
import type { PeerHealthStatus } from '../../../src/ops/status.js';
import { createStatus } from '../../helpers/status.js';
import { createHost, type Differences } from './fake-host.js';

const check = async (differences: Differences) => examine(createHost(differences), NETWORK_CHECKS);
const complaints = async (differences: Differences) =>
  (await check(differences))
    .filter(({ state }) => state !== 'ok')
    .map(({ check, state, detail, remedy }) => [check, state, `${detail} -> ${remedy}`]);

const [peer] = createStatus().peers;
const withPeer = (health: Partial<PeerHealthStatus>): Differences => ({
  status: createStatus({ peers: [{ ...peer, health: { ...peer.health, ...health } }] }),
});

describe('rudder netcheck', () => {
  it('has nothing to complain of where all is well, and says what was looked at', async () => {
    const findings = await check({});
    expect(findings.filter(({ state }) => state !== 'ok')).toEqual([]);
    const told = findings.map(({ check, detail }) => `${check}: ${detail}`);
    expect(told).toContain('underlay: beta (10.1.1.77) answers in 0.30 ms');
    expect(told).toContain('port: UDP port 8285 is open to and from beta (10.1.1.77)');
    expect(told).toContain('path MTU: packets of 1500 bytes, with what is wrapped around them, reach beta (10.1.1.77)');
    expect(told).toContain('peers: all of 1 peer were asked');
  });

  it.each<[string, Differences, string, string, RegExp]>([
    [
      'a host that is not there',
      { ...withPeer({ state: 'silent' }), echoes: async () => ({ sent: 5, rttsMs: [], refusal: undefined }) },
      'underlay',
      'warning',
      /^beta \(10\.1\.1\.77\) answers no ping -> is that host up/,
    ],
    [
      'a way that loses packets',
      { echoes: async () => ({ sent: 5, rttsMs: [1, 1, 1], refusal: undefined }) },
      'underlay',
      'warning',
      /^2 of 5 pings to beta .* had no answer/,
    ],
    [
      'a way that is refused here',
      {
        echoes: async () => ({
          sent: 0,
          rttsMs: [],
          refusal: Object.assign(new Error('Network is unreachable'), { code: 'ENETUNREACH' }),
        }),
      },
      'underlay',
      'problem',
      /cannot be sent to: Network is unreachable -> see "ip route get"/,
    ],
    [
      'a port that is blocked both ways, or a daemon that is stopped',
      withPeer({ state: 'silent', lastHeardSeconds: 40 }),
      'port',
      'problem',
      /^nothing comes from beta .* by UDP port 8285 -> is rudder running on beta .*\? If it is: open UDP port 8285/,
    ],
    [
      'a port that is blocked one way',
      withPeer({ state: 'unreachable', reason: 'it is heard, but has answered nothing', lastHeardSeconds: 1 }),
      'port',
      'problem',
      /it is heard, but .* -> let beta .* accept UDP port 8285 from this host/,
    ],
    [
      'a black hole for large packets',
      { largestPacket: async () => 1400 },
      'path MTU',
      'problem',
      /^the way to beta .* carries 1400 bytes, and full packets have 1500 -> set Backend\.MTU 1372/,
    ],
    [
      'a certificate that ends in 12 days',
      {
        status: createStatus({
          registry: {
            ...createStatus().registry,
            certificates: [
              {
                file: '/c.pem',
                subject: 'CN=me',
                notAfter: new Date(createHost({}).now() + 12.5 * 86_400_000).toISOString(),
              },
            ],
          },
        }),
      },
      'certificates',
      'warning',
      /\/c\.pem expires in 12 days, .* -> put a new one into that file/,
    ],
  ])('names %s in one line with its remedy', async (_, differences, name, state, text) => {
    expect(await complaints(differences)).toContainEqual([name, state, expect.stringMatching(text)]);
  });
});
