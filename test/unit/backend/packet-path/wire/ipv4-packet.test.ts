import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { viewOf } from '../../../../../src/backend/packet-path/tables/memory.js';
import { decrementTtl, isWellFormed } from '../../../../../src/backend/packet-path/wire/ipv4-packet.js';
import { checksumOf, headerChecksumIsRight, ipv4Packet, writeUint16 } from '../../../../helpers/packets.js';
import { OWN_CONTAINER, PEER_CONTAINER } from '../../../../helpers/path.js';

const addresses = { source: OWN_CONTAINER, destination: PEER_CONTAINER };

describe('isWellFormed', () => {
  it('accepts whole packets, with and without options', () => {
    for (const options of [new Uint8Array(0), new Uint8Array(4), new Uint8Array(40)]) {
      const packet = ipv4Packet({ ...addresses, options });
      expect(isWellFormed(viewOf(packet), 0, packet.length)).toBe(true);
    }
  });

  it.each([
    ['shorter than a header', 19, (_: Uint8Array) => undefined],
    ['of IP version 6', 28, (p: Uint8Array) => p.set([0x65], 0)],
    ['with a header length below 20', 28, (p: Uint8Array) => p.set([0x44], 0)],
    ['with a header longer than the packet', 28, (p: Uint8Array) => p.set([0x4f], 0)],
    ['with a total length above the bytes there are', 28, (p: Uint8Array) => writeUint16(p, 2, 29)],
    ['with a total length below the bytes there are', 28, (p: Uint8Array) => writeUint16(p, 2, 27)],
    ['of no bytes', 0, (_: Uint8Array) => undefined],
  ])('refuses a packet %s', (_, length, damage) => {
    const packet = ipv4Packet({ ...addresses, payload: new Uint8Array(8) });
    damage(packet);
    expect(isWellFormed(viewOf(packet), 0, length)).toBe(false);
  });
});

describe('decrementTtl', () => {
  it('takes one off and keeps the checksum right, for any header', () => {
    const header = fc.record({
      source: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
      destination: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
      ttl: fc.integer({ min: 2, max: 255 }),
      protocol: fc.integer({ min: 0, max: 255 }),
    });
    fc.assert(
      fc.property(header, (fields) => {
        const packet = ipv4Packet(fields);
        expect(decrementTtl(viewOf(packet), 0)).toBe(true);
        expect(packet[8]).toBe(fields.ttl - 1);
        expect(headerChecksumIsRight(packet)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  it('carries over when the checksum field is at its top', () => {
    // 0xfeff + 0x0100 = 0xffff, which one's complement writes as 0x0000.
    const packet = ipv4Packet(addresses);
    writeUint16(packet, 10, 0xfeff);
    decrementTtl(viewOf(packet), 0);
    expect([packet[10], packet[11]]).toEqual([0x00, 0x00]);
  });

  it.each([0, 1])('leaves a packet with TTL %i as it was', (ttl) => {
    const packet = ipv4Packet({ ...addresses, ttl });
    const before = packet.slice();
    expect(decrementTtl(viewOf(packet), 0)).toBe(false);
    expect(packet).toEqual(before);
  });
});

describe('checksumOf', () => {
  it('gives the example of RFC 1071', () => {
    expect(checksumOf(Uint8Array.from([0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0, 8)).toBe(~0xddf2 & 0xffff);
  });

  it('pads an odd length with a zero byte', () => {
    expect(checksumOf(Uint8Array.from([1, 2, 3]), 0, 3)).toBe(checksumOf(Uint8Array.from([1, 2, 3, 0]), 0, 4));
  });
});
