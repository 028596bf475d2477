import { join } from 'node:path';
import { z } from 'zod';
import { errnoOf } from '../core/errors.js';
import { EVENT_KINDS, type NodeEvent } from '../core/event.js';
import { writeFileAtomic } from '../state/atomic-file.js';
import { readPlainFile } from '../state/plain-file.js';
import { bounded } from './event-text.js';

export const eventFileIn = (stateDirectory: string): string => join(stateDirectory, 'events.jsonl');

/** Several times what all events that are kept can take. */
const MOST_BYTES = 16 * 1024 * 1024;

const shape = z.object({
  // So that the next ones are numbers that can be told from it.
  id: z
    .int()
    .min(1)
    .max(Number.MAX_SAFE_INTEGER / 2),
  time: z.iso.datetime(),
  kind: z.enum(EVENT_KINDS),
  subject: z.string().nullable(),
  line: z.string(),
  fields: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])),
});

/** Undefined: it is no event. */
export function parseEvent(value: unknown): NodeEvent | undefined {
  const { data } = shape.safeParse(value);
  return data && bounded(data);
}

/**
 * A line that is no event is left out: it may be torn, or anybody's. None if there is no file.
 * @throws NotPlainError or what the file system says
 */
export async function readEvents(path: string): Promise<NodeEvent[]> {
  try {
    const { text } = await readPlainFile(path, MOST_BYTES);
    return text.split('\n').flatMap((line) => parseLine(line) ?? []);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

function parseLine(line: string): NodeEvent | undefined {
  try {
    return parseEvent(JSON.parse(line));
  } catch {
    return undefined;
  }
}

/** @returns how many bytes that are */
export async function writeEvents(path: string, events: readonly NodeEvent[]): Promise<number> {
  const text = events.map((event) => `${JSON.stringify(event)}\n`).join('');
  await writeFileAtomic(path, text, 0o600);
  return Buffer.byteLength(text);
}
