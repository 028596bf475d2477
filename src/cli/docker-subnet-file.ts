import { resolve } from 'node:path';
import { z } from 'zod';
import { parseSubnet } from '../core/address-text.js';
import { RudderError, shorten } from '../core/errors.js';
import { formatSubnet } from '../core/subnet.js';
import { tryDaemon } from '../ops/control-client.js';
import { controlSocketOf } from '../ops/http.js';
import { bridgeAddressOf, readIfThere, SUBNET_FILE } from '../system/docker-unit.js';
import { DEFAULTS_FILE, type NodeOptions, refuseWrong } from './defaults-file.js';

const ENV_PREFIX = 'RUDDER';

const status = z.object({ node: z.object({ subnet: z.string(), subnetFile: z.string() }) });

/**
 * Docker's unit and Rudder's own look at one file, and at the names in it that Rudder's packages give it. A node that says
 * its subnet elsewhere would leave Docker waiting for ever, or on what an earlier one has left there.
 * @throws RudderError `usage`, or `not-ready` if that file is of another subnet than the running daemon's
 */
export async function refuseOtherFile(node: NodeOptions): Promise<void> {
  refuseWrong(node, ['subnetFile', 'subnetEnvPrefix']);
  const { subnetFile, subnetEnvPrefix } = node.raw;
  const asked = await tryDaemon(controlSocketOf(subnetFile), 'GET', '/status');
  const told = asked.is === 'answer' ? status.safeParse(asked.answer.body).data?.node : undefined;
  const file = told?.subnetFile ?? subnetFile;
  if (resolve(file) !== SUBNET_FILE) {
    const who = told === undefined ? whoSays(node, 'subnetFile') : 'as the running daemon says';
    throw refusal(`the node keeps its subnet in ${shorten(file, 200)}, ${who}`, SUBNET_FILE, 'RUDDERD_SUBNET_FILE');
  }
  if (subnetEnvPrefix !== ENV_PREFIX) {
    const what = `the names in ${SUBNET_FILE} begin with ${subnetEnvPrefix}, ${whoSays(node, 'subnetEnvPrefix')}`;
    throw refusal(what, ENV_PREFIX, 'RUDDERD_SUBNET_ENV_PREFIX');
  }
  const written = parseSubnet(bridgeAddressOf(await readIfThere(SUBNET_FILE)) ?? '');
  if (told === undefined || written === undefined || formatSubnet(written) === told.subnet) return;
  throw new RudderError(
    'not-ready',
    `${SUBNET_FILE} is of ${formatSubnet(written)}, and the running daemon has ${shorten(told.subnet, 40)}: expected the same; see "rudder status", and try again`,
  );
}

function whoSays({ given }: NodeOptions, name: 'subnetFile' | 'subnetEnvPrefix'): string {
  return given[name] === undefined ? `as ${DEFAULTS_FILE} says` : 'as the command line or the environment says';
}

function refusal(what: string, expected: string, variable: string): RudderError {
  const remedy = `take ${variable} out of ${DEFAULTS_FILE} and restart rudder, or give dockerd --bip and --mtu yourself`;
  return new RudderError('usage', `${what}: expected ${expected}, which Docker's unit reads; ${remedy}`);
}
