import { fileURLToPath } from 'node:url';
import { compile } from './compile.js';
import { nodeAddress, nodeName } from './names.js';
import { containerAddress, execIn } from './network.js';
import { readSubnetEnv } from './nodes.js';
import type { LabNode, LabState } from './state.js';

/** Hostile datagrams from one node's host to another node, by a small program in C: Node.js is too slow for it. */
const SOURCE = fileURLToPath(new URL('../../src/lab/flood.c', import.meta.url));

export interface Flood {
  readonly from: LabNode;
  readonly to: LabNode;
  readonly port: number;
  readonly count: number;
  /** `hostile`, `fragments`: nothing of it may enter. `ttl`: from a member, for a container, with no hop left. */
  readonly kind: 'hostile' | 'fragments' | 'ttl';
  /** Datagrams a second; 0: as fast as they go. */
  readonly rate: number;
}

/** Builds the program. */
export function buildFlood(lab: LabState): Promise<string> {
  return compile(lab, SOURCE);
}

/** @param program what buildFlood() made; @returns how many datagrams were sent, and in which time */
export async function flood(
  lab: LabState,
  program: string,
  { from, to, port, count, kind, rate }: Flood,
): Promise<{ sent: number; seconds: number }> {
  const container = (node: LabNode) => containerAddress(readSubnetEnv(lab, node).RUDDER_SUBNET);
  const nobody = container(to).replace(/\d+\.2$/, '254.2'); // leases are of the first hundred subnets
  const addresses = [nodeAddress(lab, from), nodeAddress(lab, to), container(to), container(from), nobody];
  const numbers = [port, count, kind, rate].map(String);
  const output = await execIn(lab, nodeName(from), [program, ...addresses, ...numbers]);
  const [sent, seconds] = output.trim().split(' ').map(Number);
  return { sent, seconds };
}
