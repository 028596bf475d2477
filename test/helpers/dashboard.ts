import { readFileSync } from 'node:fs';

interface Dashboard {
  readonly panels: readonly { title: string; targets: readonly { expr: string; legendFormat: string }[] }[];
  readonly templating: { list: readonly { type: string; definition: string }[] };
}

const dashboard = JSON.parse(readFileSync('docs/grafana-dashboard.json', 'utf8')) as Dashboard;

/** What the panels of docs/grafana-dashboard.json ask Prometheus for. */
export function dashboardQueries(): { panel: string; expression: string; legend: string }[] {
  return dashboard.panels.flatMap(({ title, targets }) =>
    targets.map(({ expr, legendFormat }) => ({ panel: title, expression: expr, legend: legendFormat })),
  );
}

/** The queries that fill its variables. */
export function dashboardVariables(): string[] {
  return dashboard.templating.list.filter(({ type }) => type === 'query').map(({ definition }) => definition);
}
