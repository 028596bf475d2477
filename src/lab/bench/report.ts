import Table from 'cli-table3';
import type { Sample } from './rounds.js';
import { SYSTEMS, type System } from './systems.js';

/** What each measure is called, its unit, and whether its ratio to VXLAN says something. */
const MEASURES: Record<string, { title: string; unit: string; scale: number; digits: number }> = {
  'tcp1 host whole': { title: 'TCP 1 flow, host to host', unit: 'Gbit/s', scale: 1e9, digits: 2 },
  'tcp1 container whole': { title: 'TCP 1 flow, container to container', unit: 'Gbit/s', scale: 1e9, digits: 2 },
  'tcp1 host segmented': { title: 'same, host to host, segmented underlay', unit: 'Gbit/s', scale: 1e9, digits: 2 },
  'tcp1 container segmented': { title: 'same, containers, segmented underlay', unit: 'Gbit/s', scale: 1e9, digits: 2 },
  tcp8: { title: 'TCP 8 flows', unit: 'Gbit/s', scale: 1e9, digits: 2 },
  'tcp8 both ways': { title: 'TCP 8 flows each way at once, sum', unit: 'Gbit/s', scale: 1e9, digits: 2 },
  'slowest of 8': { title: 'slowest of those flows, of an equal share', unit: '', scale: 1, digits: 2 },
  'udp64 best': { title: 'UDP 64 B, best delivered rate', unit: 'kpps', scale: 1e3, digits: 0 },
  'udp64 at 3x': { title: 'UDP 64 B, kept at 3 times the best rate', unit: '', scale: 1, digits: 2 },
  'udp full size': { title: 'UDP 1400 B, delivered', unit: 'kpps', scale: 1e3, digits: 0 },
  'latency p50': { title: 'TCP request-response, idle, p50', unit: 'us', scale: 1, digits: 0 },
  'latency p99': { title: 'TCP request-response, idle, p99', unit: 'us', scale: 1, digits: 0 },
  'latency p50 under load': { title: 'same beside a full TCP flow, p50', unit: 'us', scale: 1, digits: 0 },
  'latency p99 under load': { title: 'same beside a full TCP flow, p99', unit: 'us', scale: 1, digits: 0 },
  'cpu per GB': { title: 'CPU of both daemons per gigabyte', unit: 's', scale: 1, digits: 2 },
};

export interface Summary {
  readonly measure: string;
  readonly title: string;
  readonly unit: string;
  readonly systems: Record<System, { median: number; min: number; max: number }>;
  /** Medians of the ratios within each round. */
  readonly toVxlan: number;
  readonly toVeth: number;
  readonly toPlain: number;
}

export function summarise(samples: readonly Sample[]): Summary[] {
  return Object.entries(MEASURES).map(([measure, { title, unit, scale }]) => {
    const of = (system: System) => samples.filter((sample) => sample.measure === measure && sample.system === system);
    const values = (system: System) => of(system).map((sample) => sample.value / scale);
    const ratio = (base: System) =>
      median(
        of('rudder').flatMap((sample) =>
          of(base)
            .filter(({ round }) => round === sample.round)
            .map(({ value }) => sample.value / value),
        ),
      );
    const systems = Object.fromEntries(
      SYSTEMS.map((system) => [
        system,
        { median: median(values(system)), min: Math.min(...values(system)), max: Math.max(...values(system)) },
      ]),
    ) as Summary['systems'];
    return { measure, title, unit, systems, toVxlan: ratio('vxlan'), toVeth: ratio('veth'), toPlain: ratio('plain') };
  });
}

export function table(summaries: readonly Summary[]): string {
  const head = ['', 'unit', ...SYSTEMS, 'rudder/vxlan', 'rudder/veth', 'rudder/plain'];
  const output = new Table({ head, style: { head: [], border: [], compact: true } });
  for (const summary of summaries) {
    const { digits } = MEASURES[summary.measure];
    const cell = (system: System) => {
      const { median: middle, min, max } = summary.systems[system];
      return Number.isFinite(middle) ? `${middle.toFixed(digits)}\n${min.toFixed(digits)}-${max.toFixed(digits)}` : '-';
    };
    const ratios = [summary.toVxlan, summary.toVeth, summary.toPlain].map((value) =>
      Number.isFinite(value) ? value.toFixed(2) : '-',
    );
    output.push([summary.title, summary.unit, ...SYSTEMS.map(cell), ...ratios]);
  }
  return output.toString();
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
