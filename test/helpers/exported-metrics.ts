import { createMetrics } from '../../src/ops/metrics.js';
import { createStatus } from './status.js';

const exported = await createMetrics().text(createStatus());
/** Of all metrics that there are. */
export const names = new Set([...exported.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name));
/** Of each series that /metrics has: its labels, with those that Prometheus adds to what it scrapes. */
export const labelsOf = (metric: string) =>
  new Set(
    [...exported.matchAll(new RegExp(`^${metric}(?:_bucket|_sum|_count)?(?:\\{(.*)\\})? `, 'gm'))]
      .flatMap(([, labels = '']) => [...labels.matchAll(/(\w+)="/g)].map(([, label]) => label))
      .concat('job', 'instance'),
  );

/** The metrics that a query reads: the words that are neither a function nor within brackets. */
export function metricsIn(expression: string): string[] {
  const bare = expression.replace(/\{[^}]*\}|\[[^\]]*\]|\b(?:by|without) \([^)]*\)/g, '');
  const words = [...bare.matchAll(/[a-z_][a-z0-9_]*(?![a-z0-9_]|\s*\()/g)].map(([name]) => name);
  // A histogram has its series, and one type.
  return words.map((word) => (names.has(word) ? word : word.replace(/_(bucket|sum|count)$/, '')));
}
