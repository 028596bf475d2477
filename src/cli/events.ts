import { setTimeout as delay } from 'node:timers/promises';
import { messageOf, RudderError } from '../core/errors.js';
import { areaOf, EVENT_KINDS, type NodeEvent } from '../core/event.js';
import { eventFileIn, parseEvent, readEvents } from '../events/event-file.js';
import { explain, tryDaemon } from '../ops/control-client.js';
import { controlSocketOf } from '../ops/http.js';
import { PRIORITY } from '../ops/journal.js';
import { complain } from './complain.js';
import { refuseUntold } from './daemon-status.js';
import { EXIT_OK } from './exit-codes.js';

export interface EventsOptions {
  readonly follow: boolean;
  readonly json: boolean;
  /** In seconds; undefined: all. */
  readonly since: number | undefined;
  /** An area or a kind; undefined: all. */
  readonly kind: string | undefined;
}

/** How long the daemon may keep us waiting for what happens next. */
const WAIT_SECONDS = 15;
const ANSWER_MS = 1000 * (WAIT_SECONDS + 5);
/** Until it is asked again: when it is down, or has had no patience. */
const REST_MS = 1000;

/** `rudder events`: what has happened on this node; with follow also what happens, until it is interrupted. */
export async function events(subnetFile: string, stateDir: string, options: EventsOptions): Promise<number> {
  if (options.follow)
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => process.exit(EXIT_OK));
  const first = await readFirst(controlSocketOf(subnetFile), eventFileIn(stateDir));
  const told = first.filter(filterOf(options));
  if (!options.follow && options.json) print(JSON.stringify(told, null, 2));
  else if (!options.follow && told.length === 0) print('No events.');
  else tell(told, options);
  if (options.follow) await follow(controlSocketOf(subnetFile), first.at(-1)?.id ?? 0, options);
  return EXIT_OK;
}

/** Of the daemon; if there is none, what it has left. */
async function readFirst(socket: string, file: string): Promise<NodeEvent[]> {
  const asked = await tryDaemon(socket, 'GET', '/events');
  if (asked.is === 'answer') return eventsIn(asked.answer.body, socket);
  if (asked.is !== 'absent') throw new RudderError('not-running', explain(socket, asked));
  complain(`no daemon runs: these are of the file that it has left, ${file}`, PRIORITY.warning);
  return readEvents(file).catch((error: unknown) => {
    throw new RudderError('file', `cannot read ${file}: ${messageOf(error)}; run as root, or give --state-dir`);
  });
}

/** @throws RudderError if the daemon has answered something else */
function eventsIn(body: unknown, socket: string): NodeEvent[] {
  refuseUntold(body);
  if (!Array.isArray(body)) {
    throw new RudderError('not-running', `what answers on ${socket} tells no events; restart the daemon`);
  }
  return body.flatMap((value) => parseEvent(value) ?? []);
}

function filterOf({ since, kind }: EventsOptions): (event: NodeEvent) => boolean {
  const earliest = since === undefined ? 0 : Date.now() - 1000 * since;
  const isOfKind = (event: NodeEvent) => kind === undefined || event.kind === kind || areaOf(event.kind) === kind;
  return (event) => isOfKind(event) && Date.parse(event.time) >= earliest;
}

/** Over restarts of the daemon too: events have numbers that go on. */
async function follow(socket: string, seen: number, options: EventsOptions): Promise<never> {
  const isWanted = filterOf(options);
  let last = seen;
  let isDown = false;
  for (;;) {
    const asked = await tryDaemon(socket, 'GET', `/events?after=${last}&wait=${WAIT_SECONDS}`, '', ANSWER_MS);
    const came = asked.is === 'answer' && Array.isArray(asked.answer.body) ? eventsIn(asked.answer.body, socket) : [];
    if (asked.is === 'absent' && !isDown) complain('the daemon is down: waiting for it', PRIORITY.warning);
    isDown = asked.is === 'absent';
    tell(came.filter(isWanted), options);
    last = came.at(-1)?.id ?? last;
    if (came.length === 0) await delay(REST_MS);
  }
}

function tell(events: readonly NodeEvent[], { json }: EventsOptions): void {
  if (events.length > 0) print(events.map((event) => (json ? JSON.stringify(event) : describeEvent(event))).join('\n'));
}

const print = (text: string) => void process.stdout.write(`${text}\n`);

/** `2026-11-27 09:30:00 UTC  peer.silent  n2  peer is silent` */
export function describeEvent({ time, kind, subject, line }: NodeEvent): string {
  return `${time.slice(0, 19).replace('T', ' ')} UTC  ${kind.padEnd(KIND_WIDTH)}  ${(subject ?? '-').padEnd(SUBJECT_WIDTH)}  ${line}`;
}

const KIND_WIDTH = Math.max(...EVENT_KINDS.map(({ length }) => length));
const SUBJECT_WIDTH = 15;
