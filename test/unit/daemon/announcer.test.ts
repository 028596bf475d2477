import { expect, it } from 'vitest';
import { parseIpv4, parseSubnet } from '../../../src/core/address-text.js';
import { createAnnouncer } from '../../../src/daemon/announcer.js';

it('tells nothing before READY, then what is so at that moment, then what has changed', () => {
  const told: string[] = [];
  const facts = {
    subnet: parseSubnet('10.240.7.0/24')!,
    publicIp: parseIpv4('192.0.2.7')!,
    mtu: 1472,
    isCurrent: false,
  };
  const announcer = createAnnouncer(
    (...lines) => void told.push(...lines),
    'etcd',
    () => facts,
  );
  announcer.changed();
  facts.isCurrent = true; // etcd has answered meanwhile
  announcer.changed();
  expect(told).toEqual([]);

  announcer.ready();
  facts.mtu = 1372;
  announcer.changed();
  facts.isCurrent = false;
  announcer.changed();
  const status = (mtu: number) => `Subnet 10.240.7.0/24, public address 192.0.2.7, MTU ${mtu}`;
  expect(told).toEqual([
    'READY=1',
    `STATUS=${status(1472)}`,
    `STATUS=${status(1372)}`,
    `STATUS=Degraded: etcd does not answer, peers are as last known. ${status(1372)}`,
  ]);
});
