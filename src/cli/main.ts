#!/usr/bin/env node
import { keepYoungHeapSmall } from '../system/young-heap.js';
import { complain } from './complain.js';
import { EXIT_CODES, LEAST_FOR_COMMAND, outOfDescriptors, tooFewDescriptors } from './descriptor-limit.js';

// Static imports are read before a module runs, so of ours there are but small ones.
keepYoungHeapSmall();

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
