import { writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

/**
 * For `node --import`: writes how long the main thread was away at most, in milliseconds, into the file that PAUSES_FILE
 * names, each second.
 */
const path = process.env.PAUSES_FILE;
if (path !== undefined) {
  const delays = monitorEventLoopDelay({ resolution: 2 });
  delays.enable();
  // The first time comes when all modules are loaded, which is no pause of anything.
  setTimeout(() => delays.reset(), 100).unref();
  setInterval(() => writeFileSync(path, String(delays.max / 1e6)), 1000).unref();
}
