import { setFlagsFromString } from 'node:v8';

/**
 * Keeps V8's young generation at the few MB that reading our modules takes: running them, and a list of thousands of
 * leases, would make it grow to 32 MB, and it would stay so. V8 reads this flag whenever it is about to grow it; the
 * size itself could be said on the command line of node only. Takes effect when imported: it must be the first import.
 */
setFlagsFromString('--semi-space-growth-factor=1');
