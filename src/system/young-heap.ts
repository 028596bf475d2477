import { setFlagsFromString } from 'node:v8';

/**
 * Keeps V8's young generation at the few MB it starts with: reading our modules, and then a list of thousands of leases,
 * would make it grow to 32 MB, and it would stay so. V8 reads this flag whenever it is about to grow it; the size itself
 * could be said on the command line of node only.
 *
 * To be said again when a thread has started: each heap that is made sets the flag to 2, for all of the process.
 */
export function keepYoungHeapSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
}
