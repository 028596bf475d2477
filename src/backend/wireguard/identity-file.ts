import { join } from 'node:path';
import type { KeyFile } from '../../state/key-file.js';
import { generateIdentity, type Identity, identityOf, parseKeyText, privateKeyText } from './protocol/keys.js';

/** The node's key, as `wg genkey` writes one: its public half stands in the lease. */
export const identityFileIn = (stateDir: string): KeyFile<Identity> => ({
  path: join(stateDir, 'wireguard.key'),
  name: 'WireGuard key',
  parse(text) {
    const bytes = parseKeyText(text.replace(/\n$/, ''));
    const identity = bytes && identityOf(bytes);
    bytes?.fill(0);
    return identity;
  },
  format: (identity) => `${privateKeyText(identity)}\n`,
  make: () => generateIdentity(),
});
