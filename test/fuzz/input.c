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

/* Iovecs are right at first, one byte each: a message may take them all. */
napi_value next_records(size_t width, const napi_value *before, size_t count) {
  static const size_t counts[] = {7, 0, 1, 2, 64, 256, 1100};
  size_t length = counts[next_byte() % COUNT(counts)] * width + next_byte() % 2;
  napi_value array = next_array(napi_int32_array, next_byte() % 8, length, before, count);
  int32_t *range = bytes_of(array);
  for (size_t i = 0; width == IOVEC_INTS && (i + 1) * IOVEC_INTS <= length_of(array); i++) {
    range[i * IOVEC_INTS + 2] = 1;
  }
  return array;
}

/* A range of a slab, as a caller with a mistake could have it. */
static void next_range(const struct path *path, int32_t *range) {
  uint8_t choice = next_byte();
  range[0] = choice < 250 ? choice % 3 : next_near(SLAB_COUNT);
  int32_t size = range[0] >= 0 && range[0] < SLAB_COUNT ? (int32_t)path->slabs[range[0]].size : 0;
  range[1] = next_near(size);
  range[2] = next_near(range[1] >= 0 && range[1] < size ? size - range[1] : size);
}

/* Writes the first iovecs of an array. */
void fill_iovecs(const struct path *path, const struct records *iovecs, size_t count) {
  for (size_t i = 0; i < count && i < iovecs->count; i++) next_range(path, iovecs->data + i * IOVEC_INTS);
}

/* Writes the first checksum records, over ranges of one slab. */
void fill_checksums(const struct path *path, size_t count, int32_t size) {
  int32_t *record = path->checksums.data;
  for (size_t i = 0; i < count && i < path->checksums.count; i++, record += CHECKSUM_INTS) {
    record[0] = next_near(size);
    record[1] = next_near(record[0] >= 0 && record[0] < size ? size - record[0] : size);
    record[2] = next_byte() < 240 ? next_byte() * 1001 : next_int();
    record[3] = next_near(size);
    record[4] = next_byte() % 2 ? 0xffff : 0;
  }
}

/* Writes the first messages of an array. */
void fill_messages(const struct records *messages, const struct records *iovecs) {
  int32_t *record = messages->data;
  for (size_t i = 0; i < 8 && i < messages->count; i++, record += RECORD_INTS) {
    record[0] = next_near((int32_t)iovecs->count);
    uint8_t pieces = next_byte();
    record[1] = pieces < 208 ? pieces % 4 + 1 : pieces < 240 ? MAX_IOVECS_PER_MESSAGE : next_near(MAX_IOVECS_PER_MESSAGE);
    record[2] = next_int();
    record[3] = next_byte() < 240 ? 8285 : next_near(65535);
    record[4] = next_byte() < 240 ? 1400 : next_near(65535);
  }
}
