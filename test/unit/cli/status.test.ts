import { afterEach, describe, expect, it, vi } from 'vitest';
import { describe as describeNode, status } from '../../../src/cli/status.js';
import type { Status } from '../../../src/ops/status.js';
import { createStatus } from '../../helpers/status.js';

const asked = vi.hoisted(() => ({ body: undefined as unknown }));
vi.mock('../../../src/ops/control-client.js', () => ({ askDaemon: async () => ({ code: 200, body: asked.body }) }));

afterEach(() => void vi.restoreAllMocks());

async function shown(body: unknown, json = false): Promise<{ code: number; text: string }> {
  asked.body = body;
  let text = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
    text += chunk;
    return true;
  });
  const code = await status('/run/rudder/subnet.env', json);
  return { code, text };
}

const { lease, registry, firewall, device, node, peers, ...rest } = createStatus();
const packetPath = rest.packetPath!;
const [peer] = peers;

const KERNEL = (wanted: number, present: number): Partial<Status> => ({
  backend: { type: 'vxlan', kernel: { wanted, present }, direct: null },
  packetPath: null,
  offloads: {},
});

const SEALED = { type: 'wireguard', kernel: null, direct: null, cipher: 'avx512' };
const SESSION = { state: 'up', handshakeSeconds: 34, tryingSeconds: null, endpoint: '10.1.1.77:51820' } as const;

describe('a line of the status', () => {
  it.each<[string, Partial<Status>, RegExp]>([
    ['ready', {}, /^ready {5}yes$/m],
    ['not ready', { problems: ['x', 'y'] }, /^ready {5}no: x; y$/m],
    ['version', {}, /^version {3}1\.2\.3, up for 60 s$/m],
    ['subnet', {}, /^subnet {4}10\.240\.26\.0\/24 of 10\.240\.0\.0\/16, in \/run\/rudder\/subnet\.env$/m],
    ['lease', {}, /^lease {5}24\.0 h left of 24\.0 h$/m],
    ['lease that was restored', { lease: { ...lease, recoveries: 2 } }, /^lease .*, restored 2 times$/m],
    ['reservation', { lease: { ...lease, remainingSeconds: null } }, /^lease {5}a reservation: it never runs out$/m],
    ['lease that is gone', { lease: { ...lease, key: 'gone' } }, /^lease {5}gone: its key is not in etcd$/m],
    [
      'lease that says something else',
      { lease: { ...lease, key: 'differs' } },
      /^lease {5}24\.0 h left of 24\.0 h, its key in etcd differs from this node$/m,
    ],
    ['address', {}, /^address {3}10\.1\.1\.26, interface eth0, UDP port 8285$/m],
    ['address with another port', { node: { ...node, port: 8999 } }, /^address .*, UDP port 8999$/m],
    ['address without a tunnel', { node: { ...node, port: null } }, /^address {3}10\.1\.1\.26, interface eth0$/m],
    ['device', {}, /^device {4}rudder0, MTU 1472, up$/m],
    ['device that is down', { device: { ...device, up: false } }, /^device {4}rudder0, MTU 1472, down or gone$/m],
    ['carried by the kernel', KERNEL(9, 9), /^carried {3}by the kernel, vxlan: 9 entries for the peers$/m],
    [
      'carried by the kernel in part',
      KERNEL(9, 8),
      /^carried {3}by the kernel, vxlan: 8 of 9 entries for the peers are there$/m,
    ],
    [
      'encrypted',
      { backend: SEALED, peers: [{ ...peer, session: SESSION }] },
      /^encrypted {1,2}wireguard, cipher avx512; 1 session$/m,
    ],
    [
      'encrypted by the kernel',
      {
        backend: { ...SEALED, cipher: 'kernel', implementation: { runs: 'kernel', why: 'this kernel has WireGuard' } },
      },
      /^encrypted {1,2}wireguard, cipher kernel; 0 sessions\n {10}by the kernel: this kernel has WireGuard$/m,
    ],
    [
      'encrypted in user space',
      { backend: { ...SEALED, implementation: { runs: 'user', why: 'this kernel has no WireGuard' } } },
      /^ {10}in user space: this kernel has no WireGuard$/m,
    ],
    ['a handshake', { backend: SEALED, peers: [{ ...peer, session: SESSION }] }, /│ +34 s ago │$/m],
    [
      'a handshake without an answer',
      { backend: SEALED, peers: [{ ...peer, session: { ...SESSION, state: 'trying', tryingSeconds: 20 } }] },
      /│ +tried for 20 s │$/m,
    ],
    [
      'no handshake',
      { backend: SEALED, peers: [{ ...peer, session: { ...SESSION, handshakeSeconds: null } }] },
      /│ +none │$/m,
    ],
    [
      'carried directly to some',
      { backend: { type: 'udp', kernel: null, direct: 2 } },
      /^direct {4}2 peers reached without the tunnel$/m,
    ],
    ['offloads', { offloads: { a: 'on' } }, /^offloads {2}all on$/m],
    ['offloads that are off', { offloads: { a: 'off', b: 'on', c: 'off' } }, /^offloads {2}off: a, c$/m],
    ['etcd', {}, /^etcd {6}watched, last word 100 s ago \(http:\/\/127\.0\.0\.1:2379\)$/m],
    [
      'etcd that is not watched',
      { registry: { ...registry, current: false, problem: 'denied' } },
      /^etcd {6}degraded: peers are as they were last known \(denied\), last word 100 s ago/m,
    ],
    [
      'etcd that has said nothing',
      { registry: { ...registry, current: false, lastContactSeconds: null } },
      /^etcd {6}degraded: peers are as they were last known, no word since the start/m,
    ],
    ['config', {}, /^config {4}the one in etcd$/m],
    [
      'config that is not known',
      { config: { state: 'unknown', detail: null } },
      /^config {4}as last known: it was not read since the start$/m,
    ],
    ...(['changed', 'invalid', 'deleted'] as const).map((state): [string, Partial<Status>, RegExp] => [
      `config that is ${state}`,
      { config: { state, detail: 'so it is' } },
      new RegExp(`^config {4}${state} in etcd: so it is$`, 'm'),
    ]),
    ['firewall', {}, /^firewall {2}kept, put back 2 times; packets of containers: out passes, in too few to tell$/m],
    [
      'firewall that nobody touched',
      { firewall: { ...firewall, repairs: 0, forwarding: null } },
      /^firewall {2}kept$/m,
    ],
    [
      'firewall that is not kept',
      { firewall: { ...firewall, kept: false, problem: 'no nft' } },
      /^firewall {2}not kept: no nft$/m,
    ],
    ['firewall left alone', { firewall: { ...firewall, kept: false, settings: null } }, /^firewall {2}left alone$/m],
    [
      'what was carried',
      { packetPath: { ...packetPath, counters: { out_packets: 1, out_bytes: 999, in_packets: 2, in_bytes: 1500 } } },
      /^carried {3}out 1 packet, 999 B; in 2 packets, 1\.5 kB$/m,
    ],
    [
      'what was dropped',
      { packetPath: { ...packetPath, counters: { out_drop_no_route: 3, in_drop_source: 0, in_drop_ttl: 1 } } },
      /^dropped {3}out no route 3, in ttl 1$/m,
    ],
    ['nothing dropped', { packetPath: { ...packetPath, counters: { out_drop_ttl: 0 } } }, /^dropped {3}nothing$/m],
    ['warnings', { warnings: ['x', 'y'] }, /^warning {3}x\nwarning {3}y$/m],
    ['no peers', { peers: [] }, /^No peers\.$/m],
    ['a peer', {}, /│ 10\.240\.77\.0\/24 │ 10\.1\.1\.77 .*│ +1 s ago │/],
    ['a peer that was never heard', { peers: [{ ...peer, heardSecondsAgo: null }] }, /│ +never │/],
    ['a reservation', { peers: [{ ...peer, reserved: true, heardSecondsAgo: null }] }, /│ +reserved │/],
    [
      'a peer that is skipped',
      { peers: [{ ...peer, problem: 'it is no way' }] },
      /10\.1\.1\.77 \(skipped\)[\s\S]*^beta, 10\.240\.77\.0\/24 is skipped: it is no way$/m,
    ],
  ])('tells of %s', (_, changes, text) => {
    expect(describeNode(createStatus(changes))).toMatch(text);
  });
});

it('a node that is not ready has its own exit status, with and without JSON, and so has one that starts', async () => {
  expect((await shown(createStatus())).code).toBe(0);
  const ill = createStatus({ problems: ['x'] });
  expect((await shown(ill)).code).toBe(14);
  const json = await shown(ill, true);
  expect(json.code).toBe(14);
  expect(JSON.parse(json.text)).toEqual(ill);
  expect((await shown({ starting: 'waiting' }, true)).code).toBe(14);
  await expect(shown({ starting: 'waiting' })).rejects.toMatchObject({
    code: 'not-ready',
    message: 'rudder is starting: waiting',
  });
  await expect(shown({ error: 'x' })).rejects.toMatchObject({
    message: 'rudder cannot tell its status: x; see its log',
  });
});

it.each([
  'node.port',
  'lease.problem',
  'registry.certificates',
  'firewall.settings',
  'warnings',
  'ignoredLeases',
])('a daemon of a version that tells nothing of %s is told to be restarted, and nothing is shown of it', async (path) => {
  const body = JSON.parse(JSON.stringify(createStatus()));
  const names = path.split('.');
  const last = names.pop()!;
  delete names.reduce((inner, name) => inner[name], body)[last];
  let text = '';
  await expect(
    shown(body).then((result) => {
      text = result.text;
    }),
  ).rejects.toThrow(new RegExp(`no rudder of this version: ${path.replace('.', '\\.')}: .*; restart the daemon`));
  expect(text).toBe('');
  // For machines it is what it was.
  await expect(shown(body, true)).rejects.toMatchObject({ code: 'not-running' });
});
