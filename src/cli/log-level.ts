import { RudderError } from '../core/errors.js';
import { askDaemon } from '../ops/control-client.js';
import { controlSocketOf } from '../ops/http.js';
import { checkLogLevel } from '../ops/logger.js';
import { EXIT_OK } from './exit-codes.js';

/** `rudder log-level LEVEL`. */
export async function logLevel(subnetFile: string, level: string): Promise<number> {
  const { code, body } = await askDaemon(controlSocketOf(subnetFile), 'PUT', '/log-level', checkLogLevel(level));
  if (code === 200) return EXIT_OK;
  throw new RudderError('usage', `the daemon refused: ${JSON.stringify(body)}`);
}
