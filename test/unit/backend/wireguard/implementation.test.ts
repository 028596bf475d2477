import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Backend } from '../../../../src/backend/backend.js';
import { parseNetworkConfig } from '../../../../src/backend/config.js';
import type { BackendHost } from '../../../../src/backend/kind.js';
import { openImplementation } from '../../../../src/backend/wireguard/implementation.js';
import type { ImplementationChoice } from '../../../../src/backend/wireguard/implementations.js';
import { optionsOf } from '../../../../src/backend/wireguard/options.js';
import { identityOf } from '../../../../src/backend/wireguard/protocol/keys.js';
import { parseIpv4 } from '../../../../src/core/address-text.js';
import { native } from '../../../../src/system/native.js';
import { NetlinkError } from '../../../../src/system/netlink.js';
import { createFakeWireguard } from '../../../helpers/fake-wireguard.js';
import { createRecordingLog } from '../../../helpers/recording-log.js';

const inUserSpace = vi.hoisted(() => vi.fn());
vi.mock('../../../../src/backend/wireguard/wireguard-backend.js', () => ({ openWireguardBackend: inUserSpace }));

const openTun = vi.hoisted(() => vi.fn());
vi.mock('../../../../src/system/tun-device.js', async (original) => ({
  ...(await original<typeof import('../../../../src/system/tun-device.js')>()),
  openTunDevice: openTun,
}));

const NAME = 'rudder-wg';
const USER = { sessions: { cipher: () => 'avx2' }, stop: async () => undefined };
let stateDir: string;
let fake: ReturnType<typeof createFakeWireguard>;
let backend: Backend | undefined;

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'rudder-implementation-'));
  fake = createFakeWireguard((key) => identityOf(key).publicKey);
  inUserSpace.mockReset().mockImplementation(async (_host, _options, freePort: () => Promise<void>) => {
    await freePort();
    return USER;
  });
  openTun.mockReset().mockReturnValue(7);
  vi.spyOn(native, 'close').mockReturnValue(undefined);
});
afterEach(async () => {
  await backend?.stop(true);
  backend = undefined;
  rmSync(stateDir, { recursive: true });
});

async function open(Implementation?: ImplementationChoice, flag?: ImplementationChoice) {
  const config = parseNetworkConfig(
    JSON.stringify({ Network: '10.240.0.0/16', Backend: { Type: 'wireguard', Implementation } }),
  );
  const host = {
    ...{ config, netlink: fake.netlink, stateDir, interface: 'eth0', mtu: 1420, log: createRecordingLog() },
    localAddress: parseIpv4('10.1.1.1')!,
    wireguardImplementation: flag,
  };
  backend = await openImplementation(host as unknown as BackendHost, optionsOf(config));
  return backend.sessions!.implementation;
}
const hasDevice = () => fake.links.some(({ name }) => name === NAME);

describe('whose WireGuard runs', () => {
  it.each<[ImplementationChoice | undefined, ImplementationChoice | undefined, object]>([
    [undefined, undefined, { runs: 'kernel', why: 'this kernel has WireGuard' }],
    ['auto', undefined, { runs: 'kernel', why: 'this kernel has WireGuard' }],
    ['kernel', undefined, { runs: 'kernel', why: 'Backend.Implementation is kernel' }],
    ['user', undefined, { runs: 'user', why: 'Backend.Implementation is user' }],
    ['user', 'kernel', { runs: 'kernel', why: '--wireguard-implementation kernel' }],
    ['kernel', 'user', { runs: 'user', why: '--wireguard-implementation user' }],
    ['user', 'auto', { runs: 'kernel', why: 'this kernel has WireGuard' }],
  ])('where the kernel has one, with %s in the config and the flag %s', async (config, flag, implementation) => {
    expect(await open(config, flag)).toEqual(implementation);
    expect(hasDevice()).toBe('runs' in implementation && implementation.runs === 'kernel');
  });

  it.each<[string, string]>([
    ['EOPNOTSUPP', 'this kernel has no WireGuard'],
    ['EPERM', 'cannot set up WireGuard device rudder-wg with port 51820: no permission, expected the capability'],
  ])('with auto is ours where the kernel refuses: %s', async (code, why) => {
    fake.refuses.create = code;
    expect(await open()).toMatchObject({ runs: 'user', why: expect.stringContaining(why) });
    expect(backend!.sessions!.cipher()).toBe('avx2');
  });

  it('with auto is ours where the name is taken, which stays as it is', async () => {
    await fake.netlink.wireguard.create(NAME, 1400);
    expect(await open()).toMatchObject({ runs: 'user', why: expect.stringContaining('exists already') });
    expect(hasDevice()).toBe(true);
  });

  it("is nobody's where the kernel is wanted and has none, with a remedy", async () => {
    fake.refuses.create = 'EOPNOTSUPP';
    await expect(open('kernel')).rejects.toMatchObject({
      code: 'device',
      message:
        'cannot set up WireGuard device rudder-wg with port 51820: this kernel has no WireGuard, expected its module wireguard; run "modprobe wireguard", or choose Backend.Implementation user, which needs none',
    });
    expect(inUserSpace).not.toHaveBeenCalled();
  });

  describe('beside a device that an earlier run has left', () => {
    beforeEach(async () => {
      await open('kernel');
      backend!.persist();
      await backend!.stop(false);
    });

    it('takes the port from it', async () => {
      expect(await open('user')).toMatchObject({ runs: 'user' });
      expect(hasDevice()).toBe(false);
      expect(native.close).toHaveBeenCalledExactlyOnceWith(7);
    });

    it('leaves it where there can be no other one', async () => {
      openTun.mockImplementation(() => {
        throw new Error('no TUN');
      });
      await expect(open('user')).rejects.toThrow('no TUN');
      inUserSpace.mockRejectedValue(new Error('no key'));
      await expect(open('user')).rejects.toThrow('no key');
      expect(hasDevice()).toBe(true);
    });

    it('does not become ours for what is so at the moment only', async () => {
      vi.spyOn(fake.netlink.wireguard, 'read').mockRejectedValueOnce(
        new NetlinkError('netlink: look at a WireGuard link: Timeout has been reached', 'ETIMEDOUT'),
      );
      await expect(open('auto')).rejects.toMatchObject({ code: 'device', message: /Timeout/ });
      expect([inUserSpace.mock.calls, hasDevice()]).toEqual([[], true]);
    });
  });

  it('does not hide what is wrong with our own', async () => {
    inUserSpace.mockRejectedValue(new Error('no TUN'));
    await expect(open('user')).rejects.toThrow('no TUN');
  });
});
