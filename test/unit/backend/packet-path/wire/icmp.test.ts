import { describe, expect, it } from 'vitest';
import { createIcmpLimit } from '../../../../../src/backend/packet-path/datapath/icmp-limit.js';
import { HEADER_SLOT_BYTES, viewOf } from '../../../../../src/backend/packet-path/tables/memory.js';
import { ICMP_TIME_EXCEEDED, mayAnswer, writeIcmpError } from '../../../../../src/backend/packet-path/wire/icmp.js';
import { checksumOf, headerChecksumIsRight, ICMP, ipv4Packet } from '../../../../helpers/packets.js';
import { ip, OWN_CONTAINER, PEER_CONTAINER } from '../../../../helpers/path.js';

const addresses = { source: OWN_CONTAINER, destination: PEER_CONTAINER };
const BROADCAST = ip('10.240.255.255');

const may = (packet: Uint8Array) => mayAnswer(viewOf(packet), 0, packet.length, BROADCAST);

describe('mayAnswer', () => {
  it('answers UDP, echo requests and first fragments', () => {
    expect(may(ipv4Packet(addresses))).toBe(true);
    expect(may(ipv4Packet({ ...addresses, protocol: ICMP, payload: Uint8Array.from([8, 0, 0, 0, 0, 0, 0, 0]) }))).toBe(
      true,
    );
    expect(may(ipv4Packet({ ...addresses, fragment: 0x2000 }))).toBe(true);
  });

  it.each([3, 4, 5, 11, 12, 9, 10, 30, 255])('never answers ICMP type %i', (type) => {
    expect(may(ipv4Packet({ ...addresses, protocol: ICMP, payload: Uint8Array.from([type, 0, 0, 0]) }))).toBe(false);
  });

  it('never answers ICMP that is too short to tell its type', () => {
    expect(may(ipv4Packet({ ...addresses, protocol: ICMP, payload: new Uint8Array(0) }))).toBe(false);
  });

  it('never answers later fragments', () => {
    expect(may(ipv4Packet({ ...addresses, fragment: 1 }))).toBe(false);
  });

  it.each([
    '224.0.0.5',
    '239.255.255.250',
    '255.255.255.255',
    '10.240.255.255',
  ])('never answers what went to %s', (text) => {
    expect(may(ipv4Packet({ ...addresses, destination: ip(text) }))).toBe(false);
  });

  it.each(['0.0.0.0', '127.0.0.1', '224.0.0.1', '255.255.255.255'])('never answers to %s', (text) => {
    expect(may(ipv4Packet({ ...addresses, source: ip(text) }))).toBe(false);
  });
});

describe('writeIcmpError', () => {
  it('quotes the header with its options and eight bytes, with right checksums', () => {
    const packet = ipv4Packet({
      ...addresses,
      options: new Uint8Array(40),
      payload: Uint8Array.from(Array(32).keys()),
    });
    const out = new Uint8Array(HEADER_SLOT_BYTES + 7);
    const length = writeIcmpError(
      viewOf(out),
      7,
      ICMP_TIME_EXCEEDED,
      ip('10.240.26.0'),
      viewOf(packet),
      0,
      packet.length,
    );
    const message = out.subarray(7, 7 + length);

    expect(length).toBe(20 + 8 + 60 + 8);
    expect(headerChecksumIsRight(message)).toBe(true);
    expect(checksumOf(message, 20, length - 20)).toBe(0);
    expect([...message.subarray(12, 20)]).toEqual([10, 240, 26, 0, 10, 240, 26, 2]);
    expect([...message.subarray(20, 22)]).toEqual([11, 0]);
    expect(message.subarray(28)).toEqual(packet.subarray(0, 68));
  });

  it('quotes no more than there is', () => {
    const packet = ipv4Packet({ ...addresses, payload: new Uint8Array(3) });
    const out = viewOf(new Uint8Array(200));
    expect(writeIcmpError(out, 0, ICMP_TIME_EXCEEDED, 0, viewOf(packet), 0, packet.length)).toBe(20 + 8 + 23);
  });
});

describe('createIcmpLimit', () => {
  it('lets a burst of 50 pass, then 100 a second', () => {
    const limit = createIcmpLimit();
    const taken = (now: number, tries: number) =>
      Array.from({ length: tries }, () => limit.take(now)).filter(Boolean).length;
    expect(taken(1_000_000, 200)).toBe(50);
    expect(taken(1_000_100, 200)).toBe(10);
    expect(taken(1_060_000, 200)).toBe(50);
  });

  it('goes on when the clock wraps', () => {
    const limit = createIcmpLimit();
    while (limit.take(0x7fffffff)) {
      // Use up the burst.
    }
    expect(limit.take(19)).toBe(true);
  });
});
