import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
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
export async function transfer(
  lab: LabState,
  protocol: 'tcp' | 'udp',
  from: string,
  to: string,
  address: string,
  bytes: number,
): Promise<Transfer> {
  const server = spawn('nsenter', [
    `--net=/run/netns/${namespaceOf(lab, to)}`,
    process.execPath,
    PEER,
    `${protocol}-serve`,
    PORT,
  ]);
  try {
    const lines = createInterface({ input: server.stdout })[Symbol.asyncIterator]();
    await lines.next(); // "listening"
    const client = [process.execPath, PEER, protocol === 'tcp' ? 'tcp-send' : 'udp-ask', address, PORT, String(bytes)];
    const sent = JSON.parse(await execIn(lab, from, client));
    return { sent, received: JSON.parse((await lines.next()).value) };
  } finally {
    end(server);
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
