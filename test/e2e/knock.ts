import type { Member } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import type { LabState } from '../../src/lab/state.js';

/** A user without rights. */
export const NOBODY = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];

/**
 * What becomes of so many connections at once to the port where nodes ask each other, made by nobody in particular:
 * `connected` how many, `heard` how many bytes.
 */
export async function knock(
  lab: LabState,
  member: Member,
  to: string,
  path: string,
  { count = 1, from }: { count?: number; from?: string } = {},
): Promise<{ connected: number; heard: number }> {
  const code = `let connected = 0, heard = 0;
      for (let i = 0; i < ${count}; i++) {
        const s = require('net').connect({ host: '${to}', port: 8285, localAddress: ${JSON.stringify(from)} });
        s.on('connect', () => { connected++; s.write('GET ${path} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); });
        s.on('data', (d) => { heard += d.length; }).on('error', () => {});
      }
      setTimeout(() => { console.log(JSON.stringify({ connected, heard })); process.exit(); }, 700);`;
  return JSON.parse(await execIn(lab, member, [...NOBODY, process.execPath, '-e', code]));
}
