import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { waitFor } from '../../../src/lab/wait-for.js';

/** Two hosts on one link: ours, 10.1.1.1, and one with Debian's wireguard-go, 10.1.1.2, whose device is 10.240.2.1. */
export const US = `wg-us-${process.pid}`;
export const PEER = `wg-peer-${process.pid}`;
/** Of the machine, not of the namespace: its socket lies in /var/run/wireguard. */
const DEVICE = `wgt${process.pid % 1_000_000}`;

/** @param input read by /dev/stdin, which has to be a pipe: what Node.js gives is a socket */
export const run = (namespace: string, command: string, input = '') =>
  execFileSync('ip', ['netns', 'exec', namespace, 'sh', '-c', `cat | ${command}`], {
    encoding: 'utf8',
    input,
    stdio: ['pipe', 'pipe', 'pipe'],
  });

export function makeHosts(): void {
  for (const name of [US, PEER]) execFileSync('ip', ['netns', 'add', name]);
  run(US, `ip link add eth0 type veth peer name eth0 netns ${PEER}`);
  [US, PEER].forEach((name, i) => {
    run(name, `ip address add 10.1.1.${i + 1}/24 dev eth0`);
    for (const link of ['lo', 'eth0']) run(name, `ip link set ${link} up`);
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

/** As `wg` takes them: base64. */
export interface GoSettings {
  readonly privateKey: string;
  readonly peerKey: string;
  readonly presharedKey?: string;
  readonly endpoint?: string;
  readonly keepalive?: number;
}

export interface GoPeer {
  /** What follows `wg set <device>`. */
  set(line: string, input?: string): void;
  /** `wg show <device> <what>`, of the one peer. */
  show(what: string): string;
  /** One ICMP echo from there, whether it is answered. */
  pings(size?: number): Promise<boolean>;
  stop(): Promise<void>;
}

export async function startGoPeer(settings: GoSettings): Promise<GoPeer> {
  const child = spawn('ip', ['netns', 'exec', PEER, 'wireguard-go', '--foreground', DEVICE], {
    stdio: 'ignore',
    env: { ...process.env, LOG_LEVEL: 'silent' },
  });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await waitFor('wireguard-go', () => existsSync(`/var/run/wireguard/${DEVICE}.sock`), 5000);
  const set = (line: string, input = '') => void run(PEER, `wg set ${DEVICE} ${line}`, input);
  set('private-key /dev/stdin listen-port 51820', settings.privateKey);
  const endpoint = settings.endpoint === undefined ? '' : ` endpoint ${settings.endpoint}`;
  set(`peer ${settings.peerKey} allowed-ips 10.240.1.0/24${endpoint} persistent-keepalive ${settings.keepalive ?? 0}`);
  if (settings.presharedKey !== undefined)
    set(`peer ${settings.peerKey} preshared-key /dev/stdin`, settings.presharedKey);
  run(PEER, `ip address add 10.240.2.1/24 dev ${DEVICE}`);
  run(PEER, `ip link set ${DEVICE} mtu 1420 up`);
  run(PEER, `ip route add 10.240.1.0/24 dev ${DEVICE}`);
  return {
    set,
    show: (what) => run(PEER, `wg show ${DEVICE} ${what}`).trim(),
    pings(size = 56) {
      const line = `netns exec ${PEER} ping -q -c 1 -W 2 -s ${size} 10.240.1.1`;
      const ping = spawn('ip', line.split(' '), { stdio: 'ignore' });
      return new Promise((resolve) => ping.once('exit', (code) => resolve(code === 0)));
    },
    async stop() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

export interface Relay {
  send(bytes: Buffer, address: string, port: number): void;
  onMessage(take: (bytes: Buffer, address: string, port: number) => void): void;
  /** The socket has another port from then on. */
  bind(port: number): Promise<void>;
  stop(): void;
}

/** A socket of our host. */
export async function startRelay(): Promise<Relay> {
  const script = fileURLToPath(new URL('./relay.mjs', import.meta.url));
  const child: ChildProcess = spawn('ip', ['netns', 'exec', US, process.execPath, script, '10.1.1.1', '51820'], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    serialization: 'advanced',
  });
  let bound = 0;
  let take: (bytes: Buffer, address: string, port: number) => void = () => undefined;
  child.on('message', (message: { bound?: number; bytes: Uint8Array; from: { address: string; port: number } }) => {
    if (message.bound !== undefined) bound = message.bound;
    else take(Buffer.from(message.bytes), message.from.address, message.from.port);
  });
  await waitFor('the socket', () => bound !== 0, 5000);
  return {
    send: (bytes, address, port) => void child.send({ bytes, address, port }),
    onMessage(next) {
      take = next;
    },
    async bind(port) {
      child.send({ bind: port });
      await waitFor('the socket', () => bound === port, 5000);
    },
    stop: () => child.disconnect(),
  };
}
