// What the batch calls of the packet path do: the same cases run over the fake, which its unit tests rely on, and over
// the addon with a real device and real sockets. Each returns what it saw.

const [RECORD_INTS, IOVEC_INTS, CHECKSUM_INTS] = [8, 3, 5];
const [OUTBOUND, INBOUND, HEADERS] = [0, 1, 2];
const EINVAL = -22;
const EMSGSIZE = -90;
const [NEEDS_CHECKSUM, GSO_UDP] = [1, 5];
/** IPv4 and UDP. */
const HEADER = 28;

const textIn = (slab, offset, length) => Buffer.from(slab.subarray(offset, offset + length)).toString('latin1');
const record = (array, i, values) =>
  array.set([...values, ...Array(RECORD_INTS - values.length).fill(0)], i * RECORD_INTS);
const iovec = (array, i, values) => array.set(values, i * IOVEC_INTS);
const checksum = ({ checksums }, i, values) => checksums.set(values, i * CHECKSUM_INTS);

/** Reads until that many packets have come. */
async function readPackets({ native, memory, readable }, count, { max = 64, header = 0, segment = 0 } = {}) {
  await readable('tun');
  const { outboundSlab, tunPackets } = memory;
  const read = native.readTun(max, outboundSlab.length, outboundSlab.length, header, segment);
  const packets = Array.from({ length: read }, (_, i) => [
    ...tunPackets.subarray(i * RECORD_INTS, (i + 1) * RECORD_INTS),
  ]);
  return { read, packets, isAll: read === count };
}
const payloadOf = ({ outboundSlab }, [offset, length]) => textIn(outboundSlab, offset + HEADER, length - HEADER);

async function receiveAll({ native, memory, readable }) {
  await readable('udp');
  const count = native.receiveUdp(16);
  return Array.from({ length: count }, (_, i) => {
    const [offset, length, sender, , segment, truncated] = memory.datagrams.subarray(i * RECORD_INTS);
    return { text: textIn(memory.inboundSlab, offset, length), sender, segment, truncated };
  });
}

export const cases = [
  {
    name: 'packets of the device are read in one call, in order, each where no other is, and once',
    expected: { read: 2, texts: ['first', 'a second one'], vnet: [0, 0, 0, 0, 0, 0], apart: true, again: 0 },
    async run(host) {
      await host.fromHost(['first', 'a second one']);
      const { read, packets } = await readPackets(host, 2);
      const [[offset, length, ...vnet], second] = packets;
      const { outboundSlab } = host.memory;
      const again = host.native.readTun(64, outboundSlab.length, outboundSlab.length, 0, 0);
      return {
        read,
        texts: packets.map((of) => payloadOf(host.memory, of)),
        vnet,
        apart: second[0] >= offset + length,
        again,
      };
    },
  },
  {
    name: 'no more packets are read than were asked for',
    expected: [
      [1, 'one'],
      [1, 'two'],
    ],
    async run(host) {
      await host.fromHost(['one', 'two']);
      const seen = [];
      for (let i = 0; i < 2; i++) {
        const { read, packets } = await readPackets(host, 1, { max: 1 });
        seen.push([read, payloadOf(host.memory, packets[0])]);
      }
      return seen;
    },
  },
  {
    name: 'a super-packet is read whole, or spread with a copy of its header before each segment',
    expected: {
      whole: [HEADER + 2500, NEEDS_CHECKSUM, GSO_UDP, 1000, 20, 6],
      spread: [HEADER + 2500, NEEDS_CHECKSUM, GSO_UDP, 1000, 20, 6],
      pieces: [1000, 1000, 500],
    },
    async run(host) {
      const { outboundSlab } = host.memory;
      const fields = ([, length, flags, type, , size, start, field]) => [length, flags, type, size, start, field];
      await host.superFromHost(2500, 1000);
      const whole = await readPackets(host, 1);
      await host.superFromHost(2500, 1000);
      const spread = await readPackets(host, 1, { header: HEADER, segment: 1000 });
      const [offset] = spread.packets[0];
      const header = textIn(outboundSlab, offset, HEADER);
      const pieces = [1000, 1000, 500].filter((length, i) => {
        const at = offset + i * (HEADER + 1000);
        return (
          textIn(outboundSlab, at, HEADER) === header &&
          textIn(outboundSlab, at + HEADER, length) === 'a'.repeat(length)
        );
      });
      return { whole: fields(whole.packets[0]), spread: fields(spread.packets[0]), pieces };
    },
  },
  {
    name: 'a packet is written to the device from the pieces that its record names',
    expected: { written: 1, received: ['from the tunnel'] },
    async run(host) {
      const packet = host.packetToHost('from the tunnel');
      host.memory.headers.set(packet.subarray(0, 20), 0);
      host.memory.inboundSlab.set(packet.subarray(20), 100);
      iovec(host.memory.writeIovecs, 0, [HEADERS, 0, 20]);
      iovec(host.memory.writeIovecs, 1, [INBOUND, 100, packet.length - 20]);
      record(host.memory.writes, 0, [0, 2]);
      return { written: host.native.writeTun(0, 1), received: await host.hostReceived(1) };
    },
  },
  {
    name: 'a packet that is none ends a batch of writes before it, and a batch that begins with it',
    expected: { before: 1, at: EINVAL, behind: 1, received: ['x', 'x'] },
    async run(host) {
      const packet = host.packetToHost('x');
      host.memory.inboundSlab.set(packet, 0);
      host.memory.inboundSlab.set([0, 1, 2], 500);
      iovec(host.memory.writeIovecs, 0, [INBOUND, 0, packet.length]);
      iovec(host.memory.writeIovecs, 1, [INBOUND, 500, 3]);
      for (const [i, first] of [0, 1, 0].entries()) record(host.memory.writes, i, [first, 1]);
      const { native } = host;
      const [before, at, behind] = [native.writeTun(0, 3), native.writeTun(1, 2), native.writeTun(2, 1)];
      return { before, at, behind, received: await host.hostReceived(2) };
    },
  },
  {
    name: 'datagrams are sent in one call, each from the pieces that its record names, a train cut into its segments',
    expected: { sent: 2, received: ['hello world', 'aaaa', 'bbbb', 'cc'] },
    async run(host) {
      host.memory.outboundSlab.set(Buffer.from('hello aaaabbbbcc'), 0);
      host.memory.headers.set(Buffer.from('world'), 0);
      iovec(host.memory.sendIovecs, 0, [OUTBOUND, 0, 6]);
      iovec(host.memory.sendIovecs, 1, [HEADERS, 0, 5]);
      iovec(host.memory.sendIovecs, 2, [OUTBOUND, 6, 10]);
      record(host.memory.sends, 0, [0, 2, host.far.address, host.far.port, 0]);
      record(host.memory.sends, 1, [2, 1, host.far.address, host.far.port, 4]);
      return { sent: host.native.sendUdp(0, 2), received: await host.farReceived(4) };
    },
  },
  {
    name: 'a datagram that is too large ends a batch of sends before it, and a batch that begins with it',
    expected: { before: 1, at: EMSGSIZE, behind: 1, received: ['x', 'x'] },
    async run(host) {
      host.memory.outboundSlab.set(Buffer.from('x'), 0);
      iovec(host.memory.sendIovecs, 0, [OUTBOUND, 0, 1]);
      iovec(host.memory.sendIovecs, 1, [OUTBOUND, 0, 65508]);
      for (const [i, first] of [0, 1, 0].entries()) {
        record(host.memory.sends, i, [first, 1, host.far.address, host.far.port, 0]);
      }
      const { native } = host;
      const [before, at, behind] = [native.sendUdp(0, 3), native.sendUdp(1, 2), native.sendUdp(2, 1)];
      return { before, at, behind, received: await host.farReceived(2) };
    },
  },
  {
    name: 'datagrams are received in one call, each with its sender, and once',
    expected: {
      received: [
        { text: 'one', fromFar: true, segment: 0, truncated: 0 },
        { text: '', fromFar: true, segment: 0, truncated: 0 },
        { text: 'three', fromFar: true, segment: 0, truncated: 0 },
      ],
      again: 0,
    },
    async run(host) {
      await host.fromFar(['one', '', 'three']);
      const received = (await receiveAll(host)).map(({ sender, ...told }) => ({
        ...told,
        fromFar: sender === host.far.address,
      }));
      return { received, again: host.native.receiveUdp(16) };
    },
  },
  {
    name: 'checksums are finished over ranges of any length and place, and one of 0 is written as asked',
    expected: { finished: 60, wrong: [], zero: [0, 0, 255, 255] },
    async run({ native, memory }) {
      const ranges = fillRanges(memory);
      const fields = 200_000;
      for (const [i, [offset, length]] of ranges.entries()) checksum(memory, i, [offset, length, i, fields + 2 * i, 0]);
      const finished = native.finishChecksums(ranges.length);
      const wrong = ranges.flatMap((range, i) => {
        const field = memory.outboundSlab[fields + 2 * i] * 256 + memory.outboundSlab[fields + 2 * i + 1];
        // 0 and 0xffff are the same number in one's complement.
        return (plainSum(memory.outboundSlab, range) + i + field) % 0xffff === 0 ? [] : [range];
      });
      memory.outboundSlab.set([255, 255], 0);
      checksum(memory, 0, [0, 2, 0, fields, 0]);
      checksum(memory, 1, [0, 2, 0, fields + 2, 0xffff]);
      native.finishChecksums(2);
      return { finished, wrong, zero: [...memory.outboundSlab.subarray(fields, fields + 4)] };
    },
  },
  {
    name: 'wrong checksums are told in their records, and counted',
    expected: { wrong: 20, told: true },
    async run({ native, memory }) {
      const ranges = fillRanges(memory);
      const isBad = (i) => i % 3 === 0;
      for (const [i, range] of ranges.entries()) {
        const rest = 0xffff - plainSum(memory.inboundSlab, range) + Number(isBad(i));
        checksum(memory, i, [...range, rest || 0xffff, -1, 0]);
      }
      const wrong = native.verifyChecksums(ranges.length);
      const told = ranges.every((_, i) => memory.checksums[i * CHECKSUM_INTS + 3] === Number(isBad(i)));
      return { wrong, told };
    },
  },
];

/** Odd and even places and lengths, with and without a rest behind the widest step. */
function fillRanges({ outboundSlab, inboundSlab }) {
  for (let i = 0; i < 70_000; i++) outboundSlab[i] = inboundSlab[i] = (i * 131 + (i >> 8)) & 255;
  return Array.from({ length: 60 }, (_, i) => [i % 7, i < 50 ? i : 60_000 + 13 * i]);
}

function plainSum(slab, [offset, length]) {
  let sum = 0;
  for (let k = 0; k < length; k++) sum += slab[offset + k] << (k % 2 === 0 ? 8 : 0);
  while (sum > 0xffff) sum = (sum % 65536) + Math.floor(sum / 65536);
  return sum;
}
