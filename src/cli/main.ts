#!/usr/bin/env node
import { setFlagsFromString } from 'node:v8';
import { complain } from './complain.js';
import { EXIT_CODES, LEAST_FOR_COMMAND, outOfDescriptors, tooFewDescriptors } from './descriptor-limit.js';

// Keeps V8's young generation at the few MB it starts with: reading our modules, and then a list of thousands of leases,
// would make it grow to 32 MB, and it would stay so. V8 reads this flag whenever it is about to grow it; the size itself
// could be said on the command line of node only. Static imports are read before a module runs, so of ours there are but
// small ones.
setFlagsFromString('--semi-space-growth-factor=1');

const problem = tooFewDescriptors(LEAST_FOR_COMMAND);
if (problem !== undefined) end(problem);
try {
  await import('./program.js');
} catch (error) {
  // Whoever started us may have left us many open files.
  const problem = outOfDescriptors(error, 'reading the program');
  if (problem === undefined) throw error;
  end(problem);
}

function end(problem: string): never {
  complain(problem);
  process.exit(EXIT_CODES.limit);
}
