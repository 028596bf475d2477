import { removeKernelState } from '../backend/kernel/leftovers.js';
import { openAdministration, type RememberedStore, type SharedRegistry, storeOf } from '../control/open.js';
import { messageOf, RudderError, shorten } from '../core/errors.js';
import type { LastKnown } from '../core/last-known.js';
import { SILENT } from '../core/logger.js';
import type { Subnet } from '../core/subnet.js';
import { tryDaemon } from '../ops/control-client.js';
import { controlSocketOf } from '../ops/http.js';
import { removeCniConf } from '../state/cni-conf.js';
import { forgetLastKnown, loadLastKnown } from '../state/last-known-file.js';
import { loadState } from '../state/node-state.js';
import { removeSubnetEnv } from '../state/subnet-env.js';
import { proposalOf } from '../state/subnet-publish.js';
import { removeFirewall } from '../system/firewall.js';
import { type Netlink, openNetlink } from '../system/netlink.js';
import { DEVICE_NAME, findLeftover, type Leftover } from '../system/tun-device.js';
import { type NodeOptions, refuseWrong } from './defaults-file.js';
import { EXIT_OK } from './exit-codes.js';
import { useStore } from './node-store.js';
import { toRegistryOptions } from './registry-options.js';
import { elsewhere, type SharedStore, wordsOf } from './remembered-store.js';

/** What a step has removed, what it has left alone and why, and what it could not look at; nothing if there was nothing. */
interface Outcome {
  readonly removed?: string;
  readonly note?: string;
  readonly unseen?: readonly string[];
}
type Step = () => Outcome | Promise<Outcome>;

const NOTHING: Outcome = {};

/**
 * `rudder cleanup`: removes what a stopped daemon has left on this host and in its cluster's store, and nothing else. What only bears
 * the name of something of ours is left alone.
 */
export async function cleanup(node: NodeOptions, keepLease: boolean): Promise<number> {
  const { subnetFile, stateDir, firewall, cniConf } = node.raw;
  refuseWrong(node, ['subnetFile', 'stateDir', 'firewall', 'cniConf']);
  await refuseIfAnswered(subnetFile);
  const netlink = openNetlink();
  try {
    const known = await loadLastKnown(stateDir, SILENT);
    // Held to the end, so that no node starts meanwhile. A running one is found out by it, whatever --subnet-file it has.
    const device = await findLeftover(netlink, DEVICE_NAME);
    const steps: Step[] = [
      ...(firewall ? [cleanFirewall] : []),
      // First: until it is gone, the kubelet starts pods.
      () => cleanFile(cniConf, removeCniConf),
      () => cleanFile(subnetFile, removeSubnetEnv),
      () => cleanFile(proposalOf(subnetFile), removeSubnetEnv),
      // Somebody else may get the subnet from now on.
      async () => ((await forgetLastKnown(stateDir)) ? { removed: `what ${stateDir} knew of the cluster` } : NOTHING),
      () => giveSubnetBack(node, known, keepLease),
      () => cleanDevice(device),
      () => cleanKernel(netlink),
    ];
    await runAll(steps);
  } finally {
    netlink.close();
  }
  return EXIT_OK;
}

async function refuseIfAnswered(subnetFile: string): Promise<void> {
  const socketPath = controlSocketOf(subnetFile);
  const { is } = await tryDaemon(socketPath, 'GET', '/healthz');
  if (is === 'absent') return;
  if (is === 'not permitted') {
    throw new RudderError('usage', `only root may ask whether a rudder answers on ${socketPath}: clean up as root`);
  }
  // One that hangs runs too.
  const what = is === 'answer' ? 'a rudder answers' : 'somebody listens';
  throw new RudderError('usage', `${what} on ${socketPath}: expected none; stop it with "systemctl stop rudder"`);
}

/** Does all of them, also after one that failed, and tells what was removed. @throws what the first that failed threw */
async function runAll(steps: readonly Step[]): Promise<void> {
  const failures: unknown[] = [];
  const outcomes: Outcome[] = [];
  for (const step of steps) {
    try {
      outcomes.push(await step());
    } catch (error) {
      failures.push(error);
    }
  }
  const removed = outcomes.flatMap((outcome) => outcome.removed ?? []).map((what) => `removed ${what}`);
  const notes = outcomes.flatMap((outcome) => outcome.note ?? []);
  const unseen = outcomes.flatMap((outcome) => outcome.unseen ?? []).map((what) => `could not look for ${what}`);
  const nothing = unseen.length > 0 ? 'found nothing to remove' : 'nothing to remove';
  const lines = [...(removed.length > 0 || failures.length > 0 ? removed : [nothing]), ...notes, ...unseen];
  for (const line of lines) process.stdout.write(`${line}\n`);
  if (failures.length > 0) throw failures[0];
}

async function cleanDevice(device: Leftover): Promise<Outcome> {
  if (device.is === 'absent') return NOTHING;
  if (device.is === 'not ours') {
    const remedy = `if it is of no use, remove it with "ip link delete ${DEVICE_NAME}"`;
    return { note: `left ${DEVICE_NAME} alone, which is ${device.what}: no node has made it; ${remedy}` };
  }
  await device.remove();
  return { removed: `${DEVICE_NAME} with its address and routes` };
}

/** What the kernel was told by a backend that lets it move the packets. */
async function cleanKernel(netlink: Netlink): Promise<Outcome> {
  const removed = await removeKernelState(netlink);
  return removed.length > 0 ? { removed: removed.join(' and ') } : NOTHING;
}

async function cleanFirewall(): Promise<Outcome> {
  const { isRemoved, missing } = await removeFirewall();
  const unseen = missing.map(
    (command) =>
      `rules of ${command}, which is not installed: if it was when a node ran, install it and clean up again`,
  );
  return isRemoved ? { removed: 'the firewall rules', unseen } : { unseen };
}

async function cleanFile(
  path: string | undefined,
  remove: (path: string) => Promise<'removed' | 'absent' | 'not ours'>,
): Promise<Outcome> {
  if (path === undefined) return NOTHING;
  const result = await remove(path);
  if (result === 'removed') return { removed: path };
  const what = 'which is no file that a node has written: look at it, and remove it by hand if it is of no use';
  return result === 'absent' ? NOTHING : { note: `left ${path} alone, ${what}` };
}

/** A host that is cleaned up may be one that its cluster has left long ago. */
const STORE_DEADLINE_MS = 2000;

/**
 * Asks the store that the subnet is of, with the prefix that it was written below, whatever the settings say by now; these
 * count where that was not remembered, and say how the store is reached.
 */
async function giveSubnetBack(node: NodeOptions, known: LastKnown | undefined, keepLease: boolean): Promise<Outcome> {
  const { nodeId, subnet, source = known?.source } = await loadState(node.raw.stateDir, SILENT);
  const store = source === undefined ? storeOfSettings(node) : storeOf(source);
  if (subnet === undefined || store.kind === 'embedded') return NOTHING;
  if (keepLease) return { note: wordsOf(store, subnet).stays };
  return askBack(await registryOf(node, store, known?.holding.node), store, subnet, nodeId);
}

async function askBack(registry: SharedRegistry, store: SharedStore, subnet: Subnet, nodeId: string): Promise<Outcome> {
  const { what, stays, absent } = wordsOf(store, subnet);
  let asked: readonly string[] = [];
  try {
    const administration = await openAdministration(registry, STORE_DEADLINE_MS);
    try {
      asked = administration.endpoints();
      if (await administration.giveBack(subnet, nodeId)) return { removed: what };
    } finally {
      administration.close();
    }
    const other = elsewhere(store, asked);
    return other === undefined ? NOTHING : { note: `${absent} at ${shorten(asked.join(','), 300)}, and ${other}` };
  } catch (error) {
    // What was given is wrong: that is no store that has left long ago.
    if (error instanceof RudderError && error.code === 'file') throw error;
    const other = asked.length === 0 ? undefined : elsewhere(store, asked);
    return { note: [`${stays}: ${messageOf(error)}`, other].filter(Boolean).join('; ') };
  }
}

const storeOfSettings = ({ raw }: NodeOptions): RememberedStore => ({
  kind: raw.kubeSubnetMgr ? 'kubernetes' : 'etcd',
});

/** @param name of the Node that it was */
async function registryOf(node: NodeOptions, { kind, prefix }: SharedStore, name: unknown): Promise<SharedRegistry> {
  const kubeSubnetMgr = kind === 'kubernetes';
  const remembered = prefix === undefined ? {} : { [kubeSubnetMgr ? 'kubeAnnotationPrefix' : 'etcdPrefix']: prefix };
  const given = { ...node.given, ...remembered, kubeSubnetMgr };
  const nodeName = typeof name === 'string' ? name : node.raw.nodeName;
  const raw = { ...node.raw, ...remembered, kubeSubnetMgr, nodeName };
  return toRegistryOptions(await useStore({ ...node, given, raw }));
}
