import { execFile } from 'node:child_process';
import { access, readdir } from 'node:fs/promises';
import type { ImplementationChoice } from '../../backend/wireguard/implementations.js';
import {
  type Checkup,
  checkKubernetesOf,
  checkupOf,
  clockOf,
  type KubernetesCheckup,
  type SharedRegistry,
} from '../../control/open.js';
import { parseIpv4 } from '../../core/address-text.js';
import type { Ipv4 } from '../../core/ipv4.js';
import { type EchoSeries, largestPacket, pingSeries } from '../../health/echo-series.js';
import type { Asked } from '../../ops/control-client.js';
import type { Status } from '../../ops/status.js';
import { readPlainFile } from '../../state/plain-file.js';
import { withEchoSocket } from '../../system/echo.js';
import { describeChain, foreignChains } from '../../system/foreign-chains.js';
import { openNetlink } from '../../system/netlink.js';
import { listNameservers } from '../../system/resolv-conf.js';
import { packageVersion } from '../version.js';
import type { Service } from './service.js';

export interface Finding {
  readonly check: string;
  readonly state: 'ok' | 'warning' | 'problem';
  readonly detail: string;
  /** What to do about it; empty if all is well. */
  readonly remedy: string;
}

/** What came of asking the daemon for its status, if it has not told it. */
export type Unready =
  | Exclude<Asked, { is: 'answer' }>
  | { readonly is: 'starting'; readonly phase: string }
  | { readonly is: 'failing'; readonly reason: string };

/** Which etcd this host's node uses, or why that is not known. */
export type EtcdFound =
  | {
      readonly endpoints: readonly string[];
      readonly saidBy: string | undefined;
      readonly prefix: string;
      /** By which a command finds it. */
      readonly flags: readonly string[];
    }
  | { readonly problem: string };

/** The host as the checks see it. */
export interface Host {
  /** Of this command. */
  readonly version: string;
  readonly isRoot: boolean;
  readonly socketPath: string;
  /** What the running daemon says; undefined: nothing yet, or none runs, as `daemon` tells. */
  readonly status: Status | undefined;
  readonly daemon: Unready;
  /** Undefined: it is Kubernetes. */
  readonly etcd: EtcdFound | undefined;
  readonly settings: {
    readonly unreadable: string | undefined;
    readonly refused: readonly string[];
    /** Undefined: the config says it. */
    readonly wireguardImplementation?: ImplementationChoice | undefined;
  };
  probe(endpoint: string): Promise<Checkup>;
  /** Undefined: it is etcd. */
  probeKubernetes(): Promise<KubernetesCheckup | undefined>;
  now(): number;
  exists(path: string): Promise<boolean>;
  /** A file's text; undefined if it cannot be read. */
  read(path: string): Promise<string | undefined>;
  /** The names in a directory; none if it cannot be read. */
  list(path: string): Promise<string[]>;
  /** A command's output; undefined if it fails. */
  run(command: string, args: readonly string[]): Promise<string | undefined>;
  succeeds(command: string, args: readonly string[]): Promise<boolean>;
  /** Links of the kernel's WireGuard, and where each listens; undefined: the kernel does not tell. */
  wireguardDevices(): Promise<readonly WireguardLink[] | undefined>;
  /** Whom this host asks for names. */
  nameservers(): Promise<Ipv4[]>;
  /** Chains of others that may drop or change packets; of `input`, or of what is forwarded. */
  suspects(hook?: 'input'): Promise<string[]>;
  /** The Date header of a web server's answer; undefined if there is none. */
  clockOf(endpoint: string): Promise<Date | undefined>;
  /** Pings of the kernel to that address. */
  echoes(address: string): Promise<EchoSeries>;
  /** The largest packet with DF that comes back from there; undefined: none does. */
  largestPacket(address: string, smallest: number, largest: number): Promise<number | undefined>;
}

export interface Link {
  readonly ifname: string;
  readonly addr_info: readonly { readonly local: string; readonly prefixlen: number }[];
}

export interface WireguardLink {
  readonly name: string;
  readonly port: number;
}

/** What moves the packets of this host's node: as the node says, else as the network config would have it. */
export interface BackendFacts {
  readonly type: string;
  /** Of the tunnel; undefined: there is none. */
  readonly port: number | undefined;
  /** Whose WireGuard it is; undefined: it is none. `auto`: nobody has looked yet. */
  readonly implementation?: ImplementationChoice | undefined;
}

/** What several checks want to know, and is asked once. */
export interface Facts extends Host {
  /** Of each endpoint of etcd. */
  readonly probes: readonly (readonly [endpoint: string, found: Checkup])[];
  /** Undefined: it is etcd. */
  readonly kubernetes: KubernetesCheckup | undefined;
  /** Undefined: nobody tells. */
  readonly backend: BackendFacts | undefined;
  readonly links: readonly Link[];
  /** Undefined: the node is no service here. */
  readonly service: Service | undefined;
}

const TIMEOUT_MS = 5000;
const MOST_FILE_BYTES = 1024 * 1024;
/** A host of many containers has a route for each. */
const MOST_OUTPUT_BYTES = 64 * 1024 * 1024;

/** The part of the host that is the same whatever runs on it. @param registry undefined: it is not known */
export function realHost(
  known: Pick<Host, 'socketPath' | 'status' | 'daemon' | 'etcd' | 'settings'>,
  registry: SharedRegistry | undefined,
): Host {
  const etcd = registry?.kind === 'etcd' ? registry : undefined;
  const run = (command: string, args: readonly string[]) =>
    new Promise<string | undefined>((resolve) => {
      // What is printed is read by words.
      const env = { ...process.env, LC_ALL: 'C' };
      execFile(command, args, { timeout: TIMEOUT_MS, maxBuffer: MOST_OUTPUT_BYTES, env }, (error, stdout) =>
        resolve(error === null ? stdout : undefined),
      );
    });
  return {
    version: packageVersion(),
    isRoot: process.getuid?.() === 0,
    ...known,
    probe: (endpoint) => checkupOf(endpoint, etcd!),
    probeKubernetes: async () => (registry?.kind === 'kubernetes' ? checkKubernetesOf(registry) : undefined),
    now: Date.now,
    exists: (path) =>
      access(path).then(
        () => true,
        () => false,
      ),
    // Some are the daemon's to write: no link is followed, and none of its FIFOs waited for.
    read: (path) =>
      readPlainFile(path, MOST_FILE_BYTES).then(
        ({ text }) => text,
        () => undefined,
      ),
    list: (path) => readdir(path).catch(() => []),
    run,
    succeeds: async (command, args) => (await run(command, args)) !== undefined,
    wireguardDevices: () => readWireguard().catch(() => undefined),
    nameservers: () => listNameservers(),
    suspects: async (hook) =>
      (await foreignChains()).filter((chain) => (chain.hook === 'input') === (hook === 'input')).map(describeChain),
    clockOf: async (endpoint) => etcd && clockOf(endpoint, etcd),
    echoes: (address) => withEchoSocket(false, (socket) => pingSeries(socket, parseIpv4(address)!)),
    largestPacket: (address, smallest, largest) =>
      withEchoSocket(true, (socket) => largestPacket(socket, parseIpv4(address)!, smallest, largest)),
  };
}

async function readWireguard(): Promise<WireguardLink[]> {
  const netlink = openNetlink();
  try {
    const links = (await netlink.links()).filter(({ kind }) => kind === 'wireguard');
    const found: WireguardLink[] = [];
    for (const { name, index } of links) {
      const { listenPort, peers } = await netlink.wireguard.read(index);
      for (const { presharedKey } of peers) presharedKey.fill(0);
      found.push({ name, port: listenPort });
    }
    return found;
  } finally {
    netlink.close();
  }
}
