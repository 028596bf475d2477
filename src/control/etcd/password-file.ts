import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { messageOf, RudderError, shorten } from '../../core/errors.js';

/** bcrypt, by which etcd keeps passwords, looks at 72 bytes. */
const LONGEST_FILE = 4096;
const GROUP_READS = 0o040;
const OTHERS_READ = 0o004;

/**
 * A password from a file: its text without the newline at its end. A file that others may read than its owner,
 * root's group and our own (the unit's user reads a file of root's by that) holds no secret, and is refused.
 * @throws RudderError `file`
 */
export function readPasswordFile(path: string): string {
  let text: string;
  try {
    // Not blocking: somebody may have put a pipe there. One descriptor for look and read: what was looked at is read.
    const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const { mode, gid, size } = fstatSync(file);
      const readable =
        (mode & OTHERS_READ) !== 0 || ((mode & GROUP_READS) !== 0 && gid !== 0 && gid !== process.getgid?.());
      if (readable)
        throw refusal(
          path,
          'may be read by others',
          'a file for its owner alone, or for our group too; chmod 600 or 640',
        );
      if ((mode & constants.S_IFMT) !== constants.S_IFREG || size > LONGEST_FILE) {
        throw refusal(path, 'is no password', `a file of at most ${LONGEST_FILE} bytes`);
      }
      text = readFileSync(file, 'utf8').replace(/\r?\n$/, '');
    } finally {
      closeSync(file);
    }
  } catch (error) {
    if (error instanceof RudderError) throw error;
    throw refusal(path, `cannot be read: ${messageOf(error)}`, 'a readable file', error);
  }
  if (text === '') throw refusal(path, 'is empty', 'the password in one line');
  // The text itself is never told.
  if (/[\r\n\0]/.test(text)) throw refusal(path, 'has more than one line', 'the password in one line');
  return text;
}

function refusal(path: string, problem: string, expected: string, cause?: unknown): RudderError {
  return new RudderError('file', `--etcd-password-file ${shorten(path, 200)} ${problem}: expected ${expected}`, {
    cause,
  });
}
