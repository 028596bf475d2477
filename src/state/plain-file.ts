import { constants, type Stats } from 'node:fs';
import { open } from 'node:fs/promises';
import { errnoOf } from '../core/errors.js';

/** It is something else than a file of no more than so many bytes. */
export class NotPlainError extends Error {}

export interface PlainFile {
  readonly text: string;
  readonly stats: Stats;
}

/**
 * Reads a file that somebody else may have put there, such as root does with what a daemon of fewer rights keeps: no
 * symbolic link is followed to a file that only root may read, no FIFO or device is waited for, no endless file fills the
 * memory. What was looked at is what is read, since both are of one descriptor.
 * @throws NotPlainError that says what it is instead, or what the file system says
 */
export async function readPlainFile(path: string, mostBytes: number): Promise<PlainFile> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK, O_NOCTTY } = constants;
  const file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY).catch((error: unknown) => {
    const what = { ELOOP: 'it is a symbolic link', ENXIO: 'it is a socket or a device' }[errnoOf(error) ?? ''];
    throw what === undefined ? error : new NotPlainError(what, { cause: error });
  });
  try {
    const stats = await file.stat();
    if (!stats.isFile()) throw new NotPlainError('it is not a regular file');
    // Files of /proc say that they have no bytes, and any file may grow meanwhile: so they are read to their end.
    const chunks: Buffer[] = [];
    for (let length = 0; ; ) {
      const { bytesRead, buffer } = await file.read(Buffer.alloc(Math.min(65_536, mostBytes + 1 - length)));
      if (bytesRead === 0) return { text: Buffer.concat(chunks).toString('utf8'), stats };
      chunks.push(buffer.subarray(0, bytesRead));
      length += bytesRead;
      if (length > mostBytes) throw new NotPlainError(`it is larger than ${mostBytes} bytes`);
    }
  } finally {
    await file.close();
  }
}
