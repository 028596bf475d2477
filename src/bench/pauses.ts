import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { existsSync, writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

/**
 * For `node --import`: writes how long the main thread was away at most, in milliseconds, into the file that PAUSES_FILE
 * names, as soon as it is longer. It looks 500 times a second, which costs what a node costs that is idle: while there is a file
 * of that name with ".off" it does not.
 */
const path = process.env.PAUSES_FILE;
/** Until a program speaks to somebody it loads its modules, which is no pause of anything. */
const FIRST_CONNECTION = 'net.client.socket';

if (path !== undefined) {
  const delays = monitorEventLoopDelay({ resolution: 2 });
  let longest = -1;
  let isOff = true;
  const look = () => {
    const seen = isOff ? 0 : delays.max;
    // Not each second: that alone was a tenth of what an idle node costs.
    if (seen > longest) {
      longest = seen;
      writeFileSync(path, String(longest / 1e6));
    }
    const wasOff = isOff;
    isOff = existsSync(`${path}.off`);
    if (isOff) delays.disable();
    else if (wasOff) {
      delays.enable();
      // It takes the time in which it did not look for a delay.
      setTimeout(() => delays.reset(), 10);
    }
  };
  const begin = () => {
    unsubscribe(FIRST_CONNECTION, begin);
    look();
    setInterval(look, 1000).unref();
  };
  subscribe(FIRST_CONNECTION, begin);
}
