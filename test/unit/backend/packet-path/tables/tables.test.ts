import { describe, expect, it } from 'vitest';
import * as counterNumbers from '../../../../../src/backend/packet-path/tables/counters.js';
import {
  add,
  COUNTER_INTS,
  COUNTER_NAMES,
  OUT_BYTES,
  OUT_PACKETS,
  read,
  readAll,
} from '../../../../../src/backend/packet-path/tables/counters.js';
import { NO_PEER } from '../../../../../src/backend/packet-path/tables/peers.js';
import { createRouteTable, nextHopOf, setRoute } from '../../../../../src/backend/packet-path/tables/routes.js';
import { parseSubnet } from '../../../../../src/core/address-text.js';
import { ip } from '../../../../helpers/path.js';

describe('counters', () => {
  it('count beyond 2^32', () => {
    const counters = new Int32Array(COUNTER_INTS);
    const step = 2 ** 31 - 1;
    for (let i = 0; i < 5; i++) add(counters, OUT_BYTES, step);
    expect(read(counters, OUT_BYTES)).toBe(5 * step);
    expect(read(counters, OUT_PACKETS)).toBe(0);
  });

  it('never fall while the worker is between its two stores', () => {
    const counters = new Int32Array(2);
    let before = 0;
    for (let i = 0; i < 9; i++) {
      const [low, high] = counters;
      add(counters, 0, 2 ** 31 - 7);
      const after = counters[1];
      counters[1] = high;
      expect(counters[0]).not.toBe(low);
      const between = read(counters, 0);
      counters[1] = after;
      expect([between, read(counters, 0)]).toEqual([before + 2 ** 31 - 7, before + 2 ** 31 - 7]);
      before = between;
    }
  });

  it('have a name each', () => {
    const counters = new Int32Array(COUNTER_INTS);
    for (const counter of COUNTER_NAMES.keys()) add(counters, counter, counter + 1);
    expect(Object.values(readAll(counters))).toEqual(COUNTER_NAMES.map((_, counter) => counter + 1));
    expect(new Set(COUNTER_NAMES).size).toBe(COUNTER_NAMES.length);
    const numbers = Object.entries(counterNumbers).filter(([name]) => /^(IN|OUT|OFFLOAD)_/.test(name));
    expect(numbers).toHaveLength(COUNTER_NAMES.length);
    for (const [name, number] of numbers) expect(COUNTER_NAMES[number as number]).toBe(name.toLowerCase());
  });
});

describe.each([
  ['10.240.0.0/16', 24, '10.240.0.0/24', '10.240.255.0/24'],
  ['192.168.0.0/20', 22, '192.168.0.0/22', '192.168.12.0/22'],
  ['10.0.0.0/8', 20, '10.0.0.0/20', '10.255.240.0/20'],
])('route table of %s in /%i', (networkText, subnetLength, firstText, lastText) => {
  const network = parseSubnet(networkText)!;
  const [first, last] = [parseSubnet(firstText)!, parseSubnet(lastText)!];
  const hop = 9;

  it('finds the next hop of every address of a subnet, and of no other', () => {
    const table = createRouteTable({ network, subnetLength });
    for (const subnet of [first, last]) setRoute(table, subnet, hop);
    const size = 2 ** (32 - subnetLength);
    expect(nextHopOf(table, first.address)).toBe(hop);
    expect(nextHopOf(table, first.address + size - 1)).toBe(hop);
    expect(nextHopOf(table, first.address + size)).toBe(NO_PEER);
    expect(nextHopOf(table, last.address - 1)).toBe(NO_PEER);
    expect(nextHopOf(table, last.address + size - 1)).toBe(hop);
  });

  it('has nothing outside the network', () => {
    const table = createRouteTable({ network, subnetLength });
    table.nextHops.fill(hop);
    for (const text of ['0.0.0.0', '9.255.255.255', '255.255.255.255', '127.0.0.1']) {
      expect(nextHopOf(table, ip(text))).toBe(NO_PEER);
    }
    expect(nextHopOf(table, (network.address - 1) | 0)).toBe(NO_PEER);
  });

  it('forgets a removed route', () => {
    const table = createRouteTable({ network, subnetLength });
    setRoute(table, last, hop);
    setRoute(table, last, NO_PEER);
    expect(nextHopOf(table, last.address)).toBe(NO_PEER);
  });
});
