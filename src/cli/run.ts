import { constants } from 'node:os';
import { runDaemon } from '../daemon/daemon.js';
import { createLogger } from '../ops/logger.js';
import { createSdNotify } from '../system/sd-notify.js';
import { EXIT_OK, EXIT_SIGNAL_BASE } from './exit-codes.js';
import { toDaemonOptions } from './options.js';

/** `rudder` without a sub-command: the daemon, until a signal. */
export async function run(raw: Parameters<typeof toDaemonOptions>[0]): Promise<number> {
  const options = toDaemonOptions(raw);
  const log = createLogger(options.logLevel);
  const stop = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) {
    process.on(name, () => {
      // Who asks twice does not want to wait.
      if (stop.signal.aborted) process.exit(EXIT_SIGNAL_BASE + constants.signals[name]);
      stop.abort();
    });
  }
  await runDaemon(options, { log, notify: createSdNotify(process.env.NOTIFY_SOCKET) }, stop.signal);
  return EXIT_OK;
}
