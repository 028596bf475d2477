import { constants } from 'node:os';
import { runDaemon } from '../daemon/daemon.js';
import type { DaemonOptions } from '../daemon/options.js';
import { checkLogLevel, createLogger } from '../ops/logger.js';
import { createSdNotify } from '../system/sd-notify.js';
import { complain } from './complain.js';
import { EXIT_OK, EXIT_SIGNAL_BASE } from './exit-codes.js';

export interface RunContext {
  readonly version: string;
  /** The etcd password is among the arguments, which everybody on this host may see. */
  readonly isPasswordShown: boolean;
  /** What looks like a setting and is none. */
  readonly unknownVariables: readonly string[];
  /** Called when the node is ready. */
  readonly onReady?: () => void;
}

/** `rudder` without a sub-command: the daemon, until a signal. */
export async function run(
  options: DaemonOptions & { readonly logLevel: string },
  { version, isPasswordShown, unknownVariables, onReady }: RunContext,
): Promise<number> {
  // The commands that are run from here (iptables) need not know it.
  delete process.env.RUDDERD_ETCD_PASSWORD;
  const log = await createLogger(options.logLevel);
  if (isPasswordShown) {
    log.warn(
      {},
      '--etcd-password shows in the process list: use --etcd-password-file or RUDDERD_ETCD_PASSWORD instead',
    );
  }
  for (const problem of unknownVariables) log.warn({ problem }, 'a variable of the environment is ignored');
  const stop = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) {
    process.on(name, () => {
      if (!stop.signal.aborted) stop.abort();
      else askedAgain(options, name);
    });
  }
  // Everything, until the next one.
  process.on('SIGHUP', () => setLogLevel(log.level === 'debug' ? options.logLevel : 'debug'));
  function setLogLevel(level: string): void {
    log.level = checkLogLevel(level);
    log.info({ logLevel: level }, 'log level changed');
  }
  const tellSystemd = createSdNotify(process.env.NOTIFY_SOCKET);
  const notify = (...lines: string[]) => {
    tellSystemd(...lines);
    if (lines.includes('READY=1')) onReady?.();
  };
  await runDaemon(options, { log, notify, version, setLogLevel }, stop.signal);
  return EXIT_OK;
}

/** Who asks twice does not want to wait for etcd. A node without one waits for nobody, and a terminal's Ctrl-C comes easily twice. */
function askedAgain({ registry, cleanupOnExit }: DaemonOptions, name: 'SIGTERM' | 'SIGINT'): void {
  if (registry.kind === 'embedded') return;
  if (cleanupOnExit)
    complain(`ended at once by a second ${name}: some of what it has made is left; run "rudder cleanup"`);
  process.exit(EXIT_SIGNAL_BASE + constants.signals[name]);
}
