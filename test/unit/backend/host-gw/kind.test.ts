import { expect, it } from 'vitest';
import { parseNetworkConfig } from '../../../../src/backend/config.js';
import type { BackendHost } from '../../../../src/backend/kind.js';
import { settingsOf } from '../../../../src/backend/kinds.js';

const settings = settingsOf(parseNetworkConfig('{"Network":"10.240.0.0/16","Backend":{"Type":"host-gw"}}'));
const lease = (type: string) => ({ backend: { type, data: {} } });

it('wraps nothing around packets', () => {
  expect(settings).toMatchObject({ type: 'host-gw', tunnel: undefined, mtu: undefined, overheadBytes: 0 });
});

it('reaches the nodes of its own type, and says why not others', () => {
  expect(settings.problemOf(lease('host-gw'))).toBeUndefined();
  expect(settings.problemOf(lease('vxlan'))).toBe(
    'backend "vxlan" is not host-gw: the node cannot be reached from here',
  );
  expect(settings.problemOf({ ...lease(''), reserved: true })).toBeUndefined();
});

it('refuses a public address that is not the one of the interface', async () => {
  const host = { publicIp: 0x0a010107, localAddress: 0x0a010108, interface: 'eth0' } as BackendHost;
  await expect(settings.open(host)).rejects.toThrow(
    /host-gw with the public address 10\.1\.1\.7: expected 10\.1\.1\.8, the one of eth0; run without --public-ip/,
  );
});
