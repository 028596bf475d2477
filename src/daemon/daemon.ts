import type { Joined } from '../control/membership.js';
import { openMembership } from '../control/open.js';
import { messageOf, quote, RudderError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import { type EventLog, openEventLog } from '../events/event-log.js';
import { controlSocketOf, serveHttp } from '../ops/http.js';
import type { Status } from '../ops/status.js';
import { removeCniConf } from '../state/cni-conf.js';
import { prepareSubnetDirectory, removeSubnetEnv } from '../state/subnet-env.js';
import { removeFirewall } from '../system/firewall.js';
import { native } from '../system/native.js';
import { type Netlink, openNetlink } from '../system/netlink.js';
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
  // Before there is a password or a key to be found in one, however the daemon was started.
  native.forbidCoreDumps();
  const netlink = openNetlink();
  const run: Run = { netlink, phase: "reading the host's interfaces", node: undefined, events: undefined };
  const { log, setLogLevel } = context;
  const status = async () => (run.node === undefined ? run.phase : readStatus(run.node.sources));
  const survey = async () => run.node?.cluster.survey() ?? run.phase;
  const events = async (after: number, waitMs: number) => (await run.events?.after(after, waitMs)) ?? [];
  const rotateKey = () => rotateKeyOf(run.node, options.stateDir);
  // A status is there only of a node that is.
  const cluster = (status: Status) => run.node!.cluster.overview(status);
  const history = (after: number, subnet: string | undefined) => run.node?.past.history(after, subnet);
  const historyOf = async (subnet: string) => run.node?.cluster.historyOf(subnet);
  const socketPath = controlSocketOf(options.subnetFile);
  try {
    await prepareSubnetDirectory(options.subnetFile);
    const { healthz: tcp, store } = options;
    const http = await serveHttp({
      socketPath,
      tcp,
      status,
      survey,
      cluster,
      history,
      historyOf,
      events,
      store,
      setLogLevel,
      rotateKey,
      log,
    });
    // Only now: another daemon that has the socket writes down what happens.
    run.events = await openEventLog(options.stateDir, log);
    try {
      await runNode(run, run.events, options, context, signal);
    } finally {
      await run.events.close();
      http.close();
    }
  } finally {
    netlink.close();
  }
}

/** The lease says it as soon as the store takes it. */
async function rotateKeyOf(node: Node | undefined, stateDir: string): Promise<object> {
  if (node === undefined) throw new RudderError('not-ready', 'the node is still starting; try again when it is ready');
  const { backend, joined, sources } = node;
  const { type } = sources.config.backend;
  if (backend.rotateKey === undefined) {
    throw new RudderError(
      'usage',
      `backend ${quote(type)} has no key: packets are not encrypted; see docs/encryption.md`,
    );
  }
  await backend.rotateKey();
  const data = backend.leaseData();
  joined.publish({ backend: { type, data } });
  return { publicKey: data.PublicKey, stateDir };
}

/** What those who ask are told of. */
interface Run {
  readonly netlink: Netlink;
  /** What the start is waiting for. */
  phase: string;
  node: Node | undefined;
  events: EventLog | undefined;
}

async function runNode(
  run: Run,
  events: EventLog,
  options: DaemonOptions,
  context: DaemonContext,
  signal: AbortSignal,
): Promise<void> {
  const { notify, version } = context;
  const log = events.tellingBy(context.log);
  log.info({ version, ...endOfLastRun(events) }, 'starting', 'node.starting');
  const membership = await openMembership(options.registry, options.leaseTtlSeconds, log);
  events.onEvent(({ kind, line }) => membership.note?.(kind, line));
  try {
    const enter = (text: string) => {
      run.phase = text;
      notify(`STATUS=Starting: ${text}`);
    };
    run.node = await startNode({ options, log, version, notify, netlink: run.netlink, membership, enter, signal });
    if (run.node === undefined) log.info({}, 'stopped before it was ready', 'node.stopped');
    else await serve(run.node, options, { ...context, log }, signal);
  } catch (error) {
    const reason = messageOf(error);
    // Whoever has started us tells the error itself.
    if (run.node?.joined.isLost()) events.note('lease.lost', { reason }, 'the lease is lost');
    events.note('node.failed', { reason }, 'the daemon has failed');
    throw error;
  } finally {
    membership.close();
  }
}

/** Each run says how it ends, unless it cannot. */
function endOfLastRun(events: EventLog): { reason?: string } {
  const last = events.last('node')?.kind;
  if (last === undefined || last === 'node.stopped' || last === 'node.failed') return {};
  return { reason: 'the run before was killed, has crashed or lost its host' };
}

/** From READY to the end. */
async function serve(
  node: Node,
  options: DaemonOptions,
  { log, notify }: DaemonContext,
  signal: AbortSignal,
): Promise<void> {
  const { backend, joined, firewall, health, peerWatch, past, cluster, host, carrying, memory } = node;
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
    log.info({}, 'stopping', 'node.stopped');
  } finally {
    notify('STOPPING=1');
    drops?.stop();
    watchdog.stop();
    carrying.stop();
    cluster.stop();
    peerWatch.stop();
    past.stop();
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
export async function removeAll(options: DaemonOptions, joined: Pick<Joined, 'leave'>, log: Logger): Promise<void> {
  const undo = createUndo(log);
  undo.add('lease', joined.leave);
  if (options.firewall) undo.add('firewall', async () => void (await removeFirewall()));
  undo.add('subnet file', async () => void (await removeSubnetEnv(writtenFileOf(options))));
  const { cniConf } = options;
  // The first to go, as the last added: until then the kubelet starts pods.
  if (cniConf !== undefined) undo.add('CNI configuration', async () => void (await removeCniConf(cniConf)));
  await undo.all();
}
