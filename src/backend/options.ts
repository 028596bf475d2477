import type { z } from 'zod';
import { type BackendConfig, checked } from '../core/network-config.js';

/**
 * Options of a backend by its schema, whose keys are in lower case.
 * @param names of the options, as they are written
 * @throws RudderError `network-config` naming the option
 */
export function parseOptions<T>(schema: z.ZodType<T>, { options }: BackendConfig, names: readonly string[]): T {
  return checked(schema, options, names, 'Backend.', JSON.stringify(options));
}
