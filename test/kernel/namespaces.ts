import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { waitFor } from '../../src/lab/wait-for.js';
import { lossWhile } from '../helpers/loss.js';

/** Two hosts on one link: ours, 10.1.1.1 with 10.240.1.0/24, and a peer, 10.1.1.2 with 10.240.2.0/24, made by hand. */
export const US = `krn-us-${process.pid}`;
export const PEER = `krn-peer-${process.pid}`;
export const PEER_MAC = '0e:00:00:00:00:02';
export const PEERS = [{ subnet: '10.240.2.0/24', endpoint: '10.1.1.2', mac: PEER_MAC }];

export const run = (namespace: string, ...command: string[]) =>
  execFileSync('ip', ['netns', 'exec', namespace, ...command], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

export const ip = (namespace: string, line: string) => run(namespace, 'ip', ...line.split(' '));

export function makeHosts(): void {
  for (const name of [US, PEER]) {
    execFileSync('ip', ['netns', 'add', name]);
    ip(name, 'link set lo up');
    run(name, 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
  }
  makeLink();
}

/** The link, and on each side a container's network: a bridge's address. */
export function makeLink(): void {
  ip(US, `link add eth0 type veth peer name eth0 netns ${PEER}`);
  [US, PEER].forEach((name, i) => {
    ip(name, `address add 10.1.1.${i + 1}/24 dev eth0`);
    ip(name, 'link set eth0 up');
  });
}

export function makeBridges(): void {
  [US, PEER].forEach((name, i) => {
    ip(name, 'link add br0 type bridge');
    ip(name, `address add 10.240.${i + 1}.1/24 dev br0`);
    ip(name, 'link set br0 up');
  });
}

export function removeHosts(): void {
  for (const name of [US, PEER]) {
    try {
      execFileSync('ip', ['netns', 'delete', name], { stdio: 'ignore' });
    } catch {
      // It was not made.
    }
  }
}

/** What flannel would write on one side for the other one. */
export function makeByHand(
  namespace: string,
  mac: string,
  other: { number: number; mac: string; endpoint: string },
): void {
  const own = 3 - other.number;
  ip(
    namespace,
    `link add flannel.1 address ${mac} mtu 1450 type vxlan id 1 local 10.1.1.${own} dev eth0 dstport 8472 nolearning`,
  );
  ip(namespace, `address add 10.240.${own}.0/32 dev flannel.1`);
  ip(namespace, 'link set flannel.1 up');
  ip(namespace, `neigh replace 10.240.${other.number}.0 lladdr ${other.mac} dev flannel.1 nud permanent`);
  run(namespace, 'bridge', 'fdb', 'replace', other.mac, 'dev', 'flannel.1', 'dst', other.endpoint, 'self', 'permanent');
  ip(namespace, `route replace 10.240.${other.number}.0/24 via 10.240.${other.number}.0 dev flannel.1 onlink`);
}

/** Whether a packet of a container comes back. */
export function reaches(namespace: string, source: string, destination: string, ...options: string[]): boolean {
  try {
    run(namespace, 'ping', '-q', '-c', '1', '-W', '0.5', '-I', source, ...options, destination);
    return true;
  } catch {
    return false;
  }
}

/** From a container of ours to one of the peer, and from there to ours. */
export const bothWays = () => reaches(US, '10.240.1.1', '10.240.2.1') && reaches(PEER, '10.240.2.1', '10.240.1.1');

export interface TestNode {
  readonly lines: Record<string, unknown>[];
  readonly process: ChildProcess;
  /** Resolves when it is ready, with what it says then. */
  readonly ready: Promise<Record<string, unknown>>;
  stop(signal: NodeJS.Signals): Promise<void>;
}

export function startNode(settings: object): TestNode {
  const script = fileURLToPath(new URL('./node.mjs', import.meta.url));
  const child = spawn('ip', ['netns', 'exec', US, process.execPath, script, JSON.stringify(settings)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: Record<string, unknown>[] = [];
  const exit = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const ready = new Promise<Record<string, unknown>>((resolve, reject) => {
    createInterface({ input: child.stdout! }).on('line', (line) => {
      lines.push(JSON.parse(line));
      if (lines.at(-1)?.ready === true) resolve(lines.at(-1)!);
    });
    void exit.then(() => reject(new Error(`ended: ${JSON.stringify(lines)}`)));
  });
  ready.catch(() => undefined);
  return {
    lines,
    process: child,
    ready,
    async stop(signal) {
      child.kill(signal);
      await exit;
    },
  };
}

export const within5s = (what: string, holds: () => boolean) => waitFor(what, holds, 5000);

/** How many packets of a container are lost that leave all the while. */
export const lossFromHere = (work: () => Promise<void>) => lossWhile(US, ['-I', '10.240.1.1', '10.240.2.1'], work);
