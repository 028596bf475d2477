import type { LabState } from '../state.js';
import { daemonCpuSeconds, latency, latencyUnderLoad, tcp, udp } from './measure.js';
import { routeOf, SYSTEMS, type System, setUnderlay, switchTo, type UnderlayMode } from './systems.js';

/** One figure of one system in one round. */
export interface Sample {
  readonly round: number;
  readonly system: System;
  readonly measure: string;
  readonly value: number;
}

export interface RoundOptions {
  readonly rounds: number;
  /** Length of one measurement. */
  readonly seconds: number;
  /** More arguments for the daemons of `rudder`. */
  readonly daemonArguments: readonly string[];
  readonly progress: (text: string) => void;
}

/** Offered packet rates of the UDP sweep, as multiples of the best rate delivered so far. */
const OVERLOADS = [1, 2, 3];
const SMALL_PAYLOAD = 64;
const FULL_PAYLOAD = 1400;

/**
 * Every system once a round, in an order that turns: this machine's speed drifts, so only figures of one round are
 * compared, and none is always the first.
 */
export async function runRounds(lab: LabState, options: RoundOptions): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (let round = 0; round < options.rounds; round++) {
    for (let turn = 0; turn < SYSTEMS.length; turn++) {
      const system = SYSTEMS[(turn + round) % SYSTEMS.length];
      await switchTo(lab, system, options.daemonArguments);
      const tell = (measure: string, value: number) => samples.push({ round, system, measure, value });
      for (const mode of ['whole', 'segmented'] as const) {
        options.progress(`round ${round + 1} of ${options.rounds}: ${system}, ${mode} underlay`);
        await setUnderlay(lab, mode);
        await measureTcp(lab, system, mode, options, tell);
        if (mode === 'whole') await measureTheRest(lab, system, options, tell);
      }
    }
  }
  return samples;
}

type Tell = (measure: string, value: number) => void;

async function measureTcp(
  lab: LabState,
  system: System,
  mode: UnderlayMode,
  { seconds }: RoundOptions,
  tell: Tell,
): Promise<void> {
  for (const place of ['host', 'container'] as const) {
    const before = daemonCpuSeconds(lab);
    const result = await tcp(lab, routeOf(lab, system, place), seconds, 1, false);
    tell(`tcp1 ${place} ${mode}`, result.bitsPerSecond);
    const gigabytes = (result.bitsPerSecond * seconds) / 8e9;
    if (place === 'host' && mode === 'whole') tell('cpu per GB', (daemonCpuSeconds(lab) - before) / gigabytes);
  }
}

async function measureTheRest(lab: LabState, system: System, { seconds }: RoundOptions, tell: Tell): Promise<void> {
  const route = routeOf(lab, system, 'container');
  tell('tcp8', (await tcp(lab, route, seconds, 8, false)).bitsPerSecond);
  const both = await tcp(lab, route, seconds, 8, true);
  tell('tcp8 both ways', both.bitsPerSecond);
  tell('slowest of 8', both.slowestShare);
  await measureUdp(lab, system, seconds, tell);
  tell('udp full size', (await udp(lab, route, seconds, FULL_PAYLOAD, 0)).delivered);
  const idle = await latency(lab, routeOf(lab, system, 'host'), seconds);
  tell('latency p50', idle.p50);
  tell('latency p99', idle.p99);
  const loaded = await latencyUnderLoad(lab, routeOf(lab, system, 'host'), seconds);
  tell('latency p50 under load', loaded.p50);
  tell('latency p99 under load', loaded.p99);
}

/** Delivered rate as the offered rate rises; the best, and what is left of it under three times the capacity. */
async function measureUdp(lab: LabState, system: System, seconds: number, tell: Tell): Promise<void> {
  const route = routeOf(lab, system, 'host');
  const flood = await udp(lab, route, seconds, SMALL_PAYLOAD, 0);
  let best = flood.delivered;
  let last = flood.delivered;
  for (const overload of OVERLOADS) {
    const result = await udp(lab, route, seconds, SMALL_PAYLOAD, best * overload);
    best = Math.max(best, result.delivered);
    last = result.delivered;
  }
  tell('udp64 best', best);
  tell('udp64 at 3x', last / best);
}
