import { expect, it } from 'vitest';
import { releaseLease } from '../../../../src/control/etcd/lease-release.js';
import { createMemoryRegistry } from '../../../helpers/memory-registry.js';
import { entryOf, FLANNEL_VALUE, ME, MY_VALUE, peerValue, subnet } from './cluster.js';

const NAME = '10.240.26.0-24';

it.each([
  { what: 'its own lease', value: MY_VALUE, ttl: 60, released: true },
  { what: 'its own lease of another address', value: peerValue('10.1.1.99', ME.nodeId), ttl: 60, released: true },
  { what: 'a reservation', value: MY_VALUE, ttl: undefined, released: false },
  { what: 'a lease that another node has by now', value: peerValue('10.1.1.77'), ttl: 60, released: false },
  { what: 'a lease that flannel has taken over', value: FLANNEL_VALUE, ttl: 60, released: false },
  { what: 'what is no lease', value: 'x', ttl: 60, released: false },
])('a node that is gone leaves $what: given back is $released', async ({ value, ttl, released }) => {
  const registry = createMemoryRegistry();
  registry.putRaw(NAME, value, ttl);
  registry.putRaw('10.240.27.0-24', MY_VALUE, 60);
  expect(await releaseLease(registry, subnet('10.240.26.0/24'), ME.nodeId)).toBe(released);
  expect((await entryOf(registry, NAME)) === undefined).toBe(released);
  expect(await entryOf(registry, '10.240.27.0-24')).toBeDefined();
});

it('a node whose lease has run out has none to give back', async () => {
  expect(await releaseLease(createMemoryRegistry(), subnet('10.240.26.0/24'), ME.nodeId)).toBe(false);
});
