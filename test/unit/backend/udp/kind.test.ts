import { expect, it } from 'vitest';
import { parseNetworkConfig } from '../../../../src/backend/config.js';
import { settingsOf } from '../../../../src/backend/kinds.js';
import { leaseDataOf } from '../../../../src/backend/udp/lease-data.js';

const settings = settingsOf(parseNetworkConfig('{"Network":"10.240.0.0/16"}'));
const problemOf = (type: string, data = {}) => settings.problemOf({ backend: { type, data } });

it("says in a node's lease where it receives, and only of one behind a NAT that its ports are mapped", () => {
  expect(leaseDataOf(8285)).toEqual({ Port: 8285 });
  expect(leaseDataOf(9000, { portMapped: true })).toEqual({ Port: 9000, PortMapped: true });
  expect(leaseDataOf(9000, { isDirect: true })).toEqual({ Port: 9000, DirectRouting: true });
});

it('reaches the nodes of its own type and port, and those that say neither', () => {
  expect(problemOf('udp', leaseDataOf(8285, { portMapped: true }))).toBeUndefined();
  expect(problemOf('', {})).toBeUndefined();
  // Not a number: nobody of ours has written it.
  expect(problemOf('udp', { Port: '9000' })).toBeUndefined();
});

it.each([
  ['vxlan', { VNI: 1 }, 'backend "vxlan" is not udp: the node cannot be reached from here'],
  ['host-gw', {}, 'backend "host-gw" is not udp: the node cannot be reached from here'],
  ['udp', { Port: 9000 }, 'Backend.Port 9000 is not 8285: its node has another network config'],
])('says why it does not reach one of %s %j', (type, data, problem) => {
  expect(problemOf(type, data)).toBe(problem);
});

it('names a type of any length in one short line', () => {
  const problem = problemOf(`${'\n'.repeat(9000)}x`);
  expect(problem).toMatch(/is not udp/);
  expect(problem).not.toContain('\n');
  expect(problem!.length).toBeLessThan(300);
});
