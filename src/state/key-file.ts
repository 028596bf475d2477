import { errnoOf, messageOf, RudderError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import { writeFileAtomic } from './atomic-file.js';
import { readPlainFile } from './plain-file.js';

const MOST_BYTES = 4096;

/** A private key that one node has, and how it is written. */
export interface KeyFile<Key> {
  readonly path: string;
  /** Such as `node key`. */
  readonly name: string;
  /** Undefined, or an error: it is none of this kind. */
  parse(text: string): Key | undefined;
  format(key: Key): string;
  make(): Key;
}

/**
 * Made at the first start, for its owner alone, and the same from then on. One that somebody else could have read is no secret
 * any more, and another is made. @throws RudderError `file`
 */
export async function loadKey<Key>(file: KeyFile<Key>, log: Logger): Promise<Key> {
  const { path, name } = file;
  try {
    const { text, stats } = await readPlainFile(path, MOST_BYTES);
    const key = file.parse(text);
    const isOthers = stats.uid !== process.getuid!() && stats.uid !== 0;
    if (isOthers || (stats.mode & 0o077) !== 0) {
      log.warn({ path }, `the ${name} is, or was open to, somebody else, making a new one`);
    } else if (key !== undefined) return key;
    else log.warn({ path }, `the ${name} is of another kind, making a new one`);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') log.warn({ path }, `the ${name} cannot be read, making a new one`);
  }
  return replaceKey(file);
}

/** @throws RudderError `file`; the one before is in the file then */
export async function replaceKey<Key>(file: KeyFile<Key>): Promise<Key> {
  const key = file.make();
  try {
    await writeFileAtomic(file.path, file.format(key), 0o600);
  } catch (error) {
    throw new RudderError(
      'file',
      `cannot write the ${file.name} ${file.path}: ${messageOf(error)}; expected a writable directory, choose another with --state-dir`,
      { cause: error },
    );
  }
  return key;
}
