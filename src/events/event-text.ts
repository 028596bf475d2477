import { shorten } from '../core/errors.js';
import type { EventField, EventKind, NodeEvent } from '../core/event.js';

const LONGEST_LINE = 400;
const LONGEST_NAME = 80;
const LONGEST_VALUE = 200;
const MOST_FIELDS = 12;

/** Whom an event concerns: the first of these fields that it has. */
const SUBJECTS = ['host', 'subnet', 'interface', 'device'];
/** Fields that say in words what has happened. */
const WORDS = ['reason', 'detail', 'found', 'problem'];

/** Of what the log is told: names come from other nodes, and reasons from whoever answers. */
export function eventOf(kind: EventKind, message: string, told: object): Omit<NodeEvent, 'id'> {
  const fields = boundedFields(told);
  const subject = SUBJECTS.find((name) => typeof fields[name] === 'string');
  return bounded({
    time: new Date().toISOString(),
    kind,
    subject: subject === undefined ? null : String(fields[subject]),
    line: lineOf(message, fields, subject),
    fields,
  });
}

function lineOf(message: string, fields: NodeEvent['fields'], subject: string | undefined): string {
  const words = WORDS.find((name) => typeof fields[name] === 'string');
  if (words !== undefined) return `${message}: ${fields[words]}`;
  const others = Object.entries(fields).filter(([name]) => name !== subject);
  if (others.length === 0) return message;
  return `${message} (${others.map(([name, value]) => `${name} ${value}`).join(', ')})`;
}

/** The same on lines of bounded length without control characters, whoever has written it. */
export function bounded<T extends Omit<NodeEvent, 'id'>>(event: T): T {
  return {
    ...event,
    subject: event.subject === null ? null : shorten(event.subject, LONGEST_NAME),
    line: shorten(event.line, LONGEST_LINE),
    fields: boundedFields(event.fields),
  };
}

function boundedFields(fields: object): Record<string, EventField> {
  const kept: [string, EventField][] = [];
  for (const [name, value] of Object.entries(fields)) {
    // A count of lines that the log has left out is worth nothing where there are none.
    if (!isField(value) || (name === 'suppressed' && value === 0)) continue;
    kept.push([shorten(name, LONGEST_NAME), typeof value === 'string' ? shorten(value, LONGEST_VALUE) : value]);
    if (kept.length === MOST_FIELDS) break;
  }
  return Object.fromEntries(kept);
}

const isField = (value: unknown): value is EventField =>
  value === null || ['string', 'number', 'boolean'].includes(typeof value);
