import { describe, expect, it } from 'vitest';
import { parseNetworkConfig } from '../../../../src/backend/config.js';
import { type PlannedChange, planChange } from '../../../../src/cli/config/plan.js';
import type { Claim } from '../../../../src/control/administration.js';
import { parseIpv4 } from '../../../../src/core/address-text.js';
import { formatReservationValue } from '../../../../src/core/lease.js';

const config = (rest: object = {}) => parseNetworkConfig(JSON.stringify({ Network: '10.240.0.0/16', ...rest }));

const leaseOf = (number: number, subnet = `10.240.${number}.0-24`, address = `10.1.1.${number}`): Claim => ({
  name: subnet,
  value: JSON.stringify({
    PublicIP: address,
    BackendType: 'udp',
    BackendData: { NodeID: 'x', HostName: `node${number}` },
  }),
  isForEver: false,
});
const nodes = (count: number) => Array.from({ length: count }, (_, i) => leaseOf(i + 1));

const plan = (after: object, claims: readonly Claim[], more: Partial<PlannedChange> = {}) =>
  planChange({ before: config(), after: config(after), claims, dropped: [], unknown: [], ...more });

describe('the plan of a change', () => {
  it('says what becomes what, with defaults, and whom it concerns', () => {
    expect(plan({ Backend: { MTU: 1400 } }, nodes(12))).toEqual({
      changes: ["Backend.MTU the underlay's becomes 1400"],
      notes: ['12 nodes apply it at their next restart: node1, node2, node3, and 9 more'],
      refusal: undefined,
    });
    expect(plan({ Backend: { MTU: 1400 } }, nodes(1)).notes).toEqual(['1 node applies it at its next restart: node1']);
    expect(plan({ Backend: { MTU: 1400 } }, []).notes).toEqual([
      'no node has a lease: it counts for those that start from now on',
    ]);
  });

  it('is refused if nodes would lose their subnets', () => {
    expect(plan({ SubnetLen: 26 }, nodes(12)).refusal).toBe(
      'REFUSED: at their next restart 12 nodes would lose their /24 subnets (node1, node2, node3, and 9 more); --yes-renumber changes it all the same',
    );
    expect(plan({ SubnetMin: '10.240.2.0' }, nodes(4)).refusal).toMatch(
      /^REFUSED: at its next restart 1 node would lose its \/24 subnet \(node1\); --yes-renumber/,
    );
    expect(plan({ SubnetMax: '10.240.3.0' }, nodes(5)).notes).toContainEqual(
      '2 nodes get other subnets, and their containers other addresses, at the next restart: node4, node5',
    );
    expect(plan({ SubnetMax: '10.240.9.0' }, nodes(5)).refusal).toBeUndefined();
    const lengths = [leaseOf(1), leaseOf(2, '10.240.64.0-18')];
    expect(plan({ Network: '10.9.0.0/16' }, lengths, { before: undefined }).refusal).toMatch(/lose their subnets \(/);
  });

  it('counts leases of flannel by address, taken reservations too, and nothing that is no lease', () => {
    const flannels = { name: '10.240.7.0-24', value: '{"PublicIP":"10.1.1.7"}', isForEver: false };
    const taken = { ...leaseOf(8), isForEver: true };
    const none = ['nonsense', '{}'].map((value) => ({ name: '10.240.9.0-24', value, isForEver: false }));
    const stray = { ...leaseOf(3), name: 'stray' };
    expect(plan({ SubnetLen: 25 }, [flannels, taken, ...none, stray]).refusal).toMatch(
      /2 nodes .*\(10\.1\.1\.7, node8\)/,
    );
  });

  it('does not take nodes for its own that have not been restarted since an earlier change', () => {
    const old = leaseOf(2, '10.9.2.0-24');
    const { notes, refusal } = plan({ Backend: { MTU: 1400 } }, [leaseOf(1), old]);
    expect(refusal).toBeUndefined();
    expect(notes).toContainEqual(
      expect.stringMatching(/^1 node has not been restarted since an earlier change, and gets/),
    );
  });

  it.each<[object, string | undefined]>([
    [{ Backend: { Type: 'vxlan' } }, 'Backend.Type'],
    [{ Backend: { Port: 9000 } }, 'Backend.Port'],
    [{ SubnetLen: 25 }, 'SubnetLen'],
    [{ Network: '10.0.0.0/8' }, 'Network'],
    [{ Backend: { MTU: 1400 } }, undefined],
  ])('of %j tells who does not reach whom meanwhile', (after, what) => {
    const split = plan(after, nodes(2)).notes.filter((note) => /reach each other/.test(note));
    expect(split).toEqual(
      what === undefined
        ? []
        : [`${what} changes: until all nodes are restarted, one that is and one that is not do not reach each other`],
    );
    expect(plan(after, nodes(1)).notes.filter((note) => /reach each other/.test(note))).toEqual([]);
  });

  it('tells of the VNI too', () => {
    const of = (VNI: number) => config({ Backend: { Type: 'vxlan', VNI } });
    const { notes } = planChange({ before: of(1), after: of(2), claims: nodes(2), dropped: [], unknown: [] });
    expect(notes).toContainEqual(expect.stringMatching(/^Backend\.VNI changes: until/));
  });

  it('tells of reservations outside, options that went, keys that stay, and an MTU that means another thing', () => {
    const reservation = (number: number): Claim => ({
      name: `10.240.${number}.0-24`,
      value: formatReservationValue(parseIpv4(`10.1.1.${number}`)!),
      isForEver: true,
    });
    const claims = [reservation(4), reservation(5), reservation(200)];
    const before = config({ Backend: { Type: 'vxlan', MTU: 1400 } });
    const unknown = ['unknown key "EnableIPv4"'];
    const after = { SubnetMin: '10.240.100.0', Backend: { MTU: 1400 } };
    const { notes, refusal } = plan(after, claims, { before, dropped: ['Backend.VNI'], unknown });
    expect(refusal).toBeUndefined();
    expect(notes).toEqual([
      'Backend.VNI goes: udp has no such option',
      'stays as it is, and is ignored: unknown key "EnableIPv4"',
      "Backend.MTU 1400 stays: the underlay's with vxlan, the tunnel's with udp",
      'no node has a lease: it counts for those that start from now on',
      '2 reservations fall outside, and their nodes get other subnets: 10.240.4.0/24 for 10.1.1.4, 10.240.5.0/24 for 10.1.1.5',
    ]);
  });

  it('tells of nodes whose own addresses the Network takes', () => {
    expect(plan({ Network: '10.1.0.0/16' }, nodes(2)).notes).toContainEqual(
      '2 nodes have their own addresses inside this Network, and cannot start with it: node1, node2',
    );
  });

  it('says all that the new one means if there is nothing to compare with', () => {
    const { changes } = plan({ SubnetLen: 25 }, [], { before: undefined });
    expect(changes).toEqual([
      'Network is 10.240.0.0/16',
      'SubnetLen is 25',
      'SubnetMin is 10.240.0.128',
      'SubnetMax is 10.240.255.128',
      'Backend.Type is udp',
      'Backend.Port is 8285',
      "Backend.MTU is the underlay's",
      'Backend.DirectRouting is false',
    ]);
  });
});
