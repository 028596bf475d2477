import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { parseIpv4, parseSubnet } from '../core/address-text.js';
import { RudderError } from '../core/errors.js';
import { MAX_MTU, MIN_MTU } from '../core/network-config.js';
import { PEER_STATES } from '../core/peer-state.js';
import { REGISTRY_KINDS } from '../core/registry-kind.js';
import { askDaemon } from '../ops/control-client.js';
import { controlSocketOf } from '../ops/http.js';
import { CONFIG_STATES, type Status } from '../ops/status.js';
import { printable } from './printable.js';

const ipv4 = z.string().refine((text) => parseIpv4(text) !== undefined, 'no IPv4 address');
const subnet = z.string().refine((text) => parseSubnet(text) !== undefined, 'no subnet');
/** It becomes a part of paths below /proc/sys, and an argument of commands. */
const interfaceName = z.string().regex(/^[^\s/.-][^\s/]{0,14}$/, 'no name of an interface');

const port = z.int().min(1).max(65535);
const text = z.string();
const texts = z.array(z.string());
const count = z.number();
const histogram = z.looseObject({ bounds: z.array(count), counts: z.array(count), sum: count });
const passage = z.enum(['unknown', 'passes', 'dropped', 'translated']);

/** All of a status, so that nothing is shown or concluded from what a daemon of another version does not tell. */
const shape = (directory: string) =>
  z.looseObject({
    version: text,
    uptimeSeconds: count,
    node: z.looseObject({
      id: text,
      name: text.nullable(),
      publicIp: ipv4,
      interface: interfaceName,
      network: subnet,
      subnet,
      subnetFile: text.refine((path) => dirname(resolve(path)) === directory, 'not beside the control socket'),
      cniConf: text.nullable(),
      port: port.nullable(),
    }),
    device: z.looseObject({
      name: interfaceName,
      mtu: z.int().min(MIN_MTU).max(MAX_MTU),
      up: z.boolean(),
      repairs: count,
    }),
    hostProblem: text.nullable(),
    lease: z.looseObject({
      ttlSeconds: count.nullable(),
      remainingSeconds: count.nullable(),
      key: z.enum(['written', 'gone', 'differs']),
      recoveries: count,
      problem: text.nullable(),
    }),
    registry: z.looseObject({
      kind: z.enum(REGISTRY_KINDS),
      endpoints: texts,
      current: z.boolean(),
      staleSeconds: count,
      problem: text.nullable(),
      lastContactSeconds: count.nullable(),
      certificates: z.array(z.looseObject({ file: text, subject: text, notAfter: text })),
    }),
    config: z.looseObject({ state: z.enum(CONFIG_STATES), detail: text.nullable() }),
    backend: z.looseObject({
      type: text,
      kernel: z.looseObject({ wanted: count, present: count }).nullable(),
      direct: count.nullable(),
      cipher: text.nullish(),
      implementation: z.looseObject({ runs: z.enum(['kernel', 'user']), why: text }).nullish(),
      clockBehindSeconds: count.optional(),
    }),
    packetPath: z
      .looseObject({
        heartbeatSeconds: count,
        counters: z
          .object({ out_packets: count, out_bytes: count, in_packets: count, in_bytes: count })
          .catchall(count),
      })
      .nullable(),
    offloads: z.record(z.string(), z.enum(['on', 'off'])),
    firewall: z.looseObject({
      kept: z.boolean(),
      checks: count,
      repairs: count,
      problem: text.nullable(),
      forwarding: z
        .looseObject({
          out: passage,
          in: passage,
          suspects: texts,
          forged: count,
          strangers: count,
          forwarded: count,
        })
        .nullable(),
      settings: z
        .looseObject({
          devices: z.array(interfaceName),
          bareWay: interfaceName.nullable(),
          tunnel: z.looseObject({ port, vni: count.optional() }).nullable(),
          ipMasq: z.boolean(),
          localAddress: ipv4,
          isTracked: z.boolean(),
          uplinks: texts,
        })
        .nullable(),
    }),
    peers: z.array(
      z.looseObject({
        host: text.nullable(),
        version: text.nullable(),
        subnet,
        nextHop: ipv4,
        problem: text.nullable(),
        health: z.looseObject({
          state: z.enum(PEER_STATES),
          reason: text.nullable(),
          rttMs: count.nullable(),
          lastHeardSeconds: count.nullable(),
        }),
        reserved: z.boolean(),
        outPackets: count.nullable(),
        outBytes: count.nullable(),
        inPackets: count.nullable(),
        inBytes: count.nullable(),
        heardSecondsAgo: count.nullable(),
        session: z
          .looseObject({
            state: z.enum(['up', 'none', 'trying']),
            handshakeSeconds: count.nullable(),
            tryingSeconds: count.nullable(),
            endpoint: text.nullable(),
          })
          .nullish(),
      }),
    ),
    latencies: z.looseObject({ probes: histogram, registry: histogram.nullable() }),
    ignoredLeases: z.looseObject({
      count,
      first: z.array(
        z.looseObject({
          key: text,
          host: text.nullable(),
          version: text.nullable(),
          backend: text.nullable(),
          nextHop: text.nullable(),
          problem: text,
        }),
      ),
    }),
    problems: texts,
    warnings: texts,
  });

/** Asks the running daemon. @throws RudderError `not-running`, or `not-ready` if it has nothing to tell yet */
export async function askNode(subnetFile: string): Promise<Status> {
  const body = printable((await askDaemon(controlSocketOf(subnetFile), 'GET', '/status')).body);
  refuseUntold(body);
  return toStatus(body, subnetFile);
}

const untold = z.union([z.object({ error: text }), z.object({ starting: text })]);

/** An answer that says why there is no status. */
export const isUntold = (body: unknown) => untold.safeParse(body).success;

/** @throws RudderError `not-ready` if the answer is no status, but why there is none */
export function refuseUntold(body: unknown): void {
  const { data } = untold.safeParse(body);
  if (data === undefined) return;
  if ('starting' in data) throw new RudderError('not-ready', `rudder is starting: ${data.starting}`);
  throw new RudderError('not-ready', `rudder cannot tell its status: ${data.error}; see its log`);
}

/**
 * What a daemon tells of itself, if it is a status of this version. The daemon runs as a user of few rights, and
 * `rudder doctor` as root: who has broken into the daemon shall not lead root to another file, to an option of a command,
 * or to write what turns a terminal over.
 * @throws RudderError `not-running` that names the field and does not quote it
 */
export function toStatus(body: unknown, subnetFile: string): Status {
  const result = shape(dirname(resolve(subnetFile))).safeParse(printable(body));
  if (result.success) return result.data;
  const { path, message } = result.error.issues[0];
  throw new RudderError(
    'not-running',
    `what answers beside ${subnetFile} is no rudder of this version: ${path.map(String).join('.')}: ${message}; restart the daemon, so that it is of the same version as this command`,
  );
}
