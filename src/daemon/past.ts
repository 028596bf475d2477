import type { Backend } from '../backend/backend.js';
import type { Curves } from '../cluster/summary.js';
import { inTurns } from '../core/in-turns.js';
import { formatIpv4 } from '../core/ipv4.js';
import type { Lease } from '../core/lease.js';
import { formatSubnet } from '../core/subnet.js';
import type { Health } from '../health/health.js';
import { createHistory, type HistoryPart, type PeerSample, STEP_SECONDS } from '../history/history.js';
import { createLostPeers, type LostPeer } from '../history/lost-peers.js';
import { dropOf } from '../ops/status.js';
import type { PeerSight } from './peer-sight.js';

export interface PastOptions {
  /** The same array until any of them changes. */
  readonly peers: () => readonly Lease[];
  readonly backend: Pick<Backend, 'packetPath'>;
  readonly health: Pick<Health, 'look' | 'of'>;
  readonly sightOf: (lease: Lease) => PeerSight;
}

/** What was: curves of the last hours, and who has left within the last one. */
export interface Past {
  /** @param subnet of a peer; undefined: the node itself @returns undefined: nothing is kept of it */
  history(after: number, subnet: string | undefined): (HistoryPart & { readonly endsAt: string }) | undefined;
  /** The same of the node itself, for another one: drops are one curve, of nulls where the kernel moves the packets. */
  curves(): Curves;
  lost(): LostPeer[];
  stop(): void;
}

/** A peer is well if it answers, and if nobody expects that of it. */
const UNWELL = new Set(['silent', 'unreachable']);

export function keepPast({ peers, backend, health, sightOf }: PastOptions): Past {
  const history = createHistory();
  const lostPeers = createLostPeers();
  /** By the clock that people have. */
  let endsAt = new Date().toISOString();
  let noted: readonly Lease[] | undefined;
  /** Text for thousands of them would cost more than all else here. */
  const names = new WeakMap<Lease, string>();
  const nowSeconds = () => performance.now() / 1000;

  function notePeers(): void {
    const now = peers();
    if (now === noted) return;
    noted = now;
    lostPeers.note(now.map(peerOf), nowSeconds());
  }

  async function look(): Promise<void> {
    notePeers();
    health.look();
    const step = history.begin(nowSeconds());
    await inTurns(peers(), (some) => {
      for (const lease of some) step.peer(sampleOf(lease));
    });
    step.end(dropsOf(backend));
    endsAt = new Date().toISOString();
  }

  function sampleOf(lease: Lease): PeerSample {
    const { problem, heardSecondsAgo, traffic } = sightOf(lease);
    const { state, rttMs } = health.of(lease, problem, heardSecondsAgo);
    const { outBytes, inBytes } = traffic;
    return { subnet: nameOf(lease), outBytes, inBytes, rttMs, isWell: !UNWELL.has(state) };
  }

  function nameOf(lease: Lease): string {
    const known = names.get(lease);
    if (known !== undefined) return known;
    const name = formatSubnet(lease.subnet);
    names.set(lease, name);
    return name;
  }

  void look();
  const timer = setInterval(() => void look(), STEP_SECONDS * 1000).unref();
  return {
    history(after, subnet) {
      const part = history.after(after, subnet);
      return part && { ...part, endsAt };
    },
    curves() {
      const { stepSeconds, curves, drops } = history.after(-1)!;
      const reasons = Object.values(drops);
      const isCounted = backend.packetPath !== undefined;
      const sum = curves.out.map((_, i) =>
        isCounted ? reasons.reduce((all, values) => all + (values[i] ?? 0), 0) : null,
      );
      return { stepSeconds, endsAt, curves: { ...curves, drops: sum } };
    },
    lost() {
      notePeers();
      return lostPeers.list(nowSeconds());
    },
    stop: () => clearInterval(timer),
  };
}

function peerOf({ host, version, subnet, publicIp }: Lease) {
  return {
    host: host ?? null,
    version: version ?? null,
    subnet: formatSubnet(subnet),
    nextHop: formatIpv4(publicIp),
  };
}

const dropsOf = ({ packetPath }: Pick<Backend, 'packetPath'>) =>
  Object.fromEntries(Object.entries(packetPath?.counters() ?? {}).filter(([name]) => dropOf(name) !== undefined));
