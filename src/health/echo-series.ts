import { setTimeout as delay } from 'node:timers/promises';
import { errnoOf } from '../core/errors.js';
import type { Ipv4 } from '../core/ipv4.js';
import { ECHO_HEADER_BYTES, type EchoSocket } from '../system/echo.js';

/** Echoes that a command sends by itself: to one address, of one size, one after the other. */
export interface EchoSeries {
  readonly sent: number;
  /** In the order in which they came back. */
  readonly rttsMs: readonly number[];
  /** Why the kernel took none of them; undefined: it took some. */
  readonly refusal: NodeJS.ErrnoException | undefined;
}

const INTERVAL_MS = 100;
const LOOK_MS = 5;

let lastId = process.pid & 0xffff;

/**
 * @param bytes of the whole packet
 * @param timeoutMs after the last one was sent
 */
export async function pingSeries(
  socket: EchoSocket,
  address: Ipv4,
  { count = 5, bytes = 84, timeoutMs = 1000 }: { count?: number; bytes?: number; timeoutMs?: number } = {},
): Promise<EchoSeries> {
  lastId = (lastId + 1) & 0xffff;
  const id = lastId;
  const sentAt = new Map<number, number>();
  const rttsMs: number[] = [];
  let refusal: NodeJS.ErrnoException | undefined;

  function look(): void {
    for (const { type, source, id: of, sequence, receivedAt } of socket.receive()) {
      const at = sentAt.get(sequence);
      if (type !== 'reply' || source !== address || of !== id || at === undefined) continue;
      sentAt.delete(sequence);
      rttsMs.push(Math.max(0, receivedAt - at) / 1000);
    }
  }

  let sent = 0;
  for (let sequence = 1; sequence <= count; sequence++) {
    try {
      sentAt.set(sequence, socket.send(address, id, sequence, bytes - ECHO_HEADER_BYTES));
      sent++;
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
      refusal = error as NodeJS.ErrnoException;
    }
    if (sequence < count) await until(() => false, INTERVAL_MS);
  }
  await until(() => sentAt.size === 0, timeoutMs);

  async function until(isDone: () => boolean, ms: number): Promise<void> {
    const end = performance.now() + ms;
    for (look(); !isDone() && performance.now() < end; look()) await delay(LOOK_MS);
  }
  return { sent, rttsMs, refusal: sent === 0 ? refusal : undefined };
}

const TRIES = 3;
const PATIENCE_MS = 400;

/**
 * The largest packet that comes back whole, by bisection, on a socket whose requests have DF.
 * @returns undefined: not even the smallest does
 */
export async function largestPacket(
  socket: EchoSocket,
  address: Ipv4,
  smallest: number,
  largest: number,
): Promise<number | undefined> {
  const passes = async (bytes: number) => {
    for (let i = 0; i < TRIES; i++) {
      const { rttsMs, refusal } = await pingSeries(socket, address, { count: 1, bytes, timeoutMs: PATIENCE_MS });
      if (rttsMs.length > 0) return true;
      // Larger than the interface: nothing was lost.
      if (refusal?.code === 'EMSGSIZE') return false;
    }
    return false;
  };
  if (!(await passes(smallest))) return undefined;
  if (await passes(largest)) return largest;
  let [good, bad] = [smallest, largest];
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (await passes(middle)) good = middle;
    else bad = middle;
  }
  return good;
}
