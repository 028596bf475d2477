import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { SessionReport } from '../../../src/backend/backend.js';
import type { Timing } from '../../../src/backend/wireguard/protocol/timing.js';
import { parseIpv4, parseSubnet } from '../../../src/core/address-text.js';
import type { LeaseChange } from '../../../src/core/lease-set.js';
import { US } from './go-peer.js';

export interface SealedReport {
  readonly counters: Record<string, number>;
  readonly session: SessionReport | null;
  readonly cipher: string;
  readonly problem: string | null;
}

/** Our WireGuard backend on our host, in a process of its own; its subnet is 10.240.1.0/24. */
export interface SealedNode {
  readonly process: ChildProcess;
  readonly logged: { readonly level: string; readonly message: string }[];
  readonly publicKey: string;
  apply(...changes: LeaseChange[]): Promise<void>;
  /** Its lease's new key. */
  rotate(): Promise<string>;
  report(subnet?: string): Promise<SealedReport>;
  /** As after a crash: all that is the kernel's goes with it. */
  kill(): Promise<void>;
  stop(): Promise<void>;
}

export interface SealedNodeSettings {
  /** Without offloads. */
  readonly isPlain?: boolean;
  /** Instead of those of the protocol. */
  readonly timing?: Partial<Timing>;
  /** What the host's clock says is so long ago. */
  readonly clockBehindMs?: number;
}

export async function startSealedNode(
  stateDir: string,
  options: object,
  peers: LeaseChange[],
  { isPlain = false, timing = {}, clockBehindMs = 0 }: SealedNodeSettings = {},
): Promise<SealedNode> {
  const script = fileURLToPath(new URL('./sealed-node.mjs', import.meta.url));
  const settings = JSON.stringify({
    stateDir,
    options,
    own: parseSubnet('10.240.1.0/24'),
    isPlain,
    timing,
    clockBehindMs,
  });
  const child = spawn('ip', ['netns', 'exec', US, process.execPath, script, settings], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    serialization: 'advanced',
  });
  const logged: SealedNode['logged'] = [];
  const waiting: ((answer: unknown) => void)[] = [];
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.on('message', (message: { answer?: unknown; log?: SealedNode['logged'][number]; failure?: string }) => {
    if (message.log !== undefined) logged.push(message.log);
    else if (message.failure !== undefined) logged.push({ level: 'failure', message: message.failure });
    else waiting.shift()?.(message.answer);
  });
  const answer = () => new Promise<unknown>((resolve) => waiting.push(resolve));
  const ask = (...message: unknown[]) => {
    child.send(message);
    return answer();
  };
  const { PublicKey } = (await answer()) as { PublicKey: string };
  await ask('apply', peers);
  await ask('start');
  return {
    process: child,
    logged,
    publicKey: PublicKey,
    apply: async (...changes) => void (await ask('apply', changes)),
    rotate: async () => ((await ask('rotate')) as { PublicKey: string }).PublicKey,
    report: async (subnet = '10.240.2.0/24') => (await ask('report', parseSubnet(subnet))) as SealedReport,
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
    async stop() {
      child.send(['stop']);
      await ended;
    },
  };
}

/** A change of the lease of the peer, 10.1.1.2. @param publicKey base64 */
export function peerChange(
  type: LeaseChange['type'],
  publicKey: string,
  { subnet = '10.240.2.0/24', address = '10.1.1.2', port = 51820 } = {},
): LeaseChange {
  const backend = { type: 'wireguard', data: { PublicKey: publicKey, Port: port } };
  const lease = { subnet: parseSubnet(subnet)!, publicIp: parseIpv4(address)!, nodeId: undefined, backend };
  return { type, lease };
}

/** Nothing that came was without a session, forged or repeated. @throws what was */
export async function nothingRefused(node: SealedNode): Promise<void> {
  const { counters } = await node.report();
  const refused = ['no_session', 'bad_tag', 'replay', 'source', 'malformed'].flatMap((reason) => {
    const count = counters[`in_drop_${reason}`];
    return count === 0 ? [] : [`${reason}: ${count}`];
  });
  if (refused.length > 0) throw new Error(`dropped: ${refused.join(', ')}`);
}
