/*
 * What the batch calls have in common: ranges of records, and the iovecs that they point to. None of them allocates, and
 * none runs JavaScript before it returns or throws. Each copies a record before it checks it (copy_ints), since another
 * thread could write to shared memory in between.
 *
 * They return the number of records done. Fewer than asked: the next one would block or failed; asked again from there,
 * a call answers -errno if that first one fails. JavaScript decides what a failure means.
 */
#include <sys/uio.h>

#include "rudder.h"

int32_t limit_of(const struct records *records, int32_t most) {
  return records->count < (size_t)most ? (int32_t)records->count : most;
}

bool get_range(napi_env env, napi_callback_info info, const struct records *records, int32_t most, int32_t *first,
               int32_t *count) {
  napi_value arguments[2];
  int32_t limit = limit_of(records, most);
  if (!get_arguments(env, info, 2, arguments)) return false;
  if (!get_int(env, arguments[0], "first", 0, limit, first)) return false;
  return get_int(env, arguments[1], "count", 0, limit - *first, count);
}

bool build_iovecs(const struct path *path, const struct records *iovecs, int32_t first, int32_t count,
                  struct iovec *out) {
  if (first < 0 || count < 1 || count > MAX_IOVECS_PER_MESSAGE) return false;
  if ((size_t)first + (size_t)count > iovecs->count) return false;
  for (int32_t i = 0; i < count; i++) {
    int32_t record[IOVEC_INTS];
    copy_ints(record, iovecs->data + ((size_t)first + (size_t)i) * IOVEC_INTS, IOVEC_INTS);
    int32_t slab = record[IOVEC_SLAB], offset = record[IOVEC_OFFSET], length = record[IOVEC_LENGTH];
    if (slab < 0 || slab >= SLAB_COUNT || offset < 0 || length < 1) return false;
    if ((size_t)offset + (size_t)length > path->slabs[slab].size) return false;
    out[i] = (struct iovec){.iov_base = path->slabs[slab].data + offset, .iov_len = (size_t)length};
  }
  return true;
}
