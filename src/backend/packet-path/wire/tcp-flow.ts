/** Bits of the word that holds header length, flags and window (RFC 9293 3.1). */
const PSH = 0x08 << 16;

/**
 * True if a TCP header continues the flow of another one, and differs in nothing but what a kernel makes anew when it
 * splits the two (tcp_gro_receive()): sequence number, PSH, checksum. Of both packets the addresses and ports are known to
 * be the same.
 * @param tcp, first where the two headers start
 * @param length of the first one
 * @param payloadBytes that the flow has carried from the first one on
 */
export function isNextOfFlow(
  packets: DataView,
  tcp: number,
  first: number,
  length: number,
  payloadBytes: number,
): boolean {
  const expected = (packets.getInt32(first + 4) + payloadBytes) | 0;
  if (packets.getInt32(tcp + 4) !== expected) return false;
  if (packets.getInt32(tcp + 8) !== packets.getInt32(first + 8)) return false;
  // Header length, flags but PSH, window, as the kernel compares them; urgent pointer and options below.
  const different = packets.getInt32(tcp + 12) ^ packets.getInt32(first + 12);
  if ((different & ~PSH) !== 0) return false;
  if (packets.getUint16(tcp + 18) !== packets.getUint16(first + 18)) return false;
  for (let i = 20; i < length; i += 4) {
    if (packets.getInt32(tcp + i) !== packets.getInt32(first + i)) return false;
  }
  return true;
}
