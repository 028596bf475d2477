import { expect, it } from 'vitest';
import { findPeer } from '../../../src/cli/find-peer.js';
import { createStatus } from '../../helpers/status.js';

const [peer] = createStatus().peers;
const other = { ...peer, host: 'gamma', nextHop: '10.1.1.78', subnet: '10.240.78.0/24' };
const status = createStatus({ peers: [peer, other] });

it.each(['beta', 'BETA', '10.1.1.77', '10.240.77.0/24', '10.240.77.0'])('finds a peer by %s', (text) => {
  expect(findPeer(status, text)).toBe(peer);
});

it('says whom it knows, of one that it does not', () => {
  expect(() => findPeer(status, 'delta')).toThrow(/"delta" is no peer .*, such as beta \(10\.1\.1\.77\), gamma/);
});

it('asks for an address where a name is that of several', () => {
  const twins = createStatus({ peers: [peer, { ...other, host: 'beta' }] });
  expect(() => findPeer(twins, 'beta')).toThrow(/several nodes: .* one of 10\.1\.1\.77, 10\.1\.1\.78/);
});
