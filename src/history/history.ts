import { createRing, type Ring } from './ring.js';

/**
 * What has flowed in the last hours, in memory of a fixed bound: one number for each step of each curve.
 *
 *     node    out, in, RTT, peers, peers that are not well         5 curves
 *     drops   one curve for each reason that has ever occurred     as many as the packet path has reasons
 *     peers   out, in, RTT                                         3 curves for each of MOST_PEERS
 */
export const STEP_SECONDS = 10;
/** Three hours. */
export const STEPS = 1080;
/** With all curves 3.4 MB. Of more peers, those have curves that have traffic. */
export const MOST_PEERS = 256;
/** That get curves in one step. At a start all peers are new, and the rest of the daemon has to wait for them. */
export const MOST_NEW = 64;

export interface PeerSample {
  readonly subnet: string;
  /** Since the start; null: the kernel moves the packets, and does not count by peer. */
  readonly outBytes: number | null;
  readonly inBytes: number | null;
  readonly rttMs: number | null;
  readonly isWell: boolean;
}

/** Bytes, packets of drops: by the second. Null: not known. */
export interface HistoryPart {
  readonly stepSeconds: number;
  /** Number of the last step; the first of the values below is of `last - length + 1`. */
  readonly last: number;
  readonly curves: Readonly<Record<string, readonly (number | null)[]>>;
  readonly drops: Readonly<Record<string, readonly (number | null)[]>>;
}

/** All counters of drops since the start, by reason. */
type DropCounts = Readonly<Record<string, number>>;

/** Peers are told one by one: samples of thousands, kept until the last is there, are what the collector would move. */
export interface Step {
  peer(sample: PeerSample): void;
  end(drops: DropCounts): void;
}

export interface History {
  /** @param now seconds of a clock that never goes back */
  begin(now: number): Step;
  /** Steps after that one. @param subnet of a peer; undefined: the node itself @returns undefined: there are no curves of it */
  after(step: number, subnet?: string): HistoryPart | undefined;
}

const NODE_CURVES = ['out', 'in', 'rtt', 'peers', 'unwell'] as const;
const PEER_CURVES = ['out', 'in', 'rtt'] as const;

type Rates = Record<(typeof PEER_CURVES)[number], number | null>;

interface PeerCurves {
  readonly rings: Readonly<Record<(typeof PEER_CURVES)[number], Ring>>;
  /** The last step with traffic; for who has had none, that of its coming. */
  busyAt: number;
}

interface Counted {
  outBytes: number | null;
  inBytes: number | null;
  /** Step. */
  at: number;
}

export function createHistory(): History {
  const node = ringsOf(NODE_CURVES);
  const drops: Record<string, Ring> = {};
  const peers = new Map<string, PeerCurves>();
  /** The last one that is whole. */
  let step = -1;
  /** That peers are told of now. */
  let current = -1;
  /** The last step at which all that have curves talked. */
  let fullAt = -1;
  /** What was counted at the step before. Kept and not made anew: thousands of them, all of which the collector would move. */
  const counted = new Map<string, Counted>();
  let before: { readonly drops: DropCounts; readonly at: number } | undefined;

  function begin(now: number): Step {
    current = Math.max(step + 1, Math.floor(now / STEP_SECONDS));
    const seconds = before === undefined ? 0 : now - before.at;
    const rate = (count: number | null, earlier: number | null | undefined) =>
      seconds <= 0 || count === null || typeof earlier !== 'number' ? null : Math.max(0, count - earlier) / seconds;
    const [busy, quiet]: [subnet: string, rates: Rates][][] = [[], []];
    const rtts: number[] = [];
    let [out, inward]: (number | null)[] = [null, null];
    let [seen, unwell] = [0, 0];

    function peer(sample: PeerSample): void {
      const { subnet, outBytes, inBytes, rttMs, isWell } = sample;
      const earlier = counted.get(subnet);
      const rates = { out: rate(outBytes, earlier?.outBytes), in: rate(inBytes, earlier?.inBytes), rtt: rttMs };
      count(sample, earlier);
      seen++;
      if (!isWell) unwell++;
      if (rttMs !== null) rtts.push(rttMs);
      if (rates.out !== null) out = (out ?? 0) + rates.out;
      if (rates.in !== null) inward = (inward ?? 0) + rates.in;
      const curves = peers.get(subnet);
      if (curves !== undefined) draw(curves, rates);
      else if (isBusy(rates)) busy.push([subnet, rates]);
      else if (peers.size + quiet.length < MOST_PEERS) quiet.push([subnet, rates]);
    }

    function end(reasons: DropCounts): void {
      follow([...busy, ...quiet].slice(0, MOST_NEW));
      if (counted.size > seen) for (const [subnet, { at }] of counted) if (at !== current) counted.delete(subnet);
      const values = { out, in: inward, rtt: median(rtts), peers: seen, unwell };
      for (const name of NODE_CURVES) node[name].set(current, values[name]);
      for (const [reason, count] of Object.entries(reasons)) {
        if (count === 0 && drops[reason] === undefined) continue;
        drops[reason] ??= createRing(STEPS);
        drops[reason].set(current, rate(count, before?.drops[reason]));
      }
      before = { drops: reasons, at: now };
      step = current;
    }

    return { peer, end };
  }

  /** Gives curves to those that have none. */
  function follow(newOnes: readonly [subnet: string, rates: Rates][]): void {
    for (const [subnet, rates] of newOnes) {
      if (peers.size >= MOST_PEERS && !(isBusy(rates) && makeRoom())) continue;
      const curves = { rings: ringsOf(PEER_CURVES), busyAt: current };
      peers.set(subnet, curves);
      draw(curves, rates);
    }
  }

  function count({ subnet, outBytes, inBytes }: PeerSample, counts: Counted | undefined): void {
    if (counts === undefined) {
      counted.set(subnet, { outBytes, inBytes, at: current });
    } else {
      counts.outBytes = outBytes;
      counts.inBytes = inBytes;
      counts.at = current;
    }
  }

  function draw(curves: PeerCurves, rates: Rates): void {
    if (isBusy(rates)) curves.busyAt = current;
    for (const name of PEER_CURVES) curves.rings[name].set(current, rates[name]);
  }

  /** Who talks takes the place of the one that has been quiet for longest; of one that talks too nobody does. */
  function makeRoom(): boolean {
    if (fullAt === current) return false;
    const [subnet, { busyAt }] = [...peers].reduce((a, b) => (b[1].busyAt < a[1].busyAt ? b : a));
    if (busyAt === current) fullAt = current;
    else peers.delete(subnet);
    return busyAt !== current;
  }

  return {
    begin,
    after(earlier, subnet) {
      const rings = subnet === undefined ? node : peers.get(subnet)?.rings;
      if (rings === undefined) return undefined;
      const first = Math.max(earlier + 1, step - STEPS + 1, 0);
      const read = (all: Readonly<Record<string, Ring>>) =>
        Object.fromEntries(Object.entries(all).map(([name, ring]) => [name, ring.from(first, step)]));
      return {
        stepSeconds: STEP_SECONDS,
        last: step,
        curves: read(rings),
        drops: subnet === undefined ? read(drops) : {},
      };
    },
  };
}

const isBusy = (rates: Rates) => (rates.out ?? 0) + (rates.in ?? 0) > 0;

function ringsOf<Name extends string>(names: readonly Name[]): Record<Name, Ring> {
  return Object.fromEntries(names.map((name) => [name, createRing(STEPS)])) as Record<Name, Ring>;
}

function median(values: readonly number[]): number | null {
  if (values.length === 0) return null;
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}
