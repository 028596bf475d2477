import { readFileSync } from 'node:fs';
import { native } from './native.js';

/**
 * What the kernel has dropped since there was no room for it: we never see these packets, so only it can count them. A
 * super-packet and a train count as one, however many packets they are on the wire.
 */
export interface QueueDrops {
  /** Of rudder0's queue. */
  readonly out_drop_queue: number;
  /** Of the socket's buffer. */
  readonly in_drop_queue: number;
}

/**
 * A reader for the device of that name and whatever socket there is. What it answers begins at 0 with the first call and
 * never falls, as all our counters do; the kernel's begin anew with each device and each socket, and that of a persistent
 * device has begun in an earlier run. To be called before one of them is replaced and after it: nothing is forgotten then.
 */
export function createQueueDrops(device: string): (udp: number) => QueueDrops {
  const [out, incoming] = [createSum(), createSum()];
  return (udp) => ({
    out_drop_queue: out(attempt(() => deviceDrops(readFileSync('/proc/self/net/dev', 'utf8'), device))),
    in_drop_queue: incoming(attempt(() => native.udpDrops(udp))),
  });
}

/** Undefined: it cannot be read at the moment, for want of descriptors say, or since all is closed. */
function attempt(read: () => number | undefined): number | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** Adds up how much a counter of the kernel's grows; one that cannot be read has not grown. */
export function createSum(): (counter: number | undefined) => number {
  let last: number | undefined;
  let sum = 0;
  return (counter = last) => {
    if (counter === undefined) return sum;
    // One that has fallen is another device's or socket's.
    if (last !== undefined) sum += counter < last ? counter : counter - last;
    last = counter;
    return sum;
  };
}

/** From `NAME: 8 numbers of what it received, 8 of what it sent`, of which the fourth are drops; undefined without such a line. */
export function deviceDrops(text: string, device: string): number | undefined {
  const line = text.split('\n').find((candidate) => candidate.trimStart().startsWith(`${device}:`));
  return line === undefined ? undefined : Number(line.split(':')[1].trim().split(/\s+/)[11]);
}
