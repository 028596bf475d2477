import { join } from 'node:path';
import { z } from 'zod';
import { errnoOf, messageOf } from '../../core/errors.js';
import type { Logger } from '../../core/logger.js';
import { createRepeatLimit } from '../../core/rate-limit.js';
import { writeFileAtomic } from '../../state/atomic-file.js';
import { readPlainFile } from '../../state/plain-file.js';

/** What a start has to know of the run before it; nothing of a session itself, so that no nonce can be used twice. */
export interface SessionMemory {
  /** The last timestamp of an initiation: a clock that says less has gone back. */
  readonly timestampMs: number | undefined;
  /** Public keys of those with whom there was a session: they are the first to be spoken to. */
  readonly peers: readonly string[];
}

const MOST_BYTES = 8 * 1024 * 1024;
const stored = z.object({ timestampMs: z.int().min(0), peers: z.array(z.string().max(44)).max(65_536) });
const NOTHING: SessionMemory = { timestampMs: undefined, peers: [] };

const pathIn = (stateDir: string) => join(stateDir, 'wireguard-sessions.json');

export async function loadSessionMemory(stateDir: string, log: Logger): Promise<SessionMemory> {
  const path = pathIn(stateDir);
  try {
    const { text } = await readPlainFile(path, MOST_BYTES);
    return stored.parse(JSON.parse(text));
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') {
      log.warn({ path }, 'what is known of former sessions cannot be read: they begin anew when packets come');
    }
    return NOTHING;
  }
}

/** @returns keeps what there is, if it is another than what was kept last; a failure is told and tried again with the next */
export function createSessionKeeper(stateDir: string, log: Logger): (memory: SessionMemory) => Promise<void> {
  const limit = createRepeatLimit();
  let kept = '';
  return async ({ timestampMs = 0, peers }) => {
    const text = `${JSON.stringify({ timestampMs, peers })}\n`;
    if (text === kept) return;
    try {
      await writeFileAtomic(pathIn(stateDir), text, 0o600);
      kept = text;
    } catch (error) {
      const reason = messageOf(error);
      limit((suppressed) =>
        log.warn({ reason, suppressed }, 'what is known of sessions cannot be kept for the next start'),
      );
    }
  };
}
