import { createEtcdRegistry, type EtcdOptions } from '../control/etcd-registry.js';
import { releaseLease } from '../control/lease-release.js';
import { messageOf, RudderError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import { formatSubnet } from '../core/subnet.js';
import { askDaemon } from '../ops/control-client.js';
import { controlSocketOf } from '../ops/http.js';
import { removeFirewall } from '../system/firewall.js';
import { forgetLastKnown } from '../system/last-known.js';
import { openNetlink } from '../system/netlink.js';
import { loadState } from '../system/state-dir.js';
import { removeSubnetEnv } from '../system/subnet-env.js';
import { DEVICE_NAME, removeDevice } from '../system/tun-device.js';
import { type RawDaemonOptions, toDaemonOptions } from './daemon-options.js';
import { EXIT_OK } from './exit-codes.js';

/** `rudder cleanup`: removes what a stopped daemon has left on this host and in etcd, and nothing else. */
export async function cleanup(raw: RawDaemonOptions, keepLease: boolean): Promise<number> {
  const { subnetFile, stateDir, firewall, etcd } = toDaemonOptions(raw);
  const socketPath = controlSocketOf(subnetFile);
  const isRunning = await askDaemon(socketPath, 'GET', '/healthz').then(
    () => true,
    () => false,
  );
  if (isRunning) {
    throw new RudderError(
      'usage',
      `a rudder answers on ${socketPath}: expected none; stop it with "systemctl stop rudder"`,
    );
  }
  let lease = STAYS;
  await eachOf([
    removeOverlayDevice,
    ...(firewall ? [async () => void (await removeFirewall())] : []),
    () => removeSubnetEnv(subnetFile),
    // Somebody else may get the subnet from now on.
    () => forgetLastKnown(stateDir),
    async () => {
      if (!keepLease) lease = await giveLeaseBack(etcd, stateDir);
    },
  ]);
  process.stdout.write(
    `removed ${DEVICE_NAME}, its routes${firewall ? ', the firewall rules' : ''} and ${subnetFile}; ${lease}\n`,
  );
  return EXIT_OK;
}

const STAYS = 'the lease stays in etcd until its TTL ends';
/** A host that is cleaned up may be one that etcd has left long ago. */
const ETCD_DEADLINE_MS = 2000;

const ignore = () => undefined;
const SILENT: Logger = { debug: ignore, info: ignore, warn: ignore, error: ignore };

/** Says what has become of the lease. */
async function giveLeaseBack(etcd: EtcdOptions, stateDir: string): Promise<string> {
  const { nodeId, subnet } = await loadState(stateDir, SILENT);
  if (subnet === undefined) return 'no lease is known';
  const registry = createEtcdRegistry({ ...etcd, deadlineMs: ETCD_DEADLINE_MS });
  try {
    const given = await releaseLease(registry, subnet, nodeId);
    return given ? `lease ${formatSubnet(subnet)} is given back` : `there was no lease of ${formatSubnet(subnet)}`;
  } catch (error) {
    return `${STAYS}: ${messageOf(error)}`;
  } finally {
    registry.close();
  }
}

/** Does all of them, also after one that failed. @throws what the first of those threw */
async function eachOf(steps: readonly (() => Promise<void>)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const step of steps) await step().catch((error: unknown) => failures.push(error));
  if (failures.length > 0) throw failures[0];
}

async function removeOverlayDevice(): Promise<void> {
  const netlink = openNetlink();
  try {
    await removeDevice(netlink, DEVICE_NAME);
  } finally {
    netlink.close();
  }
}
