import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { existsSync, writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

/**
 * For `node --import`: writes how long the main thread was away at most, in milliseconds, into the file that PAUSES_FILE
 * names, each second. It looks 500 times a second, which costs what a node costs that is idle: while there is a file of that name
 * with ".off" it does not.
 */
const path = process.env.PAUSES_FILE;
/** Until a program speaks to somebody it loads its modules, which is no pause of anything. */
const FIRST_CONNECTION = 'net.client.socket';

if (path !== undefined) {
  const delays = monitorEventLoopDelay({ resolution: 2 });
  const begin = () => {
    unsubscribe(FIRST_CONNECTION, begin);
    delays.enable();
    setInterval(() => {
      if (existsSync(`${path}.off`)) delays.disable();
      else delays.enable();
      writeFileSync(path, String(delays.max / 1e6));
    }, 1000).unref();
  };
  subscribe(FIRST_CONNECTION, begin);
}
