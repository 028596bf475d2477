import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { errnoOf, messageOf, RudderError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import { writeFileAtomic } from './atomic-file.js';
import { readPlainFile } from './plain-file.js';

const FILE = 'node.key';
const MOST_BYTES = 4096;

/**
 * By which other nodes know that a question is this node's: of X25519, made at the first start. Its public half stands in
 * the lease, which members alone read and write. @throws RudderError `file`
 */
export async function loadNodeKey(directory: string, log: Logger): Promise<KeyObject> {
  const path = join(directory, FILE);
  try {
    const { text, stats } = await readPlainFile(path, MOST_BYTES);
    const key = createPrivateKey(text);
    const isOthers = stats.uid !== process.getuid!() && stats.uid !== 0;
    if (isOthers || (stats.mode & 0o077) !== 0) {
      log.warn({ path }, 'the node key is, or was open to, somebody else, making a new one');
    } else if (key.asymmetricKeyType === 'x25519') return key;
    else log.warn({ path }, 'the node key is of another kind, making a new one');
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') log.warn({ path }, 'the node key cannot be read, making a new one');
  }
  const { privateKey } = generateKeyPairSync('x25519');
  try {
    await writeFileAtomic(path, privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), 0o600);
  } catch (error) {
    throw new RudderError(
      'file',
      `cannot write the node key ${path}: ${messageOf(error)}; expected a writable directory, choose another with --state-dir`,
      { cause: error },
    );
  }
  return privateKey;
}
