import Table from 'cli-table3';
import type { Inside } from './inside.js';
import type { Sample } from './rounds.js';
import type { System } from './systems.js';

/** What each measure is called, its unit and how it is printed. */
const MEASURES: Record<string, { title: string; unit: string; scale: number; digits: number }> = {
  'tcp1 host whole': { title: 'TCP 1 flow, host to host', unit: 'Gbit/s', scale: 1e9, digits: 2 },
  'tcp1 container whole': { title: 'TCP 1 flow, container to container', unit: 'Gbit/s', scale: 1e9, digits: 2 },
  'tcp1 host segmented': { title: 'same, host to host, segmented underlay', unit: 'Gbit/s', scale: 1e9, digits: 2 },
  'tcp1 container segmented': { title: 'same, containers, segmented underlay', unit: 'Gbit/s', scale: 1e9, digits: 2 },
  tcp8: { title: 'TCP 8 flows', unit: 'Gbit/s', scale: 1e9, digits: 2 },
  'tcp8 both ways': { title: 'TCP 8 flows each way at once, sum', unit: 'Gbit/s', scale: 1e9, digits: 2 },
  'both ways to one': { title: 'that sum, of 8 flows one way', unit: '', scale: 1, digits: 2 },
  'slowest of 8': { title: 'slowest of those flows, of an equal share', unit: '', scale: 1, digits: 2 },
  'udp64 best': { title: 'UDP 64 B, best delivered rate', unit: 'kpps', scale: 1e3, digits: 0 },
  'udp64 at 3x': { title: 'UDP 64 B, kept at 3 times the capacity', unit: '', scale: 1, digits: 2 },
  'udp full size': { title: 'UDP 1392 B, delivered', unit: 'kpps', scale: 1e3, digits: 0 },
  'latency p50': { title: 'TCP request-response, idle, p50', unit: 'us', scale: 1, digits: 0 },
  'latency p99': { title: 'TCP request-response, idle, p99', unit: 'us', scale: 1, digits: 0 },
  'latency p50 under load': { title: 'same beside a full TCP flow, p50', unit: 'us', scale: 1, digits: 0 },
  'latency p99 under load': { title: 'same beside a full TCP flow, p99', unit: 'us', scale: 1, digits: 0 },
  'cpu per GB': { title: 'CPU of both daemons per gigabyte', unit: 's', scale: 1, digits: 2 },
};

interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export interface Summary {
  readonly measure: string;
  readonly title: string;
  readonly unit: string;
  readonly systems: Partial<Record<System, Spread>>;
  /** Rudder's figure by that of each other system: median of the ratios within each round. */
  readonly ratios: Partial<Record<System, number>>;
}

export function summarise(samples: readonly Sample[], systems: readonly System[]): Summary[] {
  return Object.entries(MEASURES).flatMap(([measure, { title, unit, scale }]) => {
    const of = (system: System) => samples.filter((sample) => sample.measure === measure && sample.system === system);
    if (of('rudder').length === 0) return [];
    const ratio = (base: System) =>
      median(
        of('rudder').flatMap((sample) =>
          of(base)
            .filter(({ round }) => round === sample.round)
            .map(({ value }) => sample.value / value),
        ),
      );
    const forEach = <T>(value: (system: System) => T) =>
      Object.fromEntries(systems.map((system) => [system, value(system)])) as Partial<Record<System, T>>;
    const spread = (system: System) => spreadOf(of(system).map(({ value }) => value / scale));
    return [{ measure, title, unit, systems: forEach(spread), ratios: forEach(ratio) }];
  });
}

function spreadOf(values: readonly number[]): Spread {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export const meanOf = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** Of the mean: how far off it is by chance. NaN for a single value. */
export function standardErrorOf(values: readonly number[]): number {
  const mean = meanOf(values);
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1);
  return Math.sqrt(variance / values.length);
}

/**
 * The mean ratio of what was measured in groups, and its standard error, by those of the groups. Of logarithms: a mean of
 * ratios itself lies above 1 where both sides are equal, by as much as they spread (1.01 where rounds differ by a tenth).
 * @param groups the ratios of each, of neighbours in time
 */
export function ratioOf(groups: readonly (readonly number[])[]): string {
  const means = groups.map((ratios) => meanOf(ratios.map(Math.log)));
  const ratio = Math.exp(meanOf(means));
  return `${ratio.toFixed(3)} ± ${(ratio * standardErrorOf(means)).toFixed(3)}`;
}

/** Median, least and most of each system, and Rudder's ratios to the others. */
export function table(summaries: readonly Summary[], systems: readonly System[]): string {
  const others = systems.filter((system) => system !== 'rudder');
  const head = ['', 'unit', ...systems, ...others.map((system) => `/${system}`)];
  const output = new Table({ head, style: { head: [], border: [], compact: true } });
  for (const summary of summaries) {
    const { digits } = MEASURES[summary.measure];
    const number = (value: number | undefined) =>
      value === undefined || !Number.isFinite(value) ? '-' : value.toFixed(digits);
    const cell = (system: System) => {
      const { median: middle, min, max } = summary.systems[system]!;
      return Number.isFinite(middle) && middle !== 0 ? `${number(middle)}\n${number(min)}-${number(max)}` : '-';
    };
    const ratio = (system: System) => {
      const value = summary.ratios[system];
      return value === undefined || !Number.isFinite(value) ? '-' : value.toFixed(2);
    };
    output.push([summary.title, summary.unit, ...systems.map(cell), ...others.map(ratio)]);
  }
  return output.toString();
}

export function describeInside(inside: Inside): string {
  const percent = (share: number) => `${(share * 100).toFixed(1)} %`;
  const lines = [
    `Rudder inside, ${inside.seconds} s of one TCP flow each way (both daemons):`,
    `  collections in the worker threads   ${inside.collections}`,
    `  growth of resident memory           ${inside.rssGrowth.toFixed(1)} MB`,
    `  CPU                                 ${inside.cpuSeconds.toFixed(1)} s`,
  ];
  if (inside.shares === undefined)
    lines.push('  where it goes                       not known: install perf (linux-perf)');
  else {
    const { jit, native, kernel } = inside.shares;
    lines.push(
      `  of it in the kernel                 ${percent(kernel)}`,
      `  of it in JavaScript (JIT)           ${percent(jit)}`,
      `  of it in the addon                  ${percent(native)}`,
    );
  }
  return lines.join('\n');
}
