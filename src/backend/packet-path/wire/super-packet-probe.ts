import { GSO_TCP4, VNET_BYTES, VNET_NEEDS_CHECKSUM } from '../../../system/native.js';
import { MIN_HEADER_BYTES, PROTOCOL_TCP, PROTOCOL_UDP, TCP_CHECKSUM, UDP_CHECKSUM } from './ipv4-packet.js';

const SEGMENT_BYTES = 8;

/**
 * A super-packet of two segments as merge.ts writes them, vnet header and all, to see whether the kernel takes such
 * writes at all (6.10.3 and 6.6.44 refuse them with EINVAL). It goes nowhere: its IP header checksum is wrong, which the
 * kernel finds only behind the test of its form.
 * @param type GSO_TCP4 or GSO_UDP
 */
export function superPacketProbe(type: number): Uint8Array {
  const isTcp = type === GSO_TCP4;
  const transportBytes = isTcp ? 20 : 8;
  const headerBytes = MIN_HEADER_BYTES + transportBytes;
  const packetBytes = headerBytes + 2 * SEGMENT_BYTES;
  const bytes = new Uint8Array(VNET_BYTES + packetBytes);

  // struct virtio_net_hdr is in the machine's own order; so are typed arrays of 16 bits.
  bytes.set([VNET_NEEDS_CHECKSUM, type]);
  const fields = [headerBytes, SEGMENT_BYTES, MIN_HEADER_BYTES, isTcp ? TCP_CHECKSUM : UDP_CHECKSUM];
  bytes.set(new Uint8Array(Uint16Array.from(fields).buffer), 2);

  const packet = new DataView(bytes.buffer, VNET_BYTES);
  packet.setInt32(0, 0x45000000 | packetBytes);
  packet.setUint16(8, (1 << 8) | (isTcp ? PROTOCOL_TCP : PROTOCOL_UDP)); // TTL 1
  packet.setUint16(10, 0xbad0);
  if (isTcp)
    packet.setUint16(MIN_HEADER_BYTES + 12, 0x5010); // header of 20 bytes, ACK
  else packet.setUint16(MIN_HEADER_BYTES + 4, packetBytes - MIN_HEADER_BYTES);
  return bytes;
}
