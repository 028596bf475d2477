import { z } from 'zod';
import { summarySchema } from '../cluster/summary.js';
import { nameOf, type Survey } from '../cluster/survey.js';
import { type Way, waysOf } from '../cluster/ways.js';
import { counted } from '../core/counted.js';
import { askDaemon } from '../ops/control-client.js';
import { controlSocketOf } from '../ops/http.js';
import { refuseUntold } from './daemon-status.js';
import { EXIT_CODES, EXIT_OK } from './exit-codes.js';
import { printable } from './printable.js';

/** `rudder connectivity test`: every way between two nodes, in both directions, as the nodes themselves have seen it. */
export async function testConnectivity(subnetFile: string, json: boolean): Promise<number> {
  const survey = await askSurvey(subnetFile);
  const ways = waysOf(survey);
  process.stdout.write(json ? `${JSON.stringify(toJson(survey, ways), null, 2)}\n` : `${describeWays(survey, ways)}\n`);
  return ways.every(({ state }) => state === 'ok') ? EXIT_OK : EXIT_CODES['not-ready'];
}

const text = z.string();
const surveySchema = z.object({
  nodes: z.array(
    z.object({
      host: text.nullable(),
      subnet: text,
      address: text,
      summary: summarySchema.nullable(),
      problem: text.nullable(),
    }),
  ),
  leftOut: z.number(),
});

/** How all nodes see each other, by the daemon of this host. @throws RudderError as askNode() */
export async function askSurvey(subnetFile: string): Promise<Survey> {
  const body = printable((await askDaemon(controlSocketOf(subnetFile), 'GET', '/survey', '', SURVEY_MS)).body);
  refuseUntold(body);
  return surveySchema.parse(body);
}

/** Thousands of nodes are asked, some of which do not answer. */
const SURVEY_MS = 25_000;

function toJson({ nodes, leftOut }: Survey, ways: readonly Way[]) {
  return {
    leftOut,
    nodes: nodes.map(({ host, subnet, address, summary, problem }) => ({
      host,
      subnet,
      address,
      asked: summary !== null,
      problem,
      ready: summary?.ready ?? null,
      version: summary?.version ?? null,
    })),
    ways: ways.map(({ from, to, state, detail }) => ({
      from: nameOf(from),
      fromSubnet: from.subnet,
      to: nameOf(to),
      toSubnet: to.subnet,
      state,
      detail,
    })),
  };
}

/** Beyond that a table of failures is no help. */
const MOST_LINES = 50;

export function describeWays({ nodes, leftOut }: Survey, ways: readonly Way[]): string {
  const bad = ways.filter(({ state }) => state !== 'ok');
  const number = (state: Way['state']) => ways.filter((way) => way.state === state).length;
  const counts = [`${number('ok')} ok`];
  if (number('failed') > 0) counts.push(`${number('failed')} failed`);
  if (number('unknown') > 0) counts.push(`${number('unknown')} not known`);
  const told = bad.map(({ from, to, state, detail }) => {
    const what = state === 'unknown' ? `${detail}; not known which way` : detail;
    return `${nameOf(from)} -> ${nameOf(to)} (${what})`;
  });
  const all = `${counted(ways.length, 'way')}: ${counts.join(', ')}`;
  const lines = told.length === 1 ? [`${all}: ${told[0]}`] : [all, ...told.slice(0, MOST_LINES)];
  if (told.length > MOST_LINES) lines.push(`and ${told.length - MOST_LINES} more`);
  const silent = nodes.filter(({ summary }) => summary === null);
  for (const node of silent.slice(0, MOST_LINES)) lines.push(`not asked: ${nameOf(node)} (${node.problem})`);
  const unready = nodes.filter(({ summary }) => summary?.ready === false);
  for (const node of unready.slice(0, MOST_LINES)) lines.push(`not ready: ${nameOf(node)}; see "rudder status" there`);
  if (leftOut > 0) lines.push(`left out: ${counted(leftOut, 'node')}, as ${nodes.length} are all that are looked at`);
  return lines.join('\n');
}
