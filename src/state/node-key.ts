import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import type { Logger } from '../core/logger.js';
import { type KeyFile, loadKey } from './key-file.js';

/**
 * By which other nodes know that a question is this node's: of X25519, made at the first start. Its public half stands in
 * the lease, which members alone read and write. @throws RudderError `file`
 */
export const loadNodeKey = (directory: string, log: Logger): Promise<KeyObject> => loadKey(nodeKeyIn(directory), log);

const nodeKeyIn = (directory: string): KeyFile<KeyObject> => ({
  path: join(directory, 'node.key'),
  name: 'node key',
  parse(text) {
    const key = createPrivateKey(text);
    return key.asymmetricKeyType === 'x25519' ? key : undefined;
  },
  format: (key) => key.export({ type: 'pkcs8', format: 'pem' }).toString(),
  make: () => generateKeyPairSync('x25519').privateKey,
});
