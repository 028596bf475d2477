import { setTimeout as delay } from 'node:timers/promises';
import Table from 'cli-table3';
import type { PeerState } from '../core/peer-state.js';
import type { PeerStatus, Status } from '../ops/status.js';
import { askNode } from './daemon-status.js';
import { EXIT_OK } from './exit-codes.js';
import { bytes, duration } from './status.js';

/** `rudder peers`: every other node by name, and how it is. */
export interface PeerRow {
  readonly host: string | null;
  readonly subnet: string;
  readonly address: string | null;
  readonly backend: string;
  readonly state: PeerState;
  /** Why it is unreachable or no peer; null: it is not, or nobody knows. */
  readonly reason: string | null;
  readonly rttMs: number | null;
  readonly lastHeardSeconds: number | null;
  /** Null: the kernel moves the packets, and does not count by peer. */
  readonly inBytesPerSecond: number | null;
  readonly outBytesPerSecond: number | null;
  readonly version: string | null;
}

const SAMPLE_MS = 1000;

/** @param watch show it anew each second, until it is interrupted */
export async function peers(subnetFile: string, json: boolean, watch: boolean): Promise<number> {
  let before = await sample(subnetFile);
  do {
    await delay(SAMPLE_MS);
    const now = await sample(subnetFile);
    const rows = rowsOf(before, now);
    const text = json ? JSON.stringify(rows, null, watch ? 0 : 2) : `${describePeers(rows)}`;
    process.stdout.write(`${watch && !json ? CLEAR : ''}${text}\n`);
    before = now;
  } while (watch);
  return EXIT_OK;
}

/** To the upper left corner, and nothing below it: only where somebody looks at it. */
const CLEAR = process.stdout.isTTY ? '\u001b[H\u001b[J' : '';

interface Sample {
  readonly at: number;
  readonly status: Status;
}

async function sample(subnetFile: string): Promise<Sample> {
  return { status: await askNode(subnetFile), at: performance.now() };
}

/** What is wrong first, then by name. */
export function rowsOf(before: Sample, now: Sample): PeerRow[] {
  const { backend, peers: list, ignoredLeases } = now.status;
  const earlier = new Map(before.status.peers.map((peer) => [peer.subnet, peer]));
  const seconds = (now.at - before.at) / 1000;
  const rows = list.map((peer) => rowOf(peer, earlier.get(peer.subnet), seconds, backend.type));
  const others = ignoredLeases.first.flatMap(({ key, host, nextHop, backend: type, version, problem }) => {
    if (type === null || type === backend.type) return [];
    const none = { rttMs: null, lastHeardSeconds: null, inBytesPerSecond: null, outBytesPerSecond: null };
    const state = 'other-backend' as const;
    const subnet = key.replace('-', '/');
    return [{ host, subnet, address: nextHop, backend: type, state, reason: problem, ...none, version }];
  });
  return [...rows, ...others].sort(
    (a, b) => rank(a) - rank(b) || nameOf(a).localeCompare(nameOf(b), 'en', { numeric: true }),
  );
}

const nameOf = ({ host, subnet }: PeerRow) => host ?? subnet;
const ORDER: readonly PeerState[] = ['unreachable', 'silent', 'other-backend', 'unknown', 'ok', 'reserved'];
const rank = ({ state }: PeerRow) => ORDER.indexOf(state);

function rowOf(peer: PeerStatus, before: PeerStatus | undefined, seconds: number, backend: string): PeerRow {
  const { host, version, subnet, nextHop, health } = peer;
  /** A daemon that was started anew counts from 0 again. */
  const rate = (name: 'inBytes' | 'outBytes') => {
    const [then, now] = [before?.[name] ?? null, peer[name]];
    return now === null ? null : Math.max(0, now - (then ?? now)) / seconds;
  };
  return {
    host,
    subnet,
    address: nextHop,
    backend,
    ...health,
    inBytesPerSecond: rate('inBytes'),
    outBytesPerSecond: rate('outBytes'),
    version,
  };
}

export function describePeers(rows: readonly PeerRow[]): string {
  if (rows.length === 0) return 'No peers.';
  const table = new Table({
    head: ['host', 'subnet', 'address', 'backend', 'state', 'RTT', 'last heard', 'in/s', 'out/s', 'version'],
    style: { head: [], border: [], compact: true },
    colAligns: ['left', 'left', 'left', 'left', 'left', 'right', 'right', 'right', 'right', 'left'],
  });
  for (const row of rows) {
    const { host, subnet, address, backend, state, rttMs, lastHeardSeconds, version } = row;
    table.push([
      host ?? '',
      subnet,
      address,
      backend,
      state,
      rttMs === null ? null : `${rttMs.toFixed(rttMs < 10 ? 2 : 0)} ms`,
      lastHeardSeconds === null ? 'never' : `${duration(lastHeardSeconds)} ago`,
      rateText(row.inBytesPerSecond),
      rateText(row.outBytesPerSecond),
      version ?? '',
    ]);
  }
  const reasons = rows.flatMap(({ reason, host, subnet, state }) =>
    reason === null ? [] : [`${host === null ? '' : `${host}, `}${subnet} is ${state}: ${reason}`],
  );
  return [table.toString(), ...reasons].join('\n');
}

const rateText = (rate: number | null) => (rate === null ? null : bytes(Math.round(rate)));
