/*
 * Internet checksum sums (RFC 1071) over ranges of the slabs: the one thing besides system calls that touches every
 * byte, and so is done here.
 */
#include <errno.h>
#include <string.h>

#include "rudder.h"

/* The compiler makes the loop below wide; the loader picks the widest that this CPU has. Not under ASan, whose runtime
 * is not up yet when the loader asks. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define WIDE __attribute__((target_clones("avx2", "default"), optimize("O3")))
#else
#define WIDE __attribute__((optimize("O3")))
#endif

/* Sum of the 32-bit words as the CPU reads them, two at a time; folding makes 16-bit words of it. Both halves of a
 * 64-bit word are summed apart, which takes two instructions for each vector where widening 32-bit words takes more: 1.7
 * times as fast. At most 64 KB: no overflow. */
WIDE static uint64_t sum_words(const uint8_t *bytes, size_t count) {
  uint64_t low = 0, high = 0;
  for (size_t i = 0; i < count; i++) {
    uint64_t word;
    memcpy(&word, bytes + i * sizeof word, sizeof word);
    low += word & UINT32_MAX;
    high += word >> 32;
  }
  return low + high;
}

/* The sum of the range's 16-bit words in network order, folded to 16 bits; an odd last byte counts as a high byte. */
static uint16_t sum_range(const uint8_t *bytes, size_t length) {
  size_t words = length / sizeof(uint64_t);
  uint64_t sum = sum_words(bytes, words);
  uint64_t rest = 0;
  memcpy(&rest, bytes + words * sizeof rest, length % sizeof rest);
  sum += (rest & UINT32_MAX) + (rest >> 32);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  uint16_t folded = (uint16_t)sum;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  /* A sum of byte-swapped words is the byte-swapped sum (RFC 1071, section 2B). */
  folded = (uint16_t)(folded << 8 | folded >> 8);
#endif
  return folded;
}

/* sums(count): completes the first `count` sum records. */
napi_value compute_sums(napi_env env, napi_callback_info info) {
  struct path *path = attached_path(env, "sums");
  napi_value arguments[1];
  int32_t count;
  if (path == NULL || !get_arguments(env, info, 1, arguments)) return NULL;
  if (!get_int(env, arguments[0], "count", 0, (int32_t)path->sums.count, &count)) return NULL;
  for (int32_t i = 0; i < count; i++) {
    int32_t *record = path->sums.data + (size_t)i * SUM_INTS;
    int32_t slab = record[0], offset = record[1], length = record[2];
    if (slab < 0 || slab >= SLAB_COUNT || offset < 0 || length < 0 || length > SLOT_BYTES ||
        (size_t)offset + (size_t)length > path->slabs[slab].size) {
      return throw_errno(env, EINVAL, "sums", "a record points outside its memory");
    }
    record[3] = sum_range(path->slabs[slab].data + offset, (size_t)length);
  }
  return int_value(env, count);
}
