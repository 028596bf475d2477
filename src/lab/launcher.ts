import { existsSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The command in a checkout; an installed rudder has none, and is found by its name. */
const LAUNCHER = fileURLToPath(new URL('../../rudder', import.meta.url));

/** How a person calls rudder from here. */
export function rudderName(): string {
  if (!existsSync(LAUNCHER)) return 'rudder';
  const path = relative(process.cwd(), LAUNCHER);
  return path.startsWith('..') ? LAUNCHER : `./${path}`;
}

/** A PATH on which `rudder` is found. */
export function pathWithRudder(path = process.env.PATH ?? ''): string {
  return existsSync(LAUNCHER) ? `${dirname(LAUNCHER)}:${path}` : path;
}
