import { spawn } from 'node:child_process';
import { waitFor } from '../../src/lab/wait-for.js';

/** How many packets are lost that leave a namespace all the while. @param way ping's source, if any, and destination */
export async function lossWhile(namespace: string, way: readonly string[], work: () => Promise<void>): Promise<number> {
  const ping = spawn('ip', ['netns', 'exec', namespace, 'ping', '-n', '-i', '0.01', '-W', '1', ...way]);
  let said = '';
  ping.stdout.on('data', (text) => {
    said += text;
  });
  const end = new Promise((resolve) => ping.once('close', resolve));
  try {
    await waitFor('packets that come back', () => said.includes('icmp_seq=10 '), 5000);
    await work();
  } finally {
    ping.kill('SIGINT');
    await end;
  }
  const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(said)!;
  return Number(sent) - Number(received);
}
