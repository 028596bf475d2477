/* What an input stands for: numbers, arrays, and records with mistakes of every kind. */
#include <math.h>
#include <stdlib.h>

#include "../../native/src/rudder.h"
#include "fuzz.h"

struct input input;

uint8_t next_byte(void) {
  if (input.left == 0) return 0;
  input.left--;
  return *input.bytes++;
}

int32_t next_int(void) {
  uint32_t value = 0;
  for (int i = 0; i < 4; i++) value = value << 8 | next_byte();
  return (int32_t)value;
}

int32_t next_below(int32_t most) {
  if (most <= 0) return 0;
  return (int32_t)(((uint32_t)next_byte() << 16 | (uint32_t)next_byte() << 8 | next_byte()) % ((uint32_t)most + 1));
}

int32_t next_near(int32_t size) {
  switch (next_byte() % 8) {
    case 3: return next_below(size);
    case 4: return size;
    case 5: return size - next_byte() % 4;
    case 6: return (int32_t)((uint32_t)size + 1 + next_byte() % 4);
    case 7: break;
    default: return next_byte() % 16 < size ? next_byte() % 16 : size;
  }
  switch (next_byte() % 4) {
    case 0: return next_int();
    case 1: return INT32_MAX - next_byte() % 4;
    case 2: return INT32_MIN + next_byte() % 4;
    default: return -1;
  }
}

napi_value next_argument(int32_t size) {
  switch (next_byte()) {
    case 255: return make_number(NAN);
    case 254: return make_number(INFINITY);
    case 253: return make_number(next_int() + 0.5);
    case 252: return make_number(4294967296.0 + size);
    case 251: return make_string("text");
    default: return make_number(next_near(size));
  }
}

/* Memory of the kind that is asked for, and now and then of another, or what an array before it lies on. */
static napi_value next_array(napi_typedarray_type type, size_t offset, size_t length, const napi_value *before,
                             size_t count) {
  size_t width = type == napi_int32_array ? sizeof(int32_t) : 1;
  uint8_t choice = next_byte();
  enum sharing sharing = choice == 254 ? PLAIN : choice == 253 ? GROWABLE : FIXED;
  napi_value buffer = choice == 255 && count > 0 ? buffer_of(before[next_byte() % count])
                                                 : make_buffer(sharing, (offset + length) * width);
  return make_array(choice == 252 ? UNKNOWN_ARRAY : type, buffer, offset * width, length);
}

napi_value next_slab(const napi_value *before, size_t count) {
  static const size_t sizes[] = {100, 0, 1, 65535, 65536, 65536 + 1536 + 65536, 400000};
  size_t length = sizes[next_byte() % COUNT(sizes)];
  return next_array(napi_uint8_array, next_byte() % 8, length, before, count);
}

/* Records that need a slot each: as many as there is room for, or fewer, or now and then too many. */
napi_value next_slots(size_t slots, const napi_value *before, size_t count) {
  uint8_t choice = next_byte();
  size_t length = choice == 255 ? slots + 1 : choice < 64 ? (size_t)choice % (slots + 1) : slots;
  return next_array(napi_int32_array, next_byte() % 8, length * RECORD_INTS + next_byte() % 2, before, count);
}

/* Iovecs are right at first, one byte each: a message may take them all. */
napi_value next_records(size_t width, const napi_value *before, size_t count) {
  static const size_t counts[] = {7, 0, 1, 2, 64, 256, 1100};
  size_t length = counts[next_byte() % COUNT(counts)] * width + next_byte() % 2;
  napi_value array = next_array(napi_int32_array, next_byte() % 8, length, before, count);
  int32_t *range = bytes_of(array);
  for (size_t i = 0; width == IOVEC_INTS && (i + 1) * IOVEC_INTS <= length_of(array); i++) {
    range[i * IOVEC_INTS + IOVEC_LENGTH] = 1;
  }
  return array;
}

/* A range of a slab, as a caller with a mistake could have it. */
static void next_range(const struct path *path, int32_t *range) {
  uint8_t choice = next_byte();
  int32_t slab = choice < 250 ? choice % 3 : next_near(SLAB_COUNT);
  int32_t size = slab >= 0 && slab < SLAB_COUNT ? (int32_t)path->slabs[slab].size : 0;
  int32_t offset = next_near(size);
  range[IOVEC_SLAB] = slab;
  range[IOVEC_OFFSET] = offset;
  range[IOVEC_LENGTH] = next_near(offset >= 0 && offset < size ? size - offset : size);
}

/* Writes the first iovecs of an array. */
void fill_iovecs(const struct path *path, const struct records *iovecs, size_t count) {
  for (size_t i = 0; i < count && i < iovecs->count; i++) next_range(path, iovecs->data + i * IOVEC_INTS);
}

/* Writes the first checksum records, over ranges of one slab. */
void fill_checksums(const struct path *path, size_t count, int32_t size) {
  int32_t *record = path->checksums.data;
  for (size_t i = 0; i < count && i < path->checksums.count; i++, record += CHECKSUM_INTS) {
    int32_t offset = next_near(size);
    record[CHECKSUM_OFFSET] = offset;
    record[CHECKSUM_LENGTH] = next_near(offset >= 0 && offset < size ? size - offset : size);
    record[CHECKSUM_REST] = next_byte() < 240 ? next_byte() * 1001 : next_int();
    record[CHECKSUM_FIELD] = next_near(size);
    record[CHECKSUM_ZERO] = next_byte() % 2 ? 0xffff : 0;
  }
}

/* Writes the first messages of an array. */
void fill_messages(const struct records *messages, const struct records *iovecs) {
  int32_t *record = messages->data;
  for (size_t i = 0; i < 8 && i < messages->count; i++, record += RECORD_INTS) {
    record[SEND_FIRST_IOVEC] = next_near((int32_t)iovecs->count);
    uint8_t pieces = next_byte();
    record[SEND_IOVEC_COUNT] = pieces < 208   ? pieces % 4 + 1
                               : pieces < 240 ? MAX_IOVECS_PER_MESSAGE
                                              : next_near(MAX_IOVECS_PER_MESSAGE);
    record[SEND_ADDRESS] = next_int();
    record[SEND_PORT] = next_byte() < 240 ? 8285 : next_near(65535);
    record[SEND_SEGMENT_SIZE] = next_byte() < 240 ? 1400 : next_near(65535);
  }
}
