import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { Peers } from './peers.js';

/** `npm run bench -- --only sealed`: Rudder's encrypted backend beside itself without that, and beside others that encrypt. */
export const SEALED = 'sealed';

/** What a program of another overlay needs, as Debian has it. */
const OTHERS = {
  'wireguard-go': { programs: ['wireguard-go', 'wg'], packages: 'wireguard-go wireguard-tools' },
  nebula: { programs: ['nebula', 'nebula-cert'], packages: 'nebula' },
} as const;

/** Those that were named, and those that this host has; who is left out is told, with the remedy. */
export function sealedPeers(named: Peers, tell: (text: string) => void): Peers {
  const peers: Peers = { ...named };
  for (const [name, { programs, packages }] of Object.entries(OTHERS) as [
    keyof typeof OTHERS,
    (typeof OTHERS)[keyof typeof OTHERS],
  ][]) {
    if (peers[name] !== undefined) continue;
    const [path, ...rest] = programs.map(find);
    if (path !== undefined && !rest.includes(undefined)) peers[name] = path;
    else tell(`${name} is left out: apt-get install --no-install-recommends ${packages}, or name one with --${name}`);
  }
  return peers;
}

function find(program: string): string | undefined {
  const paths = (process.env.PATH ?? '').split(delimiter).map((directory) => join(directory, program));
  return paths.find((path) => existsSync(path));
}
