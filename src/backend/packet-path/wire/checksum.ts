/** Internet checksums (RFC 1071) of headers and short packets. Payloads are native code's to sum (native/src/checksum.c). */

/** Sum of the 16-bit words of a range whose length is a multiple of 4: headers and their parts are. Not folded. */
export function sumOfWords(packets: DataView, offset: number, length: number): number {
  let sum = 0;
  for (let at = offset; at < offset + length; at += 4) {
    const word = packets.getInt32(at);
    sum += (word >>> 16) + (word & 0xffff);
  }
  return sum;
}

/** Folds a sum of fewer than 2^15 words to 16 bits, end-around. */
export function fold(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}

/** Internet checksum (RFC 1071) of a range of any length. */
export function checksumOf(packets: DataView, offset: number, length: number): number {
  const whole = length & ~3;
  let sum = sumOfWords(packets, offset, whole);
  for (let i = whole; i < length; i++) sum += packets.getUint8(offset + i) << ((i & 1) === 0 ? 8 : 0);
  return ~fold(sum) & 0xffff;
}
