/**
 * Counters in shared memory: the worker adds, the main thread reads, without a lock or a message.
 *
 * Each counter is two int32, low word first, since nothing else is free of allocation: a Float64Array element is a
 * heap number in code that is not optimised yet, and a BigInt always is. They overlap by a bit, which tells a reader that
 * one of them has been stored and the other one not yet:
 *
 *     high  | 62 61 ... 32 31 |
 *     low                | 31 30 ... 1 0 |
 */

/** Name of each counter, by its number. `out` is from TUN to UDP, `in` the other way. */
export const COUNTER_NAMES = [
  'out_packets',
  'out_bytes',
  'in_packets',
  'in_bytes',
  'out_icmp_packets',
  'out_icmp_bytes',
  'out_drop_malformed',
  'out_drop_no_route',
  'out_drop_ttl',
  'out_drop_send_error',
  'out_drop_send_buffer',
  'out_drop_read_error',
  'in_drop_malformed',
  'in_drop_truncated',
  'in_drop_source',
  'in_drop_destination',
  'in_drop_write_error',
  'in_drop_receive_error',
  'out_icmp_suppressed',
  // Messages handed to the kernel: fewer than packets where trains and super-packets are in use.
  'out_datagrams',
  'in_writes',
  'offload_fallbacks',
  'out_drop_too_large',
  'out_drop_segments',
  'in_drop_segments',
  'out_drop_loop',
  'out_drop_multicast',
  // Of a sealed wire alone.
  'in_keepalives',
  'in_handshakes',
  'in_drop_no_session',
  'in_drop_bad_tag',
  'in_drop_replay',
  'in_drop_bad_mac',
  'in_drop_mailbox_full',
  'out_keepalives',
  'out_drop_staged',
] as const;

export type CounterName = (typeof COUNTER_NAMES)[number];

const numberOf = (name: CounterName): number => COUNTER_NAMES.indexOf(name);

export const OUT_PACKETS = numberOf('out_packets');
export const OUT_BYTES = numberOf('out_bytes');
export const IN_PACKETS = numberOf('in_packets');
export const IN_BYTES = numberOf('in_bytes');
export const OUT_ICMP_PACKETS = numberOf('out_icmp_packets');
export const OUT_ICMP_BYTES = numberOf('out_icmp_bytes');
export const OUT_DROP_MALFORMED = numberOf('out_drop_malformed');
export const OUT_DROP_NO_ROUTE = numberOf('out_drop_no_route');
export const OUT_DROP_TTL = numberOf('out_drop_ttl');
export const OUT_DROP_SEND_ERROR = numberOf('out_drop_send_error');
export const OUT_DROP_SEND_BUFFER = numberOf('out_drop_send_buffer');
export const OUT_DROP_READ_ERROR = numberOf('out_drop_read_error');
export const IN_DROP_MALFORMED = numberOf('in_drop_malformed');
export const IN_DROP_TRUNCATED = numberOf('in_drop_truncated');
export const IN_DROP_SOURCE = numberOf('in_drop_source');
export const IN_DROP_DESTINATION = numberOf('in_drop_destination');
export const IN_DROP_WRITE_ERROR = numberOf('in_drop_write_error');
export const IN_DROP_RECEIVE_ERROR = numberOf('in_drop_receive_error');
export const OUT_ICMP_SUPPRESSED = numberOf('out_icmp_suppressed');
export const OUT_DATAGRAMS = numberOf('out_datagrams');
export const IN_WRITES = numberOf('in_writes');
export const OFFLOAD_FALLBACKS = numberOf('offload_fallbacks');
export const OUT_DROP_TOO_LARGE = numberOf('out_drop_too_large');
export const OUT_DROP_SEGMENTS = numberOf('out_drop_segments');
export const IN_DROP_SEGMENTS = numberOf('in_drop_segments');
export const OUT_DROP_LOOP = numberOf('out_drop_loop');
export const OUT_DROP_MULTICAST = numberOf('out_drop_multicast');
export const IN_KEEPALIVES = numberOf('in_keepalives');
export const IN_HANDSHAKES = numberOf('in_handshakes');
export const IN_DROP_NO_SESSION = numberOf('in_drop_no_session');
export const IN_DROP_BAD_TAG = numberOf('in_drop_bad_tag');
export const IN_DROP_REPLAY = numberOf('in_drop_replay');
export const IN_DROP_BAD_MAC = numberOf('in_drop_bad_mac');
export const IN_DROP_MAILBOX_FULL = numberOf('in_drop_mailbox_full');
export const OUT_KEEPALIVES = numberOf('out_keepalives');
export const OUT_DROP_STAGED = numberOf('out_drop_staged');

export const COUNTER_INTS = COUNTER_NAMES.length * 2;

/** Adds 0 <= amount < 2^31. Only the worker calls it. */
export function add(counters: Int32Array, counter: number, amount: number): void {
  const low = counters[2 * counter];
  const sum = (low + amount) | 0;
  counters[2 * counter] = sum;
  // One more whenever bit 31 of the low word turns. Added each time: compiled code that meets its first carry after 2 GB
  // would be thrown away.
  counters[2 * counter + 1] += (low ^ sum) >>> 31;
}

export function read(counters: Int32Array, counter: number): number {
  for (;;) {
    const high = Atomics.load(counters, 2 * counter + 1);
    const low = Atomics.load(counters, 2 * counter);
    // It was stored in between: read both again.
    if (Atomics.load(counters, 2 * counter + 1) !== high) continue;
    // The worker has stored the low word and may have lost its core before the high one.
    const carry = (high & 1) ^ (low >>> 31);
    return ((high >>> 0) + carry) * 2 ** 31 + (low & 0x7fffffff);
  }
}

export function readAll(counters: Int32Array): Record<CounterName, number> {
  const entries = COUNTER_NAMES.map((name, counter) => [name, read(counters, counter)]);
  return Object.fromEntries(entries) as Record<CounterName, number>;
}
