import { z } from 'zod';
import { RudderError } from '../core/errors.js';
import { askDaemon } from '../ops/control-client.js';
import { controlSocketOf } from '../ops/http.js';
import { EXIT_OK } from './exit-codes.js';
import { printable } from './printable.js';

const rotated = z.object({ publicKey: z.string(), stateDir: z.string() });
const refused = z.object({ error: z.string() });

/** `rudder keys rotate`: the running node has another key from then on. */
export async function rotateKeys(subnetFile: string): Promise<number> {
  const answer = await askDaemon(controlSocketOf(subnetFile), 'PUT', '/keys/rotate', '');
  const body = printable(answer.body);
  const { data } = rotated.safeParse(body);
  if (answer.code === 200 && data !== undefined) {
    process.stdout.write(`The public key is ${data.publicKey} now, the private one is in ${data.stateDir}.\n`);
    return EXIT_OK;
  }
  throw new RudderError('usage', refused.safeParse(body).data?.error ?? `the daemon refused: ${JSON.stringify(body)}`);
}
