import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { parseIpv4, parseSubnet } from '../../core/address-text.js';
import { RudderError } from '../../core/errors.js';
import { MAX_MTU, MIN_MTU } from '../../core/network-config.js';
import type { Status } from '../../ops/status.js';
import { DEVICE_NAME } from '../../system/tun-device.js';
import { printable } from '../printable.js';

const ipv4 = z.string().refine((text) => parseIpv4(text) !== undefined, 'no IPv4 address');
const subnet = z.string().refine((text) => parseSubnet(text) !== undefined, 'no subnet');

const passage = z.enum(['unknown', 'passes', 'dropped', 'translated']);

/** What the checks use as a path, as an argument of a command or as a number. All else is only shown. */
const used = (directory: string) =>
  z.looseObject({
    node: z.looseObject({
      network: subnet,
      subnet,
      subnetFile: z.string().refine((path) => dirname(resolve(path)) === directory, 'not beside the control socket'),
    }),
    device: z.looseObject({ name: z.literal(DEVICE_NAME), mtu: z.int().min(MIN_MTU).max(MAX_MTU) }),
    firewall: z.looseObject({
      kept: z.boolean(),
      repairs: z.number(),
      problem: z.string().nullable(),
      forwarding: z.looseObject({ out: passage, in: passage }).nullable(),
    }),
    hostProblem: z.string().nullable(),
    peers: z.array(z.looseObject({ subnet, nextHop: ipv4, problem: z.string().nullable(), reserved: z.boolean() })),
    problems: z.array(z.string()),
  });

/**
 * The daemon runs as a user of few rights, and `rudder doctor` as root. Who has broken into the daemon shall not lead root
 * to another file, to an option of a command, or to write what turns a terminal over: so what it says is checked before
 * anything is done with it.
 * @throws RudderError `not-running` that names the field and does not quote it
 */
export function trustStatus(body: unknown, subnetFile: string): Status {
  const result = used(dirname(resolve(subnetFile))).safeParse(printable(body));
  if (result.success) return result.data as unknown as Status;
  const { path, message } = result.error.issues[0];
  throw new RudderError(
    'not-running',
    `what answers beside ${subnetFile} is no rudder of this version: ${path.map(String).join('.')}: ${message}; restart rudder, and update both`,
  );
}
