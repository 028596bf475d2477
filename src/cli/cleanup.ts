import { RudderError } from '../core/errors.js';
import { askDaemon } from '../ops/control-client.js';
import { controlSocketOf } from '../ops/http.js';
import { removeFirewall } from '../system/firewall.js';
import { forgetLastKnown } from '../system/last-known.js';
import { openNetlink } from '../system/netlink.js';
import { removeSubnetEnv } from '../system/subnet-env.js';
import { DEVICE_NAME, removeDevice } from '../system/tun-device.js';
import { EXIT_OK } from './exit-codes.js';

/** `rudder cleanup`: removes what a stopped daemon has left on this host, and nothing else. */
export async function cleanup(subnetFile: string, stateDir: string, firewall: boolean): Promise<number> {
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
  await eachOf([
    removeOverlayDevice,
    ...(firewall ? [removeFirewall] : []),
    () => removeSubnetEnv(subnetFile),
    // Somebody else may get the subnet from now on.
    () => forgetLastKnown(stateDir),
  ]);
  process.stdout.write(
    `removed ${DEVICE_NAME}, its routes${firewall ? ', the firewall rules' : ''} and ${subnetFile}; the lease stays in etcd until its TTL ends\n`,
  );
  return EXIT_OK;
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
