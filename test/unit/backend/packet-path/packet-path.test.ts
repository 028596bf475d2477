import { expect, it } from 'vitest';
import { startPacketPath } from '../../../../src/backend/packet-path/packet-path.js';
import { createSharedMemory, type PathSettings } from '../../../../src/backend/packet-path/tables/memory.js';
import { waitFor } from '../../../../src/lab/wait-for.js';

it('a path that is stopped is woken by nobody: its event is closed', async () => {
  const failures: Error[] = [];
  // A worker without settings, and beside the sources none at all: it fails at once.
  const settings = {} as PathSettings;
  const path = await startPacketPath({ tun: -1, udp: -1 }, createSharedMemory(), settings, (e) => failures.push(e));
  path.wake();
  await waitFor('its failure', () => failures.length === 1, 5000);
  await path.stop();
  expect(() => path.wake()).not.toThrow();
});
