import { readFileSync } from 'node:fs';
import { type Ipv4, ipv4ToBytes } from '../core/ipv4.js';

/** What the kernel has dropped since there was no room for it: we never see these packets, so only it can count them. */
export interface QueueDrops {
  /** Of rudder0's queue, since the device was made. */
  readonly out_drop_queue: number;
  /** Of the socket's buffer, since the socket was opened. */
  readonly in_drop_queue: number;
}

/** A reader for one device. What cannot be read at the moment, for want of descriptors say, is as it was. */
export function createQueueDrops(device: string): (address: Ipv4, port: number) => QueueDrops {
  let last: QueueDrops = { out_drop_queue: 0, in_drop_queue: 0 };
  return (address, port) => {
    try {
      last = {
        out_drop_queue: deviceDrops(readFileSync('/proc/self/net/dev', 'utf8'), device),
        in_drop_queue: socketDrops(readFileSync('/proc/self/net/udp', 'utf8'), address, port),
      };
    } catch {
      // As it was.
    }
    return last;
  };
}

/** From `NAME: 8 numbers of what it received, 8 of what it sent`, of which the fourth are drops; 0 without such a line. */
export function deviceDrops(text: string, device: string): number {
  const line = text.split('\n').find((candidate) => candidate.trimStart().startsWith(`${device}:`));
  return Number(line?.split(':')[1].trim().split(/\s+/)[11] ?? 0);
}

/** From lines of `SLOT: ADDRESS:PORT ... DROPS`; both are in hexadecimal, the address as it lies in memory. */
export function socketDrops(text: string, address: Ipv4, port: number): number {
  const local = `${ipv4ToBytes(address).reverse().toString('hex')}:${port.toString(16).padStart(4, '0')}`.toUpperCase();
  const line = text.split('\n').find((candidate) => candidate.trim().split(/\s+/)[1] === local);
  return Number(line?.trim().split(/\s+/).at(-1) ?? 0);
}
