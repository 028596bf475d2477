import type { Member } from './names.js';
import { execIn } from './network.js';
import type { LabState } from './state.js';

/**
 * Round trip in ms, or `lost`. Of several the best: a machine that is busy with something else makes a single one slow, and
 * says nothing of the way.
 */
export async function pingTime(lab: LabState, from: Member, address: string, count: number): Promise<string> {
  try {
    const command = ['ping', '-n', '-c', String(count), '-i', '0.2', '-W', '2', address];
    return bestOf(await execIn(lab, from, command)) ?? '?';
  } catch {
    return 'lost';
  }
}

/** As ping has printed it. */
export function bestOf(output: string): string | undefined {
  const times = [...output.matchAll(/time=([\d.]+)/g)].map(([, time]) => time);
  return times.toSorted((one, other) => Number(one) - Number(other))[0];
}
