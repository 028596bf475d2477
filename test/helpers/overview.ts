import { type Answer, answerOf } from '../../src/cluster/answers.js';
import { type OverviewInput, overviewOf } from '../../src/cluster/overview.js';
import type { PeerView, Summary } from '../../src/cluster/summary.js';
import type { PeerStatus, Status } from '../../src/ops/status.js';
import { createStatus } from './status.js';

/** A cluster that lives, for the page to show: what flows changes with `second`, who has which trouble does not. */
export interface ImaginedOptions {
  readonly peers: number;
  readonly second: number;
  /** Some are silent, not ready, lost, or do not hear each other. */
  readonly hasTrouble?: boolean;
  readonly status?: Partial<Status>;
}

export const countsTraffic = ({ backend }: Partial<Status>) => backend?.countsTraffic ?? true;

const subnetOf = (i: number) => `10.${240 + (i >> 8)}.${i & 255}.0/24`;
export const nameOf = (i: number) => `${['web', 'db', 'cache', 'build', 'edge'][i % 5]}-${Math.floor(i / 5) + 1}`;

export function imaginedStatus({ peers, second, hasTrouble = false, status = {} }: ImaginedOptions): Status {
  const wave = (i: number) => Math.round(1e6 * second * (1 + Math.sin(i)) ** 6);
  const peer = (i: number): PeerStatus => ({
    ...createStatus().peers[0],
    host: nameOf(i),
    subnet: subnetOf(i),
    nextHop: `192.0.${2 + (i >> 8)}.${i & 255}`,
    health: healthOf(hasTrouble, i, second),
    outBytes: !countsTraffic(status) ? null : i % 7 === 1 ? wave(i) : 0,
    inBytes: !countsTraffic(status) ? null : i % 7 === 1 ? 2 * wave(i) : 0,
  });
  const base = createStatus();
  return createStatus({
    uptimeSeconds: 4000 + second,
    node: { ...base.node, name: nameOf(0), subnet: subnetOf(0), network: '10.240.0.0/12' },
    peers: Array.from({ length: peers }, (_, i) => peer(i + 1)),
    warnings: hasTrouble ? ['the certificate /etc/rudder/ca.pem ends in 9 days'] : [],
    ...status,
  });
}

function healthOf(hasTrouble: boolean, i: number, second: number): PeerStatus['health'] {
  if (hasTrouble && i === 4) return { state: 'silent', reason: null, rttMs: null, lastHeardSeconds: 40 + second };
  const reason = 'no route to host: is the interface up?';
  if (hasTrouble && i === 7) return { state: 'unreachable', reason, rttMs: null, lastHeardSeconds: null };
  return { state: 'ok', reason: null, rttMs: 0.3 + ((i * 7 + second) % 10) / 20, lastHeardSeconds: (i + second) % 3 };
}

export function imaginedOverview(options: ImaginedOptions): object {
  const status = imaginedStatus(options);
  const { hasTrouble = false, second } = options;
  const subnets = [status.node.subnet, ...status.peers.map(({ subnet }) => subnet)];
  const answer = (i: number): Answer => {
    const at = (seconds: number) => summaryOf(i, subnets, seconds, hasTrouble, status);
    return answerOf(at(second + 1), null, answerOf(at(second), null, undefined));
  };
  // As for 300 nodes at most.
  const answers = new Map(subnets.slice(0, 300).map((subnet, i) => [subnet, answer(i)]));
  const input: OverviewInput = {
    status,
    own: answers.get(status.node.subnet)!,
    answerOf: (subnet) =>
      hasTrouble && subnet === subnetOf(4) ? answerOf(null, 'no answer', undefined) : answers.get(subnet),
    whyNotAsked: () => undefined,
    isNew: () => false,
    lost: hasTrouble
      ? [{ host: 'cache-9', subnet: '10.239.1.0/24', nextHop: '192.0.2.250', version: '1.2.3', seconds: 300 + second }]
      : [],
  };
  return overviewOf(input);
}

function summaryOf(
  i: number,
  subnets: readonly string[],
  second: number,
  hasTrouble: boolean,
  { backend, device }: Status,
): Summary {
  const isApart = (j: number) => hasTrouble && [i, j].includes(2) && [i, j].includes(3);
  const isGone = (j: number) => hasTrouble && (j === 4 || i === 4);
  const view = (subnet: string, j: number): PeerView => {
    const isDeaf = isApart(j) || isGone(j);
    const talks = !isDeaf && (i * j + i + j) % Math.max(5, Math.round(subnets.length / 4)) === 1;
    const bytes = talks ? Math.round(second * 10 ** (4 + ((i + j) % 5))) : 0;
    return {
      subnet,
      heardSeconds: isDeaf ? 60 : 1,
      answeredSeconds: isDeaf ? 60 : 1,
      misses: isDeaf ? 9 : 0,
      rttMs: isDeaf ? null : 0.4 + ((i + j) % 7) / 10,
      obstacle: null,
      outBytes: !backend.countsTraffic ? null : i < j ? bytes : Math.round(bytes / 8),
      inBytes: !backend.countsTraffic ? null : i < j ? Math.round(bytes / 8) : bytes,
    };
  };
  return {
    host: nameOf(i),
    version: '1.2.3',
    ready: !(hasTrouble && i === 5),
    about: {
      uptimeSeconds: 4000 + second,
      backend: backend.type,
      mtu: device.mtu,
      leaseSeconds: 86_000,
      config: 'current',
      firewallProblem: null,
      problems: hasTrouble && i === 5 ? ['etcd has not been watched for 31 s, peers may have changed: no answer'] : [],
      warnings: [],
    },
    peers: subnets.flatMap((subnet, j) => (i === j ? [] : [view(subnet, j)])),
  };
}
