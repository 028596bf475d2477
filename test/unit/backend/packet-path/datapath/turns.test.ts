import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createOutbound } from '../../../../../src/backend/packet-path/datapath/outbound.js';
import { readAll } from '../../../../../src/backend/packet-path/tables/counters.js';
import { OFFLOADS, TUN_TSO } from '../../../../../src/backend/packet-path/tables/offloads.js';
import type { FromTun } from '../../../../helpers/fake-native.js';
import { ipv4Packet } from '../../../../helpers/packets.js';
import { createTestPath, ip, OWN_CONTAINER, PEER_CONTAINER, type TestPath } from '../../../../helpers/path.js';
import { packetsOf, superPacket, tcpPacket, udpPacket } from '../../../../helpers/super-packets.js';

/** What a turn leaves for the next one, and how much that is. */
const ALL_OFFLOADS = OFFLOADS.map((_, i) => i);

const payload = (length: number, seed: number) => Uint8Array.from({ length }, (_, i) => (i * 31 + seed) & 255);
const nowhere = ip('10.240.200.2');

const plain = fc
  .record({ length: fc.nat(1400), seed: fc.nat(255), ttl: fc.constantFrom(1, 2, 64), lost: fc.boolean() })
  .map(({ length, seed, ttl, lost }): Uint8Array => {
    const destination = lost ? nowhere : PEER_CONTAINER;
    return ipv4Packet({ source: OWN_CONTAINER, destination, ttl, payload: payload(length, seed) });
  });
const large = fc
  .record({
    length: fc.nat(9000),
    seed: fc.nat(255),
    size: fc.constantFrom(1, 7, 100, 600, 1000, 1400),
    isTcp: fc.boolean(),
  })
  .map(({ length, seed, size, isTcp }): FromTun => {
    const fields = { payload: payload(length, seed), identification: seed };
    return superPacket((isTcp ? tcpPacket : udpPacket)(fields), size);
  });

/** As texts, which are compared a hundred times as fast. */
interface Run {
  readonly wire: string[];
  readonly answers: string[];
  readonly counters: object;
}

function run(queues: readonly (Uint8Array | FromTun)[][], budget: number, turned: (path: TestPath) => void): Run {
  const path = createTestPath(true, ALL_OFFLOADS);
  const outbound = createOutbound(path.fake.native, path.memory, path.settings, budget);
  for (const queue of queues) {
    path.fake.tunQueue.push(
      ...queue.map((one) => (one instanceof Uint8Array ? one.slice() : { ...one, bytes: one.bytes.slice() })),
    );
    while (outbound()) turned(path);
    turned(path);
    expect(path.fake.tunQueue).toEqual([]);
  }
  // How trains are cut differs, and nothing else.
  const { out_datagrams: _, ...counters } = readAll(path.memory.counters);
  const texts = (packets: readonly Uint8Array[]) => packets.map((packet) => Buffer.from(packet).toString('latin1'));
  return { wire: texts(packetsOf(path.fake.sent)), answers: texts(path.fake.written), counters };
}

it('whatever a turn may do, the same packets go out in the same order', { timeout: 60_000 }, () => {
  const seen = { turns: 0, left: 0 };
  fc.assert(
    fc.property(
      fc.array(fc.array(fc.oneof(plain, large), { maxLength: 6 }), { minLength: 1, maxLength: 3 }),
      fc.constantFrom(1, 2, 10, 1000, 3000),
      (queues, budget) => {
        const whole = run(queues, Number.MAX_SAFE_INTEGER, () => undefined);
        let turns = 0;
        const cut = run(queues, budget, () => turns++);
        expect(cut).toEqual(whole);
        seen.turns += turns;
        seen.left += turns - queues.length;
      },
    ),
    { numRuns: 200 },
  );
  expect(seen.left).toBeGreaterThan(50);
});

it('a turn leaves nothing in the memory that the two directions share, and relies on nothing there', () => {
  const queue = [
    ...Array.from({ length: 4 }, (_, i) => superPacket(tcpPacket({ payload: payload(9000, i) }), 1000)),
    ipv4Packet({ source: OWN_CONTAINER, destination: nowhere }),
    ipv4Packet({ source: OWN_CONTAINER, destination: PEER_CONTAINER, ttl: 1 }),
    superPacket(udpPacket({ payload: payload(3000, 9) }), 1000),
  ];
  let turns = 0;
  const scribbled = run([queue, queue], 10, ({ memory: { headers, checksums, writes, writeIovecs } }) => {
    turns++;
    for (const scratch of [headers, checksums, writes, writeIovecs]) scratch.fill(-turns);
  });
  expect(turns).toBeGreaterThan(4);
  expect(scribbled).toEqual(run([queue, queue], Number.MAX_SAFE_INTEGER, () => undefined));
});

it('a turn ends once it has made as many segments as it may, with the super-packet at hand', () => {
  const made: number[] = [];
  const queue = Array.from({ length: 20 }, () => superPacket(tcpPacket({ payload: payload(2048, 1) }), 1));
  run([queue], 4096, ({ memory }) => made.push(readAll(memory.counters).out_packets));
  expect(made).toEqual(Array.from({ length: 10 }, (_, i) => 4096 * (i + 1)));
});

it('by itself makes no more than a bounded number', () => {
  const path = createTestPath(true, [TUN_TSO]);
  const outbound = createOutbound(path.fake.native, path.memory, path.settings);
  for (let i = 0; i < 20; i++) path.fake.tunQueue.push(superPacket(tcpPacket({ payload: payload(2048, 1) }), 1));
  expect(outbound()).toBe(true);
  expect(readAll(path.memory.counters).out_packets).toBe(4096);
});
