#include <errno.h>

#include "rudder.h"

/* Reads property `name` of `object` as a typed array of one kind and keeps it alive. */
static bool take_array(napi_env env, napi_value object, const char *name, napi_typedarray_type wanted, struct path *path,
                       void **data, size_t *length) {
  napi_value value;
  bool is_array = false;
  napi_typedarray_type type;
  if (napi_get_named_property(env, object, name, &value) != napi_ok ||
      napi_is_typedarray(env, value, &is_array) != napi_ok || !is_array ||
      /* The array may lie on a SharedArrayBuffer: only this call reads those on Node 20. */
      napi_get_typedarray_info(env, value, &type, length, data, NULL, NULL) != napi_ok || type != wanted) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", name);
    return false;
  }
  return napi_create_reference(env, value, 1, &path->references[path->reference_count++]) == napi_ok;
}

static bool take_slab(napi_env env, napi_value object, const char *name, struct path *path, struct memory *slab) {
  void *data;
  if (!take_array(env, object, name, napi_uint8_array, path, &data, &slab->size)) return false;
  slab->data = data;
  return true;
}

static bool take_records(napi_env env, napi_value object, const char *name, size_t ints, struct path *path,
                         struct records *records) {
  void *data;
  size_t length;
  if (!take_array(env, object, name, napi_int32_array, path, &data, &length)) return false;
  records->data = data;
  records->count = length / ints;
  return true;
}

static bool take_handle(napi_env env, napi_value object, const char *name, enum handle_kind kind, int *out) {
  napi_value value;
  int fd;
  if (napi_get_named_property(env, object, name, &value) != napi_ok) return false;
  if (!get_handle(env, value, name, kind, &fd)) return false;
  if (!handle_hold(fd, kind)) {
    throw_errno(env, EBADF, "attach", name);
    return false;
  }
  *out = fd;
  return true;
}

static bool take_all(napi_env env, napi_value object, struct path *path) {
  struct records clock;
  if (!(take_handle(env, object, "tun", HANDLE_TUN, &path->tun) &&
        take_handle(env, object, "udp", HANDLE_UDP, &path->udp) &&
        take_handle(env, object, "event", HANDLE_EVENT, &path->event) &&
        take_slab(env, object, "outboundSlab", path, &path->slabs[SLAB_OUTBOUND]) &&
        take_slab(env, object, "inboundSlab", path, &path->slabs[SLAB_INBOUND]) &&
        take_slab(env, object, "headers", path, &path->slabs[SLAB_HEADERS]) &&
        take_records(env, object, "tunPackets", RECORD_INTS, path, &path->tun_packets) &&
        take_records(env, object, "datagrams", RECORD_INTS, path, &path->datagrams) &&
        take_records(env, object, "sends", RECORD_INTS, path, &path->sends) &&
        take_records(env, object, "sendIovecs", IOVEC_INTS, path, &path->send_iovecs) &&
        take_records(env, object, "writes", RECORD_INTS, path, &path->writes) &&
        take_records(env, object, "writeIovecs", IOVEC_INTS, path, &path->write_iovecs) &&
        take_records(env, object, "checksums", CHECKSUM_INTS, path, &path->checksums) &&
        take_records(env, object, "clock", 1, path, &clock))) {
    return false;
  }
  if (clock.count < 1) {
    napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "clock");
    return false;
  }
  path->clock_ms = clock.data;
  return true;
}

void path_release(napi_env env, struct path *path) {
  if (path->tun >= 0) handle_release(path->tun);
  if (path->udp >= 0) handle_release(path->udp);
  if (path->event >= 0) handle_release(path->event);
  ring_close(&path->ring);
  for (size_t i = 0; i < path->reference_count; i++) napi_delete_reference(env, path->references[i]);
  *path = DETACHED_PATH;
}

/* attach({tun, udp, event, outboundSlab, ...}): the memory and descriptors that the five batch calls of this thread use. */
napi_value attach_path(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  void *data = NULL;
  if (!get_arguments(env, info, 1, arguments)) return NULL;
  if (napi_get_instance_data(env, &data) != napi_ok || data == NULL) return NULL;
  struct path *path = data;
  path_release(env, path);
  if (!take_all(env, arguments[0], path)) path_release(env, path);
  return NULL;
}

/* openRing(): from now on this thread's readTun() and writeTun() take one system call for many packets. */
napi_value open_ring(napi_env env, napi_callback_info info) {
  (void)info;
  struct path *path = attached_path(env, "openRing");
  if (path == NULL) return NULL;
  ring_close(&path->ring);
  int error = ring_open(&path->ring);
  return error == 0 ? NULL : throw_errno(env, error, "io_uring_setup", NULL);
}

/* closeRing(): one system call for each packet again. */
napi_value close_ring(napi_env env, napi_callback_info info) {
  (void)info;
  struct path *path = attached_path(env, "closeRing");
  if (path != NULL) ring_close(&path->ring);
  return NULL;
}

napi_value detach_path(napi_env env, napi_callback_info info) {
  (void)info;
  void *data = NULL;
  if (napi_get_instance_data(env, &data) == napi_ok && data != NULL) path_release(env, data);
  return NULL;
}

struct path *attached_path(napi_env env, const char *caller) {
  void *data = NULL;
  struct path *path = NULL;
  if (napi_get_instance_data(env, &data) == napi_ok) path = data;
  if (path == NULL || path->tun < 0 || path->clock_ms == NULL) {
    throw_errno(env, EBADF, caller, "no path is attached");
    return NULL;
  }
  return path;
}
