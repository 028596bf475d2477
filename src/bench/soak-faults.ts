import { setTimeout as delay } from 'node:timers/promises';
import { etcdctl } from '../lab/etcd.js';
import { act } from '../lab/lab.js';
import { nodeName, switchAddress } from '../lab/names.js';
import { execIn } from '../lab/network.js';
import { readSubnetEnv } from '../lab/nodes.js';
import type { LabNode, LabState } from '../lab/state.js';

/** One way to break something. It returns when all is mended that would not mend itself. */
export interface Fault {
  readonly name: string;
  readonly strike: (lab: LabState, node: LabNode) => Promise<unknown>;
}

/** How long something is away: shorter than every lease. */
const AWAY_MS = 4000;
const KEYS = '/coreos.com/network/subnets/';

const inNode =
  (command: (lab: LabState) => string) =>
  (lab: LabState, node: LabNode): Promise<string> =>
    execIn(lab, nodeName(node), ['sh', '-c', command(lab)]);

async function away(lab: LabState, member: string, go: 'stop' | 'pause' | 'partition'): Promise<void> {
  const back = { stop: 'start', pause: 'resume', partition: 'heal' } as const;
  await act(lab, member, go);
  await delay(AWAY_MS);
  await act(lab, member, back[go]);
}

const ownKey = (lab: LabState, node: LabNode) =>
  `${KEYS}${readSubnetEnv(lab, node).RUDDER_SUBNET.replace(/\.1\/(\d+)$/, '.0-$1')}`;

async function revoke(lab: LabState, node: LabNode): Promise<void> {
  // 64 bits, which JSON.parse() would round.
  const lease = /"lease":(\d+)/.exec(await etcdctl(lab, 'get', ownKey(lab, node), '-w', 'json'));
  if (lease !== null) await etcdctl(lab, 'lease', 'revoke', BigInt(lease[1]).toString(16));
}

export const FAULTS: readonly Fault[] = [
  {
    name: 'daemon killed',
    strike: async (lab, node) => {
      await act(lab, nodeName(node), 'kill');
      await act(lab, nodeName(node), 'start');
    },
  },
  {
    name: 'daemon restarted',
    strike: async (lab, node) => {
      await act(lab, nodeName(node), 'stop');
      await act(lab, nodeName(node), 'start');
    },
  },
  { name: 'etcd stopped', strike: (lab) => away(lab, 'etcd', 'stop') },
  { name: 'etcd frozen', strike: (lab) => away(lab, 'etcd', 'pause') },
  { name: 'etcd unreachable', strike: (lab) => away(lab, 'etcd', 'partition') },
  { name: 'node cut off', strike: (lab, node) => away(lab, nodeName(node), 'partition') },
  { name: 'own key deleted', strike: (lab, node) => etcdctl(lab, 'del', ownKey(lab, node)) },
  { name: 'own lease revoked', strike: revoke },
  { name: 'rudder0 deleted', strike: inNode(() => 'ip link delete rudder0') },
  { name: 'rudder0 down', strike: inNode(() => 'ip link set rudder0 down') },
  { name: 'rudder0 without address', strike: inNode(() => 'ip address flush dev rudder0') },
  { name: 'rudder0 without route', strike: inNode(() => 'ip route flush dev rudder0') },
  { name: 'rudder0 with another MTU', strike: inNode(() => 'ip link set rudder0 mtu 1300') },
  {
    name: 'link flaps',
    strike: inNode(
      (lab) => `ip link set eth0 down; ip link set eth0 up; ip route replace default via ${switchAddress(lab)}`,
    ),
  },
  {
    name: 'firewall flushed',
    strike: inNode(() => 'iptables -F FORWARD; iptables -t nat -F POSTROUTING'),
  },
];
