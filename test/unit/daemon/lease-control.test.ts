import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createMemoryRegistry } from '../../../src/control/memory-registry.js';
import { parseIpv4, parseSubnet } from '../../../src/core/address-text.js';
import { parseNetworkConfig } from '../../../src/core/network-config.js';
import { startLeaseControl } from '../../../src/daemon/lease-control.js';
import { createRecordingLog } from '../../helpers/recording-log.js';

const configJson = '{"Network":"10.42.0.0/16"}';

/** While it looks for something, vi.waitFor() moves the clock by some hundredths of a second. */
const about = (seconds: number) => expect.closeTo(seconds, 0);

// Only the clock: the registry answers in microtasks.
beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

it('counts how long peers have been stale from when the watch broke, not from the last event', async () => {
  const registry = createMemoryRegistry();
  registry.putRaw('config', configJson);
  const currents: boolean[] = [];
  const control = startLeaseControl({
    registry,
    config: parseNetworkConfig(configJson),
    configJson,
    identity: { publicIp: parseIpv4('192.0.2.7')!, nodeId: 'n', portMapped: false },
    own: { subnet: parseSubnet('10.42.7.0/24')!, holding: { revision: 1, ttlId: '0' }, created: true },
    known: undefined,
    ttlSeconds: 3600,
    onCurrent: (isCurrent) => currents.push(isCurrent),
    peers: { apply: () => undefined },
    log: createRecordingLog(),
  });
  try {
    await vi.waitFor(() => expect(currents).toEqual([true]));
    vi.advanceTimersByTime(100_000);
    expect(control.state()).toMatchObject({ staleSeconds: 0, contactAgeSeconds: about(100) });
    registry.disconnect();
    await vi.waitFor(() => expect(currents).toEqual([true, false]));
    expect(control.state()).toMatchObject({ isCurrent: false, staleSeconds: about(0), contactAgeSeconds: about(100) });
    vi.advanceTimersByTime(11_000);
    expect(control.state()).toMatchObject({ isCurrent: false, staleSeconds: about(11) });
    await vi.waitFor(() => expect(control.state()).toMatchObject({ staleSeconds: 0, contactAgeSeconds: about(0) }));
  } finally {
    await control.stop();
  }
});
