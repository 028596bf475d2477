import type { Joined } from '../control/membership.js';
import { openMembership } from '../control/open.js';
import type { Logger } from '../core/logger.js';
import { controlSocketOf, serveHttp } from '../ops/http.js';
import { prepareSubnetDirectory, removeSubnetEnv } from '../state/subnet-env.js';
import { removeFirewall } from '../system/firewall.js';
import { openNetlink } from '../system/netlink.js';
import type { SdNotify } from '../system/sd-notify.js';
import { reportDrops } from './drop-report.js';
import type { Node } from './node.js';
import type { DaemonOptions } from './options.js';
import { startNode } from './start-node.js';
import { readStatus } from './status.js';
import { writtenFileOf } from './subnet-file.js';
import { createUndo } from './undo.js';
import { keepWatchdogFed } from './watchdog.js';

export interface DaemonContext {
  readonly log: Logger;
  readonly notify: SdNotify;
  readonly version: string;
  readonly setLogLevel: (level: string) => void;
}

/**
 * Runs a node until the signal is aborted. Together with start-node.ts the composition root: they alone know control and
 * backend.
 * @throws RudderError when the start fails, the subnet goes to another node, or forwarding ends by itself
 */
export async function runDaemon(options: DaemonOptions, context: DaemonContext, signal: AbortSignal): Promise<void> {
  const netlink = openNetlink();
  const membership = openMembership(options.registry, options.leaseTtlSeconds, context.log);
  let phase = "reading the host's interfaces";
  let node: Node | undefined;
  const { log, setLogLevel, notify, version } = context;
  const status = async () => (node === undefined ? phase : readStatus(node.sources));
  const socketPath = controlSocketOf(options.subnetFile);
  try {
    await prepareSubnetDirectory(options.subnetFile);
    const { healthz: tcp, etcdSettings: etcd } = options;
    const survey = async () => node?.cluster.survey() ?? phase;
    const http = await serveHttp({ socketPath, tcp, status, survey, etcd, setLogLevel, log });
    try {
      const enter = (text: string) => {
        phase = text;
        notify(`STATUS=Starting: ${text}`);
      };
      node = await startNode({ options, log, version, notify, netlink, membership, enter, signal });
      if (node !== undefined) await serve(node, options, context, signal);
    } finally {
      http.close();
    }
  } finally {
    membership.close();
    netlink.close();
  }
}

/** From READY to the end. */
async function serve(
  node: Node,
  options: DaemonOptions,
  { log, notify }: DaemonContext,
  signal: AbortSignal,
): Promise<void> {
  const { backend, joined, firewall, health, cluster, host, memory } = node;
  const { packetPath } = backend;
  const drops = packetPath && reportDrops(packetPath.counters, log);
  // Where the kernel moves the packets, this thread is all that can hang.
  const watchdog = keepWatchdogFed(process.env.WATCHDOG_USEC, packetPath?.heartbeatAgeMs ?? (() => 0), notify);
  const stopRequested = new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
  try {
    await Promise.race([stopRequested, backend.failure, joined.lost]);
    log.info({}, 'stopping');
  } finally {
    notify('STOPPING=1');
    drops?.stop();
    watchdog.stop();
    cluster.stop();
    health.stop();
    await firewall?.stop();
    await host.stop();
    const cleanup = options.cleanupOnExit && signal.aborted;
    await memory.stop(!cleanup && !joined.isLost());
    if (!cleanup) await joined.stop();
    await backend.stop(cleanup);
    if (cleanup) await removeAll(options, joined, log);
  }
}

/** `--cleanup-on-exit`: what else the node leaves on this host and in the registry. */
async function removeAll(options: DaemonOptions, joined: Joined, log: Logger): Promise<void> {
  const undo = createUndo(log);
  undo.add('lease', joined.leave);
  if (options.firewall) undo.add('firewall', async () => void (await removeFirewall()));
  undo.add('subnet file', async () => void (await removeSubnetEnv(writtenFileOf(options))));
  await undo.all();
}
