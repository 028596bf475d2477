import { expect, it } from 'vitest';
import { bestOf } from '../../../src/lab/ping.js';

const line = (sequence: number, time: string) =>
  `64 bytes from 10.240.7.2: icmp_seq=${sequence} ttl=62 time=${time} ms\n`;

it('the best of several pings is told, as ping has printed it', () => {
  expect(bestOf(line(1, '12.0') + line(2, '0.310') + line(3, '1.40'))).toBe('0.310');
  expect(bestOf(line(1, '0.52'))).toBe('0.52');
});

it('none is the best of none', () => {
  expect(bestOf('3 packets transmitted, 0 received, 100% packet loss, time 2031ms')).toBeUndefined();
});
