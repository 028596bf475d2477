// What this process may dump, as the kernel tells it, before and after.

import { readFileSync } from 'node:fs';
import { native } from '../../dist/system/native.js';

function coreLimits() {
  const [, soft, hard] = /^Max core file size\s+(\S+)\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
  return [soft, hard];
}

native.forbidCoreDumps();
native.forbidCoreDumps();
process.stdout.write(JSON.stringify({ limits: coreLimits() }));
