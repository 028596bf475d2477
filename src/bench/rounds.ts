import type { LabState } from '../lab/state.js';
import { cpuSeconds, latency, latencyUnderLoad, tcp, udp } from './measure.js';
import { type Place, routeOf, type Setup, type System, setUnderlay, switchTo, type UnderlayMode } from './systems.js';

/** One figure of one system in one round. */
export interface Sample {
  readonly round: number;
  readonly system: System;
  readonly measure: string;
  readonly value: number;
}

/** Groups of measures, to run some of them only. */
export const GROUPS = ['tcp', 'udp', 'latency'] as const;

export interface RoundOptions extends Setup {
  readonly systems: readonly System[];
  /** Between which TCP is measured; several flows at once between the last of them. */
  readonly places: readonly Place[];
  readonly rounds: number;
  /** Length of one measurement. */
  readonly seconds: number;
  readonly groups: ReadonlySet<string>;
  /** Offered rates of the UDP sweep, as multiples of what a flood delivers. */
  readonly sweep: readonly number[];
  /** TCP's congestion control; the machine's own if undefined. */
  readonly congestion: string | undefined;
  readonly progress: (text: string) => void;
}

const WARM_UP_SECONDS = 1;
const ONE_FLOW = { flows: 1, bothWays: false };
const SMALL_PAYLOAD = 64;
const FULL_PAYLOAD = 1392;

/**
 * Every system once a round, in an order that turns: this machine's speed drifts, so only figures of one round are
 * compared, and none is always the first.
 */
export async function runRounds(lab: LabState, options: RoundOptions): Promise<Sample[]> {
  const samples: Sample[] = [];
  const { systems } = options;
  for (let round = 0; round < options.rounds; round++) {
    for (let turn = 0; turn < systems.length; turn++) {
      const system = systems[(turn + round) % systems.length];
      const pids = await switchTo(lab, system, options);
      // A daemon that runs for months is measured, not the second in which its code is compiled.
      await tcp(lab, routeOf(lab, system, 'host'), WARM_UP_SECONDS, { ...ONE_FLOW, congestion: options.congestion });
      const tell = (measure: string, value: number) => samples.push({ round, system, measure, value });
      for (const mode of ['whole', 'segmented'] as const) {
        options.progress(`round ${round + 1} of ${options.rounds}: ${system}, ${mode} underlay`);
        await setUnderlay(lab, mode);
        if (options.groups.has('tcp')) await measureTcp(lab, system, pids, mode, options, tell);
        if (mode === 'segmented') continue;
        if (options.groups.has('udp')) await measureUdp(lab, system, options, tell);
        if (options.groups.has('latency')) await measureLatency(lab, system, options, tell);
      }
    }
  }
  return samples;
}

type Tell = (measure: string, value: number) => void;

async function measureTcp(
  lab: LabState,
  system: System,
  pids: readonly number[],
  mode: UnderlayMode,
  { seconds, congestion, places }: Pick<RoundOptions, 'seconds' | 'congestion' | 'places'>,
  tell: Tell,
): Promise<void> {
  for (const place of places) {
    const before = cpuSeconds(pids);
    const result = await tcp(lab, routeOf(lab, system, place), seconds, { ...ONE_FLOW, congestion });
    tell(`tcp1 ${place} ${mode}`, result.bitsPerSecond);
    const gigabytes = (result.bitsPerSecond * seconds) / 8e9;
    if (place === 'host' && mode === 'whole') tell('cpu per GB', (cpuSeconds(pids) - before) / gigabytes);
  }
  if (mode === 'segmented') return;
  const route = routeOf(lab, system, places.at(-1)!);
  const one = await tcp(lab, route, seconds, { flows: 8, bothWays: false, congestion });
  const both = await tcp(lab, route, seconds, { flows: 8, bothWays: true, congestion });
  tell('tcp8', one.bitsPerSecond);
  tell('tcp8 both ways', both.bitsPerSecond);
  tell('both ways to one', both.bitsPerSecond / one.bitsPerSecond);
  tell('slowest of 8', both.slowestShare);
}

/** Delivered rate as the offered rate rises; the best, and what is left of it under three times the capacity. */
async function measureUdp(
  lab: LabState,
  system: System,
  { seconds, sweep }: Pick<RoundOptions, 'seconds' | 'sweep'>,
  tell: Tell,
): Promise<void> {
  const route = routeOf(lab, system, 'host');
  const flood = await udp(lab, route, seconds, SMALL_PAYLOAD, 0);
  let best = flood.delivered;
  let last = flood.delivered;
  for (const multiple of sweep) {
    const { offered, delivered } = await udp(lab, route, seconds, SMALL_PAYLOAD, flood.delivered * multiple);
    tell(sweepMeasure(multiple, 'offered'), offered);
    tell(sweepMeasure(multiple, 'delivered'), delivered);
    best = Math.max(best, delivered);
    last = delivered;
  }
  tell('udp64 best', best);
  tell('udp64 at 3x', last / best);
  tell('udp full size', (await udp(lab, route, seconds, FULL_PAYLOAD, 0)).delivered);
}

export function sweepMeasure(multiple: number, which: 'offered' | 'delivered'): string {
  return `udp64 sweep ${multiple} ${which}`;
}

async function measureLatency(
  lab: LabState,
  system: System,
  { seconds, congestion }: Pick<RoundOptions, 'seconds' | 'congestion'>,
  tell: Tell,
): Promise<void> {
  const route = routeOf(lab, system, 'host');
  const idle = await latency(lab, route, seconds);
  tell('latency p50', idle.p50);
  tell('latency p99', idle.p99);
  const loaded = await latencyUnderLoad(lab, route, seconds, congestion);
  tell('latency p50 under load', loaded.p50);
  tell('latency p99 under load', loaded.p99);
}
