import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { chartValues, renderChart, templates, type Values } from '../helpers/chart.js';
import { describeWith } from '../helpers/requires.js';

const pathOf = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const objectsIn = (text: string) => parseAllDocuments(text).map((document) => document.toJS());

/** Helm is in no package of Debian, but what it renders with is Go's. */
async function renderWithGo(change: (values: Values) => void): Promise<string> {
  const values = chartValues();
  change(values.rudder as Values);
  const files = templates().map((name) => pathOf(`../../kubernetes/chart/templates/${name}`));
  const input = JSON.stringify({ Values: values, Release: { Namespace: 'rudder' } });
  const env = { GO111MODULE: 'off', GOFLAGS: '-p=1' };
  return (await execa('go', ['run', pathOf('kubernetes/render.go'), ...files], { input, env })).stdout;
}

describeWith(['go'], 'the chart', () => {
  it.each<Record<string, unknown>>([
    {},
    { backend: 'udp', backendPort: 8286 },
    { vni: 7, mtu: 1400, GBP: true, directRouting: true },
    { skipCNIConfigInstallation: true, privileged: true, nodeSelector: { rudder: 'yes' } },
  ])('with %o is the same by a real Go', async (changes) => {
    const text = await renderWithGo((values) => Object.assign(values, changes));
    const ours = Object.fromEntries(Object.entries(changes).map(([name, value]) => [`rudder.${name}`, value]));
    expect(objectsIn(text)).toEqual(objectsIn(renderChart('rudder', ours)));
  });
});
