import { expect, it, vi } from 'vitest';
import { watchCarrying } from '../../../src/daemon/carry-watch.js';

/** What the store is told first. */
async function told(host: { carryProblem?: string; isUp?: boolean }): Promise<string | undefined> {
  const carries = vi.fn<(problem: string | undefined) => void>();
  const { carryProblem, isUp: up = true } = host;
  const watch = watchCarrying({
    joined: { carries },
    backend: { device: 'rudder0', packetPath: undefined },
    host: { carryProblem: () => carryProblem, underlay: () => ({ name: 'eth0', address: 1, mtu: 1500 }) },
    netlink: { link: async (name) => ({ index: 2, name, up, mtu: 1450, addresses: [] }) as never },
  });
  await vi.waitFor(() => expect(carries).toHaveBeenCalled());
  watch.stop();
  return carries.mock.calls[0][0];
}

it('a node whose device is up and whose host carries the overlay moves packets', async () => {
  expect(await told({})).toBeUndefined();
});

it('one whose device is down, or whose host cannot carry the overlay, does not', async () => {
  expect(await told({ isUp: false })).toBe('rudder0 is down or gone');
  expect(await told({ carryProblem: 'no route' })).toBe('no route');
});
