import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { namespaceOf } from './names.js';
import type { LabState } from './state.js';
import { waitFor } from './wait-for.js';

export interface StreamResult {
  readonly sent: number;
  readonly received: number;
}

/** Traffic that runs while something is broken: an echo request every 20 ms. */
export interface Stream {
  /** Waits until a request sent after this moment is answered. @throws after the deadline */
  flows(deadlineMs: number): Promise<void>;
  stop(): Promise<StreamResult>;
}

const INTERVAL_SECONDS = '0.02';

/** @param from a lab's member, such as `c1` */
export async function startStream(lab: LabState, from: string, address: string): Promise<Stream> {
  const enter = [`--net=/run/netns/${namespaceOf(lab, from)}`, '--'];
  // Deadline 0: an unanswered request holds nothing up.
  const ping = spawn('nsenter', [...enter, 'ping', '-n', '-O', '-i', INTERVAL_SECONDS, address]);
  let answered = 0;
  let latest = 0;
  let summary: StreamResult | undefined;
  createInterface({ input: ping.stdout }).on('line', (line) => {
    const sequence = /icmp_seq=(\d+)/.exec(line);
    if (sequence !== null) latest = Number(sequence[1]);
    if (sequence !== null && line.includes('time=')) answered = Number(sequence[1]);
    const counts = /^(\d+) packets transmitted, (\d+) received/.exec(line);
    if (counts !== null) summary = { sent: Number(counts[1]), received: Number(counts[2]) };
  });

  async function flows(deadlineMs: number): Promise<void> {
    const after = latest;
    await waitFor(`an echo of ${address} after number ${after}`, () => answered > after, deadlineMs);
  }

  await flows(10_000);
  return {
    flows,
    async stop() {
      ping.kill('SIGINT');
      await once(ping, 'exit');
      return waitFor('ping to sum up', () => summary, 2000);
    },
  };
}
