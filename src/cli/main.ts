#!/usr/bin/env node
import { setFlagsFromString } from 'node:v8';

// Keeps V8's young generation at the few MB it starts with: reading our modules, and then a list of thousands of leases,
// would make it grow to 32 MB, and it would stay so. V8 reads this flag whenever it is about to grow it; the size itself
// could be said on the command line of node only. Static imports are read before a module runs, so there are none of ours.
setFlagsFromString('--semi-space-growth-factor=1');

await import('./program.js');
