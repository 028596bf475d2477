import { expect, it } from 'vitest';
import { createSharedMemory } from '../../../src/backend/packet-path/tables/memory.js';
import { createFakeNative } from '../../helpers/fake-native.js';
import { ipv4Packet, UDP, writeUint16 } from '../../helpers/packets.js';
import { type CaseHost, cases } from '../../native/path-cases.mjs';

/** The packet path's tests are worth what the fake is: `native/path` runs the same cases over the addon. */
function fakeHost(): CaseHost {
  const memory = createSharedMemory();
  const fake = createFakeNative(memory);
  const far = { address: 0x7f000001, port: 6001 };
  const packetOf = (payload: Uint8Array) => {
    const datagram = new Uint8Array(8 + payload.length);
    datagram.set(payload, 8);
    writeUint16(datagram, 4, datagram.length);
    return ipv4Packet({ source: 0x0a630001, destination: 0x0a630007, protocol: UDP, payload: datagram });
  };
  const textOf = (bytes: Uint8Array) => Buffer.from(bytes).toString();
  return {
    native: fake.native,
    memory,
    readable: async () => undefined,
    async fromHost(payloads) {
      fake.tunQueue.push(...payloads.map((payload) => packetOf(Buffer.from(payload))));
    },
    async superFromHost(bytes, segment) {
      const packet = packetOf(Buffer.alloc(bytes, 'a'));
      fake.tunQueue.push({ bytes: packet, vnet: [1, 5, 28, segment, 20, 6] });
    },
    packetToHost: (payload) => packetOf(Buffer.from(payload)),
    hostReceived: async () => fake.written.splice(0).map((packet) => textOf(packet.subarray(28))),
    far,
    async fromFar(payloads) {
      fake.udpQueue.push(...payloads.map((payload) => ({ sender: far.address, bytes: Buffer.from(payload) })));
    },
    async farReceived() {
      return fake.sent.splice(0).flatMap(({ bytes, segment }) => {
        const size = segment === 0 ? bytes.length : segment;
        return Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
          textOf(bytes.subarray(i * size, (i + 1) * size)),
        );
      });
    },
  };
}

it.each(cases)('the fake: $name', async ({ run, expected }) => {
  expect(await run(fakeHost())).toEqual(expected);
});
