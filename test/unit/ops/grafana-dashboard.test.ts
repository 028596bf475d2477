import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { dashboardQueries, dashboardVariables } from '../../helpers/dashboard.js';
import { labelsOf, metricsIn, names } from '../../helpers/exported-metrics.js';

const queries = dashboardQueries();

describe('the Grafana dashboard', () => {
  it.each(queries)('"$panel" asks for metrics that there are: $expression', ({ expression, legend }) => {
    const metrics = metricsIn(expression);
    expect(metrics.length).toBeGreaterThan(0);
    for (const metric of metrics) {
      expect(names, metric).toContain(metric);
      const asked = [...expression.matchAll(/(\w+)=~?"/g), ...legend.matchAll(/\{\{(\w+)\}\}/g)];
      for (const [, label] of asked) expect(labelsOf(metric), `label of ${metric}`).toContain(label);
    }
  });

  it('offers the jobs and nodes that tell rudder_info', () => {
    expect(dashboardVariables()).toEqual(['label_values(rudder_info, job)', 'label_values(rudder_info, instance)']);
    expect(names).toContain('rudder_info');
  });

  it('shows every metric of ours, and docs/metrics.md explains it', () => {
    const shown = new Set(queries.flatMap(({ expression }) => metricsIn(expression)));
    const page = readFileSync('docs/metrics.md', 'utf8');
    for (const name of names) {
      if (!name.startsWith('rudder_')) continue;
      expect(page).toContain(`\`${name}`);
      if (name !== 'rudder_info') expect(shown).toContain(name);
    }
  });
});
