import { readFileSync } from 'node:fs';

export const ALERT_RULES = 'docs/rudder-alerts.yml';

export interface AlertRule {
  readonly alert: string;
  readonly expr: string;
  readonly for: string;
  readonly severity: string;
  readonly summary: string;
  readonly remedy: string;
  readonly page: string;
}

/** The rules of docs/rudder-alerts.yml, each value of which stands on one line. */
export function alertRules(): AlertRule[] {
  const [, ...rules] = readFileSync(ALERT_RULES, 'utf8').split(/^ {6}- (?=alert: )/m);
  return rules.map((rule) => {
    const values = [...rule.matchAll(/^ *(\w+): (.+)$/gm)].map(([, key, value]) => [key, value.replace(/^"|"$/g, '')]);
    return Object.fromEntries(values) as AlertRule;
  });
}
