import type { Host } from './host.js';

export interface Answers {
  readonly sent: number;
  readonly received: number;
}

interface PingOptions {
  readonly count?: number;
  /** Bytes behind ping's header, sent with "don't fragment". */
  readonly size?: number;
  /** Network namespace from which it is sent. */
  readonly netns?: string;
}

/** How many pings are answered; undefined: none. */
export async function ping(
  host: Host,
  to: string,
  { count = 3, size, netns }: PingOptions = {},
): Promise<Answers | undefined> {
  const unfragmented = size === undefined ? [] : ['-M', 'do', '-s', String(size)];
  const args = ['-n', '-q', '-c', String(count), '-i', '0.2', '-W', '1', ...unfragmented, to];
  const text =
    netns === undefined
      ? await host.run('ping', args)
      : await host.run('ip', ['netns', 'exec', netns, 'ping', ...args]);
  const numbers = /(\d+) packets transmitted, (\d+) /.exec(text ?? '');
  if (numbers === null) return undefined;
  const [sent, received] = numbers.slice(1).map(Number);
  return received === 0 ? undefined : { sent, received };
}

export const isLossless = ({ sent, received }: Answers) => received >= sent;

/** `1 of 3 is lost`. */
export function lossOf({ sent, received }: Answers): string {
  const lost = sent - received;
  return `${lost} of ${sent} ${lost === 1 ? 'is' : 'are'} lost`;
}

export const LOSS_REMEDY =
  'see what is dropped in "rudder status" on both hosts, and whether the way between them loses packets too';
