import { readdirSync, readFileSync } from 'node:fs';
import { parse, stringify } from 'yaml';

/**
 * Helm's part in the chart: Go's templates, as far as the chart uses them, which is little on purpose. A real Go renders
 * the same in test/machines.
 */

const CHART = new URL('../../kubernetes/chart/', import.meta.url);

export type Values = Record<string, unknown>;

export const chartFile = (name: string): string => readFileSync(new URL(name, CHART), 'utf8');
export const chartValues = (): Values => parse(chartFile('values.yaml')) as Values;
export const templates = (): string[] => readdirSync(new URL('templates', CHART)).sort();

/** The objects of the chart as one text. @param changes of values, by their path: `rudder.backend` */
export function renderChart(namespace: string, changes: Record<string, unknown> = {}): string {
  const values = chartValues();
  for (const [path, value] of Object.entries(changes)) {
    const names = path.split('.');
    const place = names.slice(0, -1).reduce((at, name) => at[name] as Values, values);
    if (!(names.at(-1)! in place)) throw new Error(`the chart has no value ${path}`);
    place[names.at(-1)!] = value;
  }
  const root = { Values: values, Release: { Namespace: namespace } };
  return templates()
    .map((name) => render(chartFile(`templates/${name}`), root))
    .join('---\n');
}

/** An action, or text between two of them. */
type Token = { readonly text: string } | { readonly action: string };

export function render(template: string, root: unknown): string {
  const tokens = tokensOf(template);
  let at = 0;

  /** Up to the `else` or `end` that belongs here. */
  function block(dot: unknown, isTaken: boolean): { text: string; ends: string } {
    let text = '';
    for (; at < tokens.length; at++) {
      const token = tokens[at];
      if ('text' in token) {
        if (isTaken) text += token.text;
        continue;
      }
      const [word, ...rest] = token.action.split(' ');
      if (word === 'else' || word === 'end') return { text, ends: word };
      if (word === 'if' || word === 'with') text += branches(word, rest.join(' '), dot, isTaken);
      else if (isTaken) text += String(evaluate(token.action, dot));
    }
    return { text, ends: '' };
  }

  function branches(word: string, condition: string, dot: unknown, isTaken: boolean): string {
    const value = isTaken ? evaluate(condition, dot) : undefined;
    const holds = isTaken && isTrue(value);
    at++;
    const first = block(word === 'with' && holds ? value : dot, holds);
    if (first.ends !== 'else') return first.text;
    at++;
    return first.text + block(dot, isTaken && !holds).text;
  }

  return block(root, true).text;
}

/** `{{-` eats the blanks before it and `-}}` those behind it. */
function tokensOf(template: string): Token[] {
  const tokens: Token[] = [];
  let rest = template;
  for (;;) {
    const match = /(\s*\{\{-|\{\{)\s*(.*?)\s*(-\}\}\s*|\}\})/s.exec(rest);
    if (match === null) return [...tokens, { text: rest }];
    tokens.push({ text: rest.slice(0, match.index) }, { action: match[2] });
    rest = rest.slice(match.index + match[0].length);
  }
}

const isTrue = (value: unknown): boolean =>
  Array.isArray(value)
    ? value.length > 0
    : typeof value === 'object' && value !== null
      ? Object.keys(value).length > 0
      : Boolean(value);

const FUNCTIONS: Record<string, (...values: never[]) => unknown> = {
  eq: (a: unknown, b: unknown) => a === b,
  or: (...values: unknown[]) => values.find(isTrue) ?? values.at(-1),
  not: (value: unknown) => !isTrue(value),
  toYaml: (value: unknown) => stringify(value, { sortMapEntries: true, version: '1.1' }).trimEnd(),
  nindent: (columns: number, text: string) => `\n${text.replace(/^/gm, ' '.repeat(columns))}`,
};

/** A pipeline: what stands before a bar is the last argument of what stands behind it. */
function evaluate(pipeline: string, dot: unknown): unknown {
  const words = pipeline.match(/"[^"]*"|[()|]|[^\s()|]+/g) ?? [];
  let at = 0;

  function operand(): unknown {
    const word = words[at++];
    if (word === '(') {
      const value = pipe();
      at++;
      return value;
    }
    if (word.startsWith('"')) return word.slice(1, -1);
    if (/^\d+$/.test(word)) return Number(word);
    if (!word.startsWith('.')) throw new Error(`the templates of this test know nothing of ${word}`);
    return word
      .split('.')
      .filter(Boolean)
      .reduce((value, name) => (value as Values)[name], dot);
  }

  function call(piped: unknown[]): unknown {
    const name = words[at];
    if (!(name in FUNCTIONS)) return operand();
    at++;
    const values: unknown[] = [];
    while (at < words.length && words[at] !== '|' && words[at] !== ')') values.push(operand());
    return FUNCTIONS[name](...([...values, ...piped] as never[]));
  }

  function pipe(): unknown {
    let value = call([]);
    while (words[at] === '|') {
      at++;
      value = call([value]);
    }
    return value;
  }

  return pipe();
}
