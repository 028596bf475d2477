import { COUNTER_NAMES } from '../../src/backend/packet-path/tables/counters.js';
import type { Status } from '../../src/ops/status.js';

const FORWARDING = { out: 'passes', in: 'unknown', suspects: [], forged: 0, strangers: 0, forwarded: 0 } as const;
const SETTINGS = {
  devices: ['rudder0'],
  tunnel: { port: 8285 },
  ipMasq: false,
  localAddress: '10.1.1.26',
  isTracked: true,
  bareWay: null,
  uplinks: ['eth0'],
};

/** A node that is well; `changes` says what is not. */
export function createStatus(changes: Partial<Status> = {}): Status {
  return {
    version: '1.2.3',
    uptimeSeconds: 60,
    node: {
      id: 'node-1',
      name: 'alpha',
      publicIp: '10.1.1.26',
      interface: 'eth0',
      network: '10.240.0.0/16',
      subnet: '10.240.26.0/24',
      subnetFile: '/run/rudder/subnet.env',
      cniConf: null,
      port: 8285,
    },
    device: { name: 'rudder0', mtu: 1472, up: true, repairs: 3 },
    hostProblem: null,
    lease: { ttlSeconds: 86_400, remainingSeconds: 86_390, key: 'written', recoveries: 0, problem: null },
    registry: {
      kind: 'etcd',
      endpoints: ['http://127.0.0.1:2379'],
      current: true,
      staleSeconds: 0,
      problem: null,
      lastContactSeconds: 100,
      certificates: [{ file: '/etc/rudder/ca.pem', subject: 'CN=ca', notAfter: '2036-11-27T00:00:00.000Z' }],
    },
    config: { state: 'current', detail: null },
    backend: { type: 'udp', kernel: null, direct: null },
    packetPath: { heartbeatSeconds: 0.5, counters: Object.fromEntries(COUNTER_NAMES.map((name, i) => [name, i])) },
    offloads: { 'tun-tso': 'on', 'udp-gso': 'off' },
    firewall: { kept: true, checks: 9, repairs: 2, problem: null, forwarding: FORWARDING, settings: SETTINGS },
    peers: [
      {
        host: 'beta',
        version: '1.2.3',
        subnet: '10.240.77.0/24',
        nextHop: '10.1.1.77',
        problem: null,
        health: { state: 'ok', reason: null, rttMs: 0.4, lastHeardSeconds: 1 },
        reserved: false,
        outPackets: 5,
        outBytes: 500,
        inPackets: 7,
        inBytes: 700,
        heardSecondsAgo: 1,
      },
    ],
    latencies: {
      probes: { bounds: [0.001, 0.01], counts: [7, 2, 1], sum: 0.09 },
      registry: { bounds: [0.01, 0.1], counts: [3, 0, 1], sum: 2.01 },
    },
    ignoredLeases: { count: 0, first: [] },
    problems: [],
    warnings: [],
    ...changes,
  };
}
