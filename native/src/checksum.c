/*
 * Internet checksums (RFC 1071) over ranges of the slabs: the one thing besides system calls that touches every byte,
 * and so is done here. What belongs into a checksum is JavaScript's to say: `rest` is the sum of all but the range.
 */
#include <errno.h>
#include <string.h>

#include "rudder.h"

/* The loader picks the widest version that this CPU has. Not under ASan, whose runtime is not up yet when it asks. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif

/* Four 64-bit words at once, in one register or two (gcc's and clang's vectors, for any CPU). */
typedef uint64_t lanes __attribute__((vector_size(32)));

static inline uint16_t fold(uint64_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)sum;
}

/*
 * The sum of the range's 16-bit words as the CPU reads them, folded to 16 bits; an odd last byte counts as if a zero
 * followed. Both halves of each 64-bit word are summed apart: at most 64 KB, so nothing overflows.
 */
static inline __attribute__((always_inline)) uint16_t sum_range(const uint8_t *bytes, size_t length) {
  lanes low = {0}, high = {0}, more_low = {0}, more_high = {0};
  size_t at = 0;
  for (; at + 2 * sizeof(lanes) <= length; at += 2 * sizeof(lanes)) {
    lanes first, second;
    memcpy(&first, bytes + at, sizeof first);
    memcpy(&second, bytes + at + sizeof first, sizeof second);
    low += first & UINT32_MAX;
    high += first >> 32;
    more_low += second & UINT32_MAX;
    more_high += second >> 32;
  }
  low += high + more_low + more_high;
  uint64_t sum = low[0] + low[1] + low[2] + low[3];
  for (; at + sizeof(uint32_t) <= length; at += sizeof(uint32_t)) {
    uint32_t word;
    memcpy(&word, bytes + at, sizeof word);
    sum += word;
  }
  uint16_t word = 0;
  if (at + sizeof word <= length) {
    memcpy(&word, bytes + at, sizeof word);
    sum += word;
    at += sizeof word;
  }
  uint16_t last = 0;
  if (at < length) memcpy(&last, bytes + at, 1);
  return fold(sum + last);
}

/* Between the CPU's and the network's order. A sum of byte-swapped words is the byte-swapped sum (RFC 1071, 2B). */
static inline uint16_t network_order(uint16_t word) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  return (uint16_t)(word << 8 | word >> 8);
#else
  return word;
#endif
}

static inline bool lies_inside(const struct memory *slab, int32_t offset, int32_t length) {
  return offset >= 0 && length >= 0 && length <= SLOT_BYTES && (size_t)offset + (size_t)length <= slab->size;
}

/* Writes the checksum of each record into its field. Returns how many records make sense, up to the first that does not. */
WIDE static int32_t finish_all(const struct memory *slab, const int32_t *records, int32_t count) {
  for (int32_t i = 0; i < count; i++, records += CHECKSUM_INTS) {
    int32_t record[CHECKSUM_INTS];
    copy_ints(record, records, CHECKSUM_INTS);
    int32_t offset = record[CHECKSUM_OFFSET], length = record[CHECKSUM_LENGTH], rest = record[CHECKSUM_REST];
    int32_t field = record[CHECKSUM_FIELD], zero = record[CHECKSUM_ZERO];
    if (!lies_inside(slab, offset, length) || !lies_inside(slab, field, sizeof(uint16_t))) return i;
    uint16_t sum = network_order(sum_range(slab->data + offset, (size_t)length));
    uint16_t checksum = (uint16_t)~fold((uint64_t)(uint32_t)rest + sum);
    if (checksum == 0) checksum = (uint16_t)zero;
    checksum = network_order(checksum);
    memcpy(slab->data + field, &checksum, sizeof checksum);
  }
  return count;
}

/* Tells in each record whether its checksum is wrong, and counts those in `wrong`. Returns as the one above. */
WIDE static int32_t verify_all(const struct memory *slab, int32_t *records, int32_t count, int32_t *wrong) {
  for (int32_t i = 0; i < count; i++, records += CHECKSUM_INTS) {
    int32_t record[CHECKSUM_REST + 1];
    copy_ints(record, records, CHECKSUM_REST + 1);
    int32_t offset = record[CHECKSUM_OFFSET], length = record[CHECKSUM_LENGTH], rest = record[CHECKSUM_REST];
    if (!lies_inside(slab, offset, length)) return i;
    uint16_t sum = network_order(sum_range(slab->data + offset, (size_t)length));
    int32_t is_wrong = fold((uint64_t)(uint32_t)rest + sum) != 0xffff;
    records[CHECKSUM_WRONG] = is_wrong;
    *wrong += is_wrong;
  }
  return count;
}

static bool get_count(napi_env env, napi_callback_info info, const struct path *path, int32_t *count) {
  napi_value arguments[1];
  return get_arguments(env, info, 1, arguments) &&
         get_int(env, arguments[0], "count", 0, limit_of(&path->checksums, INT32_MAX), count);
}

/* finishChecksums(count): completes packets in the outbound slab. A checksum of 0 is written as `zero` says. */
napi_value finish_checksums(napi_env env, napi_callback_info info) {
  struct path *path = attached_path(env, "finishChecksums");
  int32_t count;
  if (path == NULL || !get_count(env, info, path, &count)) return NULL;
  if (finish_all(&path->slabs[SLAB_OUTBOUND], path->checksums.data, count) < count) {
    return throw_errno(env, EINVAL, "finishChecksums", "a record points outside its memory");
  }
  return int_value(env, count);
}

/* verifyChecksums(count): looks at ranges of the inbound slab, of which each shall sum up, with its rest, to 0xffff. Returns
 * how many do not. */
napi_value verify_checksums(napi_env env, napi_callback_info info) {
  struct path *path = attached_path(env, "verifyChecksums");
  int32_t count, wrong = 0;
  if (path == NULL || !get_count(env, info, path, &count)) return NULL;
  if (verify_all(&path->slabs[SLAB_INBOUND], path->checksums.data, count, &wrong) < count) {
    return throw_errno(env, EINVAL, "verifyChecksums", "a record points outside its memory");
  }
  return int_value(env, wrong);
}
