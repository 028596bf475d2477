import { lookup } from 'node:dns/promises';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { errnoOf, messageOf } from '../core/errors.js';
import { toRudderError } from './etcd-errors.js';
import { connectMembers, type Member } from './etcd-members.js';
import type { EtcdOptions } from './etcd-registry.js';

/** What has to work for an endpoint to be of use, each after the other. */
export type ProbeStep = 'resolve' | 'connect' | 'TLS' | 'read' | 'write';

export interface Probe {
  /** The first step that does not work, and why; undefined: all do. */
  readonly failure: { readonly step: ProbeStep; readonly reason: string } | undefined;
  readonly readMs: number;
  readonly writeMs: number;
  /** Such as `NOSPACE`; undefined: the member does not tell. */
  readonly alarms: readonly string[] | undefined;
  readonly version: string | undefined;
}

const STEP_DEADLINE_MS = 4000;

class StepError extends Error {
  constructor(
    readonly step: ProbeStep,
    reason: string,
  ) {
    super(reason);
  }
}

/** Asks one endpoint of etcd step by step. Nothing in etcd is another thing afterwards. */
export async function probeEndpoint(
  endpoint: string,
  options: EtcdOptions,
  deadlineMs = STEP_DEADLINE_MS,
): Promise<Probe> {
  const nothing: Omit<Probe, 'failure'> = { readMs: 0, writeMs: 0, alarms: undefined, version: undefined };
  const { protocol, hostname, port: given } = new URL(endpoint);
  // A URL leaves out its scheme's own.
  const port = Number(given) || (protocol === 'https:' ? 443 : 80);
  const host = hostname.replace(/^\[|\]$/g, '');

  async function step<T>(name: ProbeStep, work: () => Promise<T>, explain: (error: unknown) => string): Promise<T> {
    try {
      return await within(deadlineMs, work());
    } catch (error) {
      throw new StepError(name, explain(error));
    }
  }

  try {
    await step(
      'resolve',
      () => lookup(host),
      (error) => `no address is known of ${host} (${errnoOf(error) ?? messageOf(error)})`,
    );
    const to = { host, port };
    await step(
      'connect',
      () => opened(connectTcp(to), 'connect'),
      (error) => connectProblem(error, `${host}:${port}`),
    );
    const inWords = (error: unknown) => toRudderError(error, { ...options, endpoints: [endpoint] }).message;
    if (protocol === 'https:') {
      // An address must not be asked for by name.
      const servername = isIP(host) === 0 ? host : '';
      const tls = { ...to, servername, ALPNProtocols: ['h2'], ...options.tls };
      await step('TLS', async () => opened(connectTls(tls), 'secureConnect'), inWords);
    }
    return {
      ...nothing,
      ...(await askMember(endpoint, options, deadlineMs, (name, work) => step(name, work, inWords))),
    };
  } catch (error) {
    if (error instanceof StepError) return { ...nothing, failure: { step: error.step, reason: error.message } };
    throw error;
  }
}

type Step = <T>(name: ProbeStep, work: () => Promise<T>) => Promise<T>;

async function askMember(endpoint: string, options: EtcdOptions, deadlineMs: number, step: Step): Promise<Probe> {
  const members = connectMembers({ ...options, endpoints: [endpoint] }, deadlineMs);
  const member = members.inUse();
  try {
    const read = () => member.get(`${options.prefix}/config`).exec();
    await step('read', read);
    // The first one has connected and logged in too.
    const readMs = await timed(() => step('read', read));
    const writeMs = await timed(() => step('write', () => wouldWrite(member, options.prefix)));
    const alarms = await within(deadlineMs, member.maintenance.alarm({ action: 0, memberID: 0, alarm: 0 })).then(
      (answer) => answer.alarms.map(({ alarm }) => String(alarm)),
      () => undefined,
    );
    const version = await within(deadlineMs, member.maintenance.status()).then(
      (answer) => answer.version,
      () => undefined,
    );
    return { failure: undefined, readMs, writeMs, alarms, version };
  } finally {
    members.close();
  }
}

/**
 * A write that etcd has to agree on, to permit and to have room for like any other, but whose condition never holds: no key
 * has fewer than no versions. It is not done, so that no watch tells of it.
 */
function wouldWrite(member: Member, prefix: string): Promise<unknown> {
  const key = `${prefix}/subnets/doctor`;
  return member.if(key, 'Version', '<', 0).then(member.put(key).value('')).commit();
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

class TooLate extends Error {}

function within<T>(ms: number, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new TooLate(`no answer within ${ms / 1000} s`)), ms);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** Resolves when the socket says that it is, and ends it. */
function opened(socket: Socket, event: 'connect' | 'secureConnect'): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.setTimeout(2 * STEP_DEADLINE_MS, () => socket.destroy());
    socket.on('error', reject);
    socket.once(event, () => {
      socket.destroy();
      resolve();
    });
  });
}

function connectProblem(error: unknown, where: string): string {
  if (error instanceof TooLate) return `${where} does not answer: it is down, or a firewall drops what is sent there`;
  const errno = errnoOf(error) ?? messageOf(error);
  return errno === 'ECONNREFUSED' ? `nobody listens on ${where}` : `${where} cannot be reached (${errno})`;
}
