import type { Summary } from './report.js';
import { SYSTEMS } from './systems.js';

/** The chart shows what users ask first; the rest is in the table. */
const CHARTED = [
  'tcp1 host whole',
  'tcp1 container whole',
  'tcp1 host segmented',
  'tcp1 container segmented',
  'tcp8',
  'tcp8 both ways',
];

/** Throughput of each system as an SVG. The drawing library is loaded only here: nothing else needs it. */
export async function drawChart(summaries: readonly Summary[]): Promise<string> {
  const echarts = await import('echarts');
  const shown = summaries.filter(({ measure }) => CHARTED.includes(measure));
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: 900, height: 460 });
  chart.setOption({
    title: { text: 'TCP throughput, median (Gbit/s)', left: 'center' },
    backgroundColor: '#ffffff',
    legend: { bottom: 0 },
    grid: { left: 50, right: 20, top: 50, bottom: 90 },
    xAxis: {
      type: 'category',
      data: shown.map(({ title }) => title),
      axisLabel: { interval: 0, width: 130, overflow: 'break' },
    },
    yAxis: { type: 'value' },
    series: SYSTEMS.map((system) => ({
      name: system,
      type: 'bar',
      data: shown.map(({ systems }) => Number(systems[system].median.toFixed(2))),
      label: { show: true, position: 'top', fontSize: 9 },
    })),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}
