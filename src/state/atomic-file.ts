import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf } from '../core/errors.js';

/**
 * Writes a file so that a reader, or a crash at any moment, sees either the old text or the new one, never a part:
 * a temporary file beside it, fsync, rename. The directory is created if missing.
 *
 * Others may be able to write to the directory too. So the temporary file is made and never found: nobody can guess its
 * name, and what has that name nevertheless is neither followed nor opened nor removed. A link with the name of the file
 * itself is replaced, and what it leads to stays as it is.
 * @param text in pieces, where it is large: each is asked for when the one before is written
 */
export async function writeFileAtomic(path: string, text: string | Iterable<string>, mode: number): Promise<void> {
  await makeDirectory(dirname(path));
  const temporary = `${path}.${randomBytes(8).toString('hex')}.tmp`;
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const file = await open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
  try {
    try {
      await file.chmod(mode); // what open() sets is cut down by the umask
      for (const piece of typeof text === 'string' ? [text] : text) await file.writeFile(piece);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
}

/** mkdir -p. Node's own `recursive` never returns below /proc, where a missing parent cannot be made (ENOENT for ever). */
export async function makeDirectory(path: string): Promise<void> {
  const make = () =>
    mkdir(path).catch((error: unknown) => {
      if (errnoOf(error) !== 'EEXIST') throw error;
    });
  try {
    await make();
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT' || path === dirname(path)) throw error;
    await makeDirectory(dirname(path));
    await make();
  }
}
