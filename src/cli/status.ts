import Table from 'cli-table3';
import { counted } from '../core/counted.js';
import { askDaemon } from '../ops/control-client.js';
import { controlSocketOf } from '../ops/http.js';
import { dropOf, type Passage, type PeerStatus, type Status } from '../ops/status.js';
import { isUntold, refuseUntold, toStatus } from './daemon-status.js';
import { EXIT_CODES, EXIT_OK } from './exit-codes.js';
import { printable } from './printable.js';

/** `rudder status`: what the running daemon says about itself. @returns the exit status: 0 only if it is ready */
export async function status(subnetFile: string, json: boolean): Promise<number> {
  const body = printable((await askDaemon(controlSocketOf(subnetFile), 'GET', '/status')).body);
  if (json) process.stdout.write(`${JSON.stringify(body, null, 2)}\n`);
  if (json && isUntold(body)) return EXIT_CODES['not-ready'];
  refuseUntold(body);
  const node = toStatus(body, subnetFile);
  if (!json) process.stdout.write(describe(node));
  return node.problems.length === 0 ? EXIT_OK : EXIT_CODES['not-ready'];
}

export function describe(node: Status): string {
  const off = Object.entries(node.offloads).filter(([, state]) => state === 'off');
  const { packetPath } = node;
  const { port } = node.node;
  const rows: (readonly [string, string])[] = [
    ['ready', node.problems.length === 0 ? 'yes' : `no: ${node.problems.join('; ')}`],
    ['version', `${node.version}, up for ${duration(node.uptimeSeconds)}`],
    ['node', node.node.name ?? 'without a name: give it one with --node-name'],
    ['subnet', `${node.node.subnet} of ${node.node.network}, in ${node.node.subnetFile}`],
    ['lease', leaseText(node)],
    ['address', `${node.node.publicIp}, interface ${node.node.interface}${port === null ? '' : `, UDP port ${port}`}`],
    ['device', `${node.device.name}, MTU ${node.device.mtu}, ${node.device.up ? 'up' : 'down or gone'}`],
    ...(packetPath === null
      ? []
      : [['offloads', off.length === 0 ? 'all on' : `off: ${off.map(([name]) => name).join(', ')}`] as const]),
    [node.registry.kind, registryText(node)],
    ['config', configText(node)],
    ['firewall', firewallText(node)],
    ...encryptedRows(node),
    ...carriedRows(node),
  ];
  for (const warning of node.warnings) rows.push(['warning', warning]);
  const lines = rows.map(([name, value]) => `${name.padEnd(10)}${value}`);
  const skipped = node.peers.flatMap(({ host, subnet, problem }) =>
    problem === null ? [] : [`${host === null ? '' : `${host}, `}${subnet} is skipped: ${problem}`],
  );
  return `${lines.join('\n')}\n\n${[peersTable(node), ...skipped].join('\n')}\n`;
}

function leaseText({ lease, registry }: Status): string {
  if (registry.kind === 'kubernetes') return OF_NODE[lease.key];
  if (lease.key === 'gone') return 'gone: its key is not in etcd';
  if (registry.kind === 'embedded') return 'its own: there is no other node';
  if (lease.remainingSeconds === null) return 'a reservation: it never runs out';
  const recovered = lease.recoveries === 0 ? '' : `, restored ${counted(lease.recoveries, 'time')}`;
  const other = lease.key === 'differs' ? ', its key in etcd differs from this node' : '';
  return `${duration(lease.remainingSeconds)} left of ${duration(lease.ttlSeconds ?? 0)}${recovered}${other}`;
}

const OF_NODE = {
  written: "the Node's podCIDR, its annotations as they should be",
  gone: "the Node's podCIDR, and the Node is gone or has none",
  differs: "the Node's podCIDR, and its annotations differ from this node",
};

function registryText({ registry }: Status): string {
  if (registry.kind === 'embedded') return 'one node without a cluster (rudder up --dev): no other can join it';
  const reason = registry.problem ? ` (${registry.problem})` : '';
  const state = registry.current ? 'watched' : `degraded: peers are as they were last known${reason}`;
  const word =
    registry.lastContactSeconds === null
      ? 'no word since the start'
      : `last word ${duration(registry.lastContactSeconds)} ago`;
  return `${state}, ${word} (${registry.endpoints.join(', ')})`;
}

function configText({ config, registry }: Status): string {
  if (registry.kind === 'embedded') return 'the one it was started with';
  const store = registry.kind === 'etcd' ? 'in etcd' : 'in its file';
  if (config.state === 'unknown') return 'as last known: it was not read since the start';
  return config.detail === null ? `the one ${store}` : `${config.state} ${store}: ${config.detail}`;
}

function firewallText({ firewall }: Status): string {
  if (firewall.problem !== null) return `not kept: ${firewall.problem}`;
  if (!firewall.kept) return 'left alone';
  const kept = firewall.repairs === 0 ? 'kept' : `kept, put back ${counted(firewall.repairs, 'time')}`;
  const { forwarding } = firewall;
  const said = (passage: Passage) => (passage === 'unknown' ? 'too few to tell' : passage);
  return forwarding === null
    ? kept
    : `${kept}; packets of containers: out ${said(forwarding.out)}, in ${said(forwarding.in)}`;
}

function encryptedRows({ backend, peers }: Status): (readonly [string, string])[] {
  if (!backend.cipher) return [];
  const up = peers.filter(({ session }) => session?.state === 'up').length;
  const by = backend.implementation;
  return [
    ['encrypted', `${backend.type}, cipher ${backend.cipher}; ${counted(up, 'session')}`],
    ...(by ? [['', `${by.runs === 'kernel' ? 'by the kernel' : 'in user space'}: ${by.why}`] as const] : []),
  ];
}

function carriedRows({ packetPath, backend }: Status): (readonly [string, string])[] {
  const { direct } = backend;
  const directly =
    direct === null ? [] : [['direct', `${counted(direct, 'peer')} reached without the tunnel`] as const];
  if (packetPath === null)
    return [['carried', `by the kernel, ${backend.type}: ${entriesText(backend.kernel)}`], ...directly];
  return [['carried', carriedText(packetPath.counters)], ['dropped', droppedText(packetPath.counters)], ...directly];
}

function entriesText(kernel: Status['backend']['kernel']): string {
  if (kernel === null) return 'nothing is told of it';
  const { wanted, present } = kernel;
  const entries = counted(wanted, 'entry', 'entries');
  return present === wanted ? `${entries} for the peers` : `${present} of ${entries} for the peers are there`;
}

function carriedText(counters: Readonly<Record<string, number>>): string {
  const side = (name: string) =>
    `${counted(counters[`${name}_packets`], 'packet')}, ${bytes(counters[`${name}_bytes`])}`;
  return `out ${side('out')}; in ${side('in')}`;
}

function droppedText(counters: Readonly<Record<string, number>>): string {
  const drops = Object.entries(counters).flatMap(([name, count]) => {
    const drop = dropOf(name);
    return drop === undefined || count === 0 ? [] : [`${drop.direction} ${drop.reason.replaceAll('_', ' ')} ${count}`];
  });
  return drops.join(', ') || 'nothing';
}

function handshakeText({ session }: PeerStatus): string {
  if (!session) return '';
  if (session.state === 'trying') return `tried for ${duration(session.tryingSeconds ?? 0)}`;
  return session.handshakeSeconds === null ? 'none' : `${duration(session.handshakeSeconds)} ago`;
}

function peersTable({ peers, backend }: Status): string {
  if (peers.length === 0) return 'No peers.';
  const isEncrypted = Boolean(backend.cipher);
  const table = new Table({
    head: [
      'peer',
      'subnet',
      'next hop',
      'packets out',
      'bytes out',
      'packets in',
      'bytes in',
      'last heard',
      ...(isEncrypted ? ['handshake'] : []),
    ],
    style: { head: [], border: [], compact: true },
    colAligns: ['left', 'left', 'left', 'right', 'right', 'right', 'right', 'right', 'right'],
  });
  for (const peer of peers) {
    const never = peer.outPackets === null ? '' : 'never';
    const silent = peer.reserved ? 'reserved' : never;
    const heard = peer.heardSecondsAgo === null ? silent : `${duration(peer.heardSecondsAgo)} ago`;
    table.push([
      peer.host ?? '',
      peer.subnet,
      peer.problem === null ? peer.nextHop : `${peer.nextHop} (skipped)`,
      peer.outPackets,
      peer.outBytes === null ? null : bytes(peer.outBytes),
      peer.inPackets,
      peer.inBytes === null ? null : bytes(peer.inBytes),
      heard,
      ...(isEncrypted ? [handshakeText(peer)] : []),
    ]);
  }
  return table.toString();
}

/** `4 s`, `12 min`, `23.9 h`, `3.0 d`. */
export function duration(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${(seconds / 86_400).toFixed(1)} d`;
}

/** Bytes with a decimal unit, as network people count. */
export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let value = count;
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000;
  return unit === 0 ? `${count} B` : `${value.toFixed(1)} ${units[unit]}`;
}
