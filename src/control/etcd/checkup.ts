import { connect as connectTcp } from 'node:net';
import { errnoOf, messageOf, RudderError } from '../../core/errors.js';
import { within } from '../retry.js';
import { keepCredentials } from './credentials.js';
import { mostTelling } from './errors.js';
import type { Client } from './member.js';
import { connectMembers, type EtcdMembers } from './members.js';
import type { EtcdOptions } from './options.js';
import { checkName, hostPortOf, probe } from './probe.js';
import { openWatch } from './watch.js';

/** What has to work for an endpoint to be of use, each after the other. */
export type CheckStep = 'resolve' | 'connect' | 'TLS' | 'read' | 'watch' | 'write';

export interface Checkup {
  /** The first step that does not work, and why; undefined: all do. */
  readonly failure: { readonly step: CheckStep; readonly reason: string } | undefined;
  /** The network config's JSON, or that there is none; undefined: it could not be read. */
  readonly config: { readonly json: string | undefined } | undefined;
  readonly readMs: number;
  readonly writeMs: number;
  /** Such as `NOSPACE`; undefined: the member does not tell. */
  readonly alarms: readonly string[] | undefined;
  readonly version: string | undefined;
}

const STEP_DEADLINE_MS = 4000;

class StepError extends Error {
  constructor(
    readonly step: CheckStep,
    reason: string,
  ) {
    super(reason);
  }
}

/** Asks one endpoint of etcd step by step. Nothing in etcd is another thing afterwards. */
export async function checkEndpoint(
  endpoint: string,
  options: EtcdOptions,
  deadlineMs = STEP_DEADLINE_MS,
): Promise<Checkup> {
  const found: Found = { config: undefined, readMs: 0, writeMs: 0, alarms: undefined, version: undefined };
  const { host, port, isTls } = hostPortOf(endpoint);
  const alone = { ...options, endpoints: [endpoint] };
  const credentials = keepCredentials(options, undefined);
  const inWords = (thrown: unknown) =>
    (thrown instanceof RudderError ? thrown : mostTelling([{ endpoint, thrown }], alone)).message;

  const inTime = <T>(work: Promise<T>) =>
    within(deadlineMs, work, () => new TooLate(`no answer within ${deadlineMs / 1000} s`));

  async function step<T>(name: CheckStep, work: () => Promise<T>, explain: (error: unknown) => string): Promise<T> {
    try {
      return await inTime(work());
    } catch (error) {
      throw new StepError(name, explain(error));
    }
  }

  try {
    await step('resolve', () => checkName(host), inWords);
    await step(
      'connect',
      () => connected(host, port),
      (error) => connectProblem(error, `${host}:${port}`),
    );
    if (isTls) await step('TLS', () => refuseFinding(probe(endpoint, credentials.current().tls)), inWords);
    const members = connectMembers(alone, credentials, deadlineMs);
    try {
      await askMember(members, alone, found, inTime, (name, work) => step(name, work, inWords));
      return { ...found, failure: undefined };
    } finally {
      members.close();
    }
  } catch (error) {
    if (error instanceof StepError) return { ...found, failure: { step: error.step, reason: error.message } };
    throw error;
  }
}

/** What is wrong with the connection, if anything is. */
async function refuseFinding(finding: ReturnType<typeof probe>): Promise<void> {
  const found = await finding;
  if (found !== undefined) throw found;
}

/** What is known up to the step that fails. */
type Found = { -readonly [K in Exclude<keyof Checkup, 'failure'>]: Checkup[K] };

type Step = <T>(name: CheckStep, work: () => Promise<T>) => Promise<T>;

async function askMember(
  members: EtcdMembers,
  options: EtcdOptions,
  found: Found,
  inTime: <T>(work: Promise<T>) => Promise<T>,
  step: Step,
): Promise<void> {
  const { ask } = members;
  const { prefix } = options;
  const json = await step('read', () => ask((client) => client.get(`${prefix}/config`).string()));
  found.config = { json: json ?? undefined };
  // The first one has connected and logged in too.
  const list = () => ask((client) => client.getAll().prefix(`${prefix}/subnets/`).limit(1).exec());
  const began = performance.now();
  const { header } = await step('read', list);
  found.readMs = performance.now() - began;
  await step('watch', () => wouldWatch(members, options, Number(header.revision) + 1));
  found.writeMs = await timed(() => step('write', () => ask((client) => wouldWrite(client, prefix))));
  const unlessRefused = <T>(work: Promise<T>) => inTime(work).catch(() => undefined);
  const alarm = await unlessRefused(ask(({ maintenance }) => maintenance.alarm({ action: 0, memberID: 0, alarm: 0 })));
  const status = await unlessRefused(ask(({ maintenance }) => maintenance.status()));
  found.alarms = alarm?.alarms.map(({ alarm }) => String(alarm));
  found.version = status?.version;
}

/** The watch of a node, until it stands: who may read may be refused to watch. */
async function wouldWatch({ inUse }: EtcdMembers, options: EtcdOptions, fromRevision: number): Promise<void> {
  const givenUp = new AbortController();
  let close: () => void = () => undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      const handler = { opened: resolve, events: () => undefined, ended: reject };
      ({ close } = openWatch(inUse(), options, fromRevision, handler, STEP_DEADLINE_MS, givenUp.signal));
    });
  } finally {
    close();
  }
}

/**
 * A write that etcd has to agree on, to permit and to have room for like any other, but whose condition never holds: no key
 * has fewer than no versions. It is not done, so that no watch tells of it.
 */
function wouldWrite(client: Client, prefix: string): Promise<unknown> {
  const key = `${prefix}/subnets/doctor`;
  return client.if(key, 'Version', '<', 0).then(client.put(key).value('')).commit();
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

class TooLate extends Error {}

function connected(host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connectTcp({ host, port, timeout: STEP_DEADLINE_MS }, () => {
      socket.destroy();
      resolve();
    });
    socket.on('timeout', () => socket.destroy(new TooLate('no answer')));
    socket.on('error', reject);
  });
}

function connectProblem(error: unknown, where: string): string {
  if (error instanceof TooLate) return `${where} does not answer: it is down, or a firewall drops what is sent there`;
  const errno = errnoOf(error) ?? messageOf(error);
  return errno === 'ECONNREFUSED' ? `nobody listens on ${where}` : `${where} cannot be reached (${errno})`;
}
