import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { alertRules } from '../../helpers/alert-rules.js';
import { labelsOf, metricsIn, names } from '../../helpers/exported-metrics.js';
import { anchorsOf } from '../../helpers/markdown.js';

const rules = alertRules();

describe('the alert rules', () => {
  it('are some, each of another name', () => {
    expect(rules.length).toBeGreaterThan(10);
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
  });

  it.each(rules)('$alert asks for metrics and labels that there are', ({ alert, expr }) => {
    const metrics = metricsIn(expr);
    expect(metrics.length).toBeGreaterThan(0);
    for (const metric of metrics) {
      if (alert === 'RudderDown')
        expect(metric).toBe('up'); // which Prometheus makes itself
      else expect(names).toContain(metric);
    }
    for (const [, label] of expr.matchAll(/(\w+)[=!]~?"/g)) {
      if (alert !== 'RudderDown') expect(metrics.some((metric) => labelsOf(metric).has(label))).toBe(true);
    }
  });

  it.each(rules)('$alert says how long, how bad, what and what to do', ({ expr, summary, remedy, page, ...rule }) => {
    expect(rule.for).toMatch(/^\d+m$/);
    expect(rule.severity).toMatch(/^(warning|critical)$/);
    expect(summary).toContain('{{ $labels.instance }}');
    const labels = new Set(['instance', ...metricsIn(expr).flatMap((metric) => [...labelsOf(metric)])]);
    for (const [, label] of `${summary} ${remedy}`.matchAll(/\$labels\.(\w+)/g)) expect(labels).toContain(label);
    const [file, anchor] = page.split('#');
    expect(anchorsOf(readFileSync(`docs/${file}`, 'utf8'))).toContain(anchor);
  });

  it('are all in docs/metrics.md', () => {
    const page = readFileSync('docs/metrics.md', 'utf8');
    for (const { alert } of rules) expect(page).toContain(`| \`${alert}\``);
  });
});
