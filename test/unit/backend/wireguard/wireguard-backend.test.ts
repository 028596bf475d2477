import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { Backend } from '../../../../src/backend/backend.js';
import type { BackendHost } from '../../../../src/backend/kind.js';
import type { Tunnel } from '../../../../src/backend/packet-path/tun-backend.js';
import { optionsOf } from '../../../../src/backend/wireguard/options.js';
import { openWireguardBackend } from '../../../../src/backend/wireguard/wireguard-backend.js';
import { parseIpv4, parseSubnet } from '../../../../src/core/address-text.js';
import type { Lease } from '../../../../src/core/lease.js';
import { parseCommonConfig } from '../../../../src/core/network-config.js';
import { threadsFor } from '../../../../src/system/cipher.js';
import { native } from '../../../../src/system/native.js';
import { createRecordingLog } from '../../../helpers/recording-log.js';

// What a kind adds to device and socket, without them.
vi.mock('../../../../src/backend/packet-path/tun-backend.js', () => ({
  openTunBackend: (_: unknown, tunnelOn: (socket: () => number) => Tunnel) => tunnelOn(() => -1),
}));

let stateDir: string;
let tunnel: Tunnel;
beforeEach(async () => {
  stateDir = mkdtempSync(join(tmpdir(), 'rudder-wireguard-'));
  tunnel = await open();
});
afterEach(async () => {
  await tunnel.stop();
  rmSync(stateDir, { recursive: true });
});

async function open(): Promise<Tunnel> {
  const config = parseCommonConfig('{"Network":"10.240.0.0/16"}');
  const host = { config, stateDir, mtu: 1420, portMapped: false, cipher: 'auto', log: createRecordingLog() };
  const backend: Backend = await openWireguardBackend(host as unknown as BackendHost, optionsOf(config));
  return backend as unknown as Tunnel;
}

it('wakes a path that starts, for what was asked for while there was none', () => {
  const wake = vi.fn();
  tunnel.started({ wake });
  expect(wake).toHaveBeenCalledOnce();
});

it('takes the node that has the same key, as soon as it has another one itself', async () => {
  const lease: Lease = {
    subnet: parseSubnet('10.240.1.0/24')!,
    publicIp: parseIpv4('10.1.1.1')!,
    nodeId: undefined,
    backend: { type: 'wireguard', data: tunnel.leaseData() },
  };
  tunnel.apply([{ type: 'added', lease }]);
  expect(tunnel.problemOf(lease.subnet)).toContain("this node's own");
  await tunnel.rotateKey!();
  expect(tunnel.problemOf(lease.subnet)).toBeUndefined();
  expect(tunnel.sessions!.of(lease.subnet)).toMatchObject({ hasSession: false });
});

it('has the cipher helped by as many threads as the host has cores for', async () => {
  const threads = vi.spyOn(native, 'useCipherThreads');
  await tunnel.stop();
  tunnel = await open();
  expect(threads).toHaveBeenCalledExactlyOnceWith(threadsFor(availableParallelism()));
});
