import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { namespaceOf } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import type { LabState } from '../../src/lab/state.js';

const PEER = fileURLToPath(new URL('./peer.mjs', import.meta.url));
const PORT = '7777';

export interface Received {
  readonly bytes: number;
  readonly sha256: string;
  readonly from: string;
}

export interface Transfer {
  readonly received: Received;
  readonly sent: { readonly sha256: string; readonly echoed?: string };
}

/** Sends `bytes` from one member to another and returns what each side saw. */
export function transfer(
  lab: LabState,
  protocol: 'tcp' | 'udp',
  from: string,
  to: string,
  address: string,
  bytes: number,
): Promise<Transfer> {
  const enter = (member: string) => ['nsenter', `--net=/run/netns/${namespaceOf(lab, member)}`, '--'];
  return exchange(enter(from), enter(to), protocol, address, bytes);
}

/** The same between any two networks. @param client, server the commands that enter them @param seconds TCP takes at least */
export async function exchange(
  client: readonly string[],
  server: readonly string[],
  protocol: 'tcp' | 'udp',
  address: string,
  bytes: number,
  seconds = 0,
): Promise<Transfer> {
  const [program, ...args] = [...server, process.execPath, PEER, `${protocol}-serve`, PORT];
  const serving = spawn(program, args);
  try {
    const lines = createInterface({ input: serving.stdout })[Symbol.asyncIterator]();
    await lines.next(); // "listening"
    const mode = protocol === 'tcp' ? 'tcp-send' : 'udp-ask';
    const [ask, ...rest] = [...client, process.execPath, PEER, mode, address, PORT, String(bytes), String(seconds)];
    const { stdout } = await execa(ask, rest);
    return { sent: JSON.parse(stdout), received: JSON.parse((await lines.next()).value) };
  } finally {
    end(serving);
  }
}

/** Pings until the first answer, at most `seconds`. @throws if there is none */
export async function ping(lab: LabState, from: string, address: string, ...options: string[]): Promise<string> {
  return execIn(lab, from, ['ping', '-n', '-c', '1', '-W', '2', ...options, address]);
}

/** True if one echo request is answered within half a second. */
export async function reaches(lab: LabState, from: string, address: string): Promise<boolean> {
  return execIn(lab, from, ['ping', '-n', '-c', '1', '-W', '0.5', address]).then(
    () => true,
    () => false,
  );
}

function end(child: ChildProcess): void {
  if (child.exitCode === null) child.kill('SIGKILL');
}
