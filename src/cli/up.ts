import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { parseNewNetworkConfig } from '../backend/new-config.js';
import { rudderCommand } from '../core/command-line.js';
import { RudderError, shorten } from '../core/errors.js';
import { SILENT } from '../core/logger.js';
import { rudderName } from '../lab/launcher.js';
import { loadLastKnown } from '../state/last-known-file.js';
import { type RawDaemonOptions, toDaemonOptions } from './daemon-options.js';
import { type RunContext, run } from './run.js';

const PAGE_PORT = 9478;

export interface UpOptions {
  readonly dev: boolean;
  readonly network: string;
  readonly backend: string;
}

/** `rudder up --dev`: the daemon, with a registry of its own in place of etcd. */
export async function up(program: Command, { dev, network, backend }: UpOptions, context: RunContext): Promise<number> {
  if (!dev) throw new RudderError('usage', NEEDS_DEV);
  refuseStore(program);
  const configJson = JSON.stringify({ Network: network, Backend: { Type: backend } });
  parseNewNetworkConfig(configJson);
  refuseWithoutCapability();
  const byDefault = (name: string) => program.getOptionValueSource(name) === 'default';
  const raw = program.opts<RawDaemonOptions>();
  const options = toDaemonOptions({
    ...raw,
    kubeSubnetMgr: false,
    healthzPort: byDefault('healthzPort') ? PAGE_PORT : raw.healthzPort,
    // It is there to be looked at, and then to be gone.
    cleanupOnExit: byDefault('cleanupOnExit') || raw.cleanupOnExit,
  });
  const { healthz, subnetFile, cleanupOnExit } = options;
  await refuseOtherState(options.stateDir);
  say('one node without a cluster: it has no etcd and no peers, and no other node can join it');
  return run(
    { ...options, registry: { kind: 'embedded', configJson }, store: undefined },
    {
      ...context,
      onReady() {
        const flags = byDefault('subnetFile') ? [] : ['--subnet-file', subnetFile];
        say(`ready: subnet and MTU for Docker are in ${subnetFile}`);
        if (healthz !== undefined) say(`the page: http://${healthz.address}:${healthz.port}/`);
        say(`in another terminal: ${asTyped(rudderCommand(['status'], { flags }))}`);
        say(`Ctrl-C ends it, and ${cleanupOnExit ? 'removes what it has made' : 'leaves device and subnet file'}`);
        say(`a node of a cluster: ${asTyped('rudder join ADDRESS')}, see docs/install.md`);
      },
    },
  );
}

const OF_A_STORE = /^(etcd-|kube|net-config-path$|set-node-)/;

const NEEDS_DEV =
  'rudder up is given without --dev: expected it, since such a node is of no cluster; a node of one is made by "rudder join ADDRESS"';

/** Options of a store that nodes share. Variables may be there for other commands; a flag is meant. */
function refuseStore(program: Command): void {
  const given = program.options.find(
    (option) => OF_A_STORE.test(option.name()) && program.getOptionValueSource(option.attributeName()) === 'cli',
  );
  if (given === undefined) return;
  throw new RudderError(
    'usage',
    `${given.long} is given with --dev: expected no option of etcd or Kubernetes, since it asks neither; leave it out, or join that cluster with "rudder join ADDRESS"`,
  );
}

/** A node of a cluster that is stopped has left there what it goes on with; this one would take it, and its device, away. */
async function refuseOtherState(stateDir: string): Promise<void> {
  const known = await loadLastKnown(stateDir, SILENT);
  if (known === undefined || known.source === 'embedded') return;
  throw new RudderError(
    'config-exists',
    `${stateDir} is of a node of a cluster, ${shorten(known.source, 200)}: expected another directory; give --state-dir, or run "rudder cleanup" if that node is not needed any more`,
  );
}

const CAP_NET_ADMIN = 12n;

/** Before anything is made: who is not root would learn of it by whichever file comes first. */
function refuseWithoutCapability(): void {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  if ((BigInt(`0x${effective}`) >> CAP_NET_ADMIN) & 1n) return;
  throw new RudderError(
    'device',
    `a node takes the capability CAP_NET_ADMIN, which this user has not: expected root; run "sudo ${rudderName()} up --dev"`,
  );
}

const asTyped = (command: string) => command.replace(/^rudder/, rudderName());

/** Beside the log, which may be read by a program. */
function say(line: string): void {
  process.stderr.write(`rudder: ${line}\n`);
}
