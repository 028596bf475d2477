import { hostname, userInfo } from 'node:os';
import { z } from 'zod';
import { parseNetworkConfig } from '../../backend/config.js';
import { shorten } from '../../core/errors.js';
import type { NetworkConfig } from '../../core/network-config.js';
import { changeLines } from './changes.js';

/** A version of the network config as it is noted in the store: who has written it, when, and in place of what. */
export interface Version {
  readonly at: string;
  readonly host: string;
  readonly user: string;
  /** What was there; null: nothing. */
  readonly before: string | null;
  readonly config: string;
}

/** Anybody may have stored anything in its place, which is not copied. */
const LONGEST_BEFORE = 64 * 1024;

export function noteOf(before: string | undefined, config: string): string {
  const kept = before === undefined || before.length > LONGEST_BEFORE ? null : before;
  const version: Version = { at: new Date().toISOString(), host: hostname(), user: userName(), before: kept, config };
  return JSON.stringify(version);
}

/** Behind sudo everybody is root. */
function userName(): string {
  const { SUDO_USER } = process.env;
  const name = accountName();
  return SUDO_USER && name === 'root' ? `${SUDO_USER} (sudo)` : name;
}

function accountName(): string {
  try {
    return userInfo().username;
  } catch {
    // A user without an entry in passwd, as in a container.
    return `uid ${process.getuid?.()}`;
  }
}

const shape = z.object({
  at: z.iso.datetime(),
  host: z.string(),
  user: z.string(),
  before: z.string().nullable(),
  config: z.string(),
});

/** Undefined: it is none that Rudder wrote. */
export function parseNote(note: string): Version | undefined {
  try {
    const { host, user, ...version } = shape.parse(JSON.parse(note));
    return { ...version, host: shorten(host, 80), user: shorten(user, 80) };
  } catch {
    return undefined;
  }
}

/** What a version has changed, a text each. */
export function changesIn({ before, config }: Version, showsSecrets: boolean): string[] {
  const after = meaningOf(config);
  if (after === undefined) return ['what is no valid config'];
  const earlier = before === null ? undefined : meaningOf(before);
  const lines = changeLines(earlier, after, showsSecrets);
  if (before === null) return ['created', ...lines];
  if (earlier === undefined) return ['in place of what was no valid config', ...lines];
  return lines.length === 0 ? ['written in another way'] : lines;
}

function meaningOf(json: string): NetworkConfig | undefined {
  try {
    return parseNetworkConfig(json);
  } catch {
    return undefined;
  }
}
