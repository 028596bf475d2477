import { median, type Summary } from './report.js';
import { type Sample, sweepMeasure } from './rounds.js';
import type { System } from './systems.js';

/** The charts show what users ask first; the rest is in the table. */
const THROUGHPUT = [
  'tcp1 host whole',
  'tcp1 container whole',
  'tcp1 host segmented',
  'tcp1 container segmented',
  'tcp8',
  'tcp8 both ways',
];

/** One picture as SVG text. The drawing library is loaded only here: nothing else needs it. */
async function draw(option: object): Promise<string> {
  const echarts = await import('echarts');
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: 900, height: 460 });
  chart.setOption({ backgroundColor: '#ffffff', legend: { bottom: 0 }, animation: false, ...option });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}

/** TCP throughput of each system. */
export function drawThroughput(summaries: readonly Summary[], systems: readonly System[]): Promise<string> {
  const shown = summaries.filter(({ measure }) => THROUGHPUT.includes(measure));
  return draw({
    title: { text: 'TCP throughput, median (Gbit/s)', left: 'center' },
    grid: { left: 50, right: 20, top: 50, bottom: 90 },
    xAxis: {
      type: 'category',
      data: shown.map(({ title }) => title),
      axisLabel: { interval: 0, width: 130, overflow: 'break' },
    },
    yAxis: { type: 'value' },
    series: systems.map((system) => ({
      name: system,
      type: 'bar',
      data: shown.map((summary) => Number(summary.systems[system]!.median.toFixed(2))),
      label: { show: true, position: 'top', fontSize: 9 },
    })),
  });
}

/** Small UDP packets: delivered rate over offered rate. A livelock would show as a curve that falls. */
export function drawSweep(
  samples: readonly Sample[],
  systems: readonly System[],
  multiples: readonly number[],
): Promise<string> {
  const middle = (system: System, measure: string) =>
    median(samples.filter((s) => s.system === system && s.measure === measure).map(({ value }) => value)) / 1e3;
  return draw({
    title: { text: 'UDP, 64 B payload: delivered over offered (kpps), medians', left: 'center' },
    grid: { left: 60, right: 30, top: 50, bottom: 80 },
    xAxis: { type: 'value', name: 'offered', nameLocation: 'middle', nameGap: 28 },
    yAxis: { type: 'value', name: 'delivered' },
    series: systems.map((system) => ({
      name: system,
      type: 'line',
      data: multiples
        .map((multiple) =>
          (['offered', 'delivered'] as const).map((which) => Math.round(middle(system, sweepMeasure(multiple, which)))),
        )
        .sort(([a], [b]) => a - b),
    })),
  });
}
