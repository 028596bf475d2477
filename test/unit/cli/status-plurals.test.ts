import { expect, it } from 'vitest';
import { describe as describeNode } from '../../../src/cli/status.js';
import { createStatus } from '../../helpers/status.js';

const { firewall, lease, ...status } = createStatus();
const packetPath = status.packetPath!;

function textWith(count: number): string {
  const counters = { ...packetPath.counters, out_packets: count, in_packets: count };
  return describeNode(
    createStatus({
      packetPath: { ...packetPath, counters },
      firewall: { ...firewall, repairs: count },
      lease: { ...lease, recoveries: count },
    }),
  );
}

it('the status counts one and several', () => {
  const one = textWith(1);
  expect(one).toMatch(/restored 1 time\n[\s\S]*put back 1 time;[\s\S]*out 1 packet, .*in 1 packet, /);
  expect(one).not.toMatch(/\b1 (times|packets|peers)\b/);
  expect(textWith(2)).toMatch(/restored 2 times\n[\s\S]*put back 2 times;[\s\S]*out 2 packets, .*in 2 packets, /);
});
