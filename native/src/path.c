/*
 * attach() keeps raw memory and descriptors that JavaScript handed over, so it trusts none of it.
 *
 * A property may be a getter, and the argument a Proxy: to read it runs JavaScript, which may attach, detach, close, or
 * take memory away that was read before. So every property is read first, and nothing is looked at until all are there.
 * From then on no JavaScript runs but where the addon throws, and what it throws about is given up.
 *
 * The new path takes the old one's place when it is complete. A call that throws has changed nothing.
 */
#include <errno.h>

#include "sessions.h"

enum property { TUN, UDP, EVENT, OUTBOUND_SLAB, INBOUND_SLAB, HEADERS, TUN_PACKETS, DATAGRAMS, SENDS, SEND_IOVECS,
                WRITES, WRITE_IOVECS, CHECKSUMS, CLOCK, PROPERTIES };

static const char *const NAMES[PROPERTIES] = {
    [TUN] = "tun",
    [UDP] = "udp",
    [EVENT] = "event",
    [OUTBOUND_SLAB] = "outboundSlab",
    [INBOUND_SLAB] = "inboundSlab",
    [HEADERS] = "headers",
    [TUN_PACKETS] = "tunPackets",
    [DATAGRAMS] = "datagrams",
    [SENDS] = "sends",
    [SEND_IOVECS] = "sendIovecs",
    [WRITES] = "writes",
    [WRITE_IOVECS] = "writeIovecs",
    [CHECKSUMS] = "checksums",
    [CLOCK] = "clock",
};

static struct instance *instance_of(napi_env env) {
  void *data = NULL;
  return napi_get_instance_data(env, &data) == napi_ok ? data : NULL;
}

bool get_properties(napi_env env, napi_value object, const char *name, const char *const *names, size_t count,
                    napi_value *values) {
  napi_valuetype type;
  if (napi_typeof(env, object, &type) != napi_ok || type != napi_object) {
    return throw_type(env, name, "expected an object");
  }
  for (size_t i = 0; i < count; i++) {
    if (napi_get_named_property(env, object, names[i], &values[i]) != napi_ok) return false; /* the getter threw */
  }
  return true;
}

/*
 * Whether a typed array's buffer stays where it is and as large as it is. An ArrayBuffer can be transferred or shrunk.
 * The language's own getter is asked, which a property `growable` of this buffer does not deceive. False with an
 * exception pending: the getter could not be called, as at the end of the stack.
 */
static bool stays_as_it_is(napi_env env, napi_value buffer, bool *stays) {
  bool is_plain, can_grow;
  napi_value getter, answer;
  *stays = false;
  if (napi_is_arraybuffer(env, buffer, &is_plain) != napi_ok || is_plain) return true;
  if (napi_get_reference_value(env, instance_of(env)->is_growable, &getter) != napi_ok) return true;
  if (napi_call_function(env, buffer, getter, 0, NULL, &answer) != napi_ok) return false;
  *stays = napi_get_value_bool(env, answer, &can_grow) == napi_ok && !can_grow;
  return true;
}

/* Takes a typed array of one kind and keeps it, and so its memory, alive. */
static bool take_array(napi_env env, napi_value value, const char *name, napi_typedarray_type wanted, struct path *path,
                       void **data, size_t *length) {
  bool is_array = false, stays = false;
  napi_typedarray_type type = (napi_typedarray_type)-1; /* stays so for a kind that this Node-API has no number for */
  napi_value buffer;
  if (napi_is_typedarray(env, value, &is_array) == napi_ok && is_array &&
      /* The array may lie on a SharedArrayBuffer: only this call reads those on Node 20. */
      napi_get_typedarray_info(env, value, &type, length, data, &buffer, NULL) == napi_ok && type == wanted &&
      !stays_as_it_is(env, buffer, &stays)) {
    return false;
  }
  if (!stays) {
    return throw_type(env, name,
                      wanted == napi_uint8_array ? "expected a Uint8Array on a SharedArrayBuffer that cannot grow"
                                                 : "expected an Int32Array on a SharedArrayBuffer that cannot grow");
  }
  napi_ref *reference = &path->references[path->reference_count];
  if (napi_create_reference(env, value, 1, reference) != napi_ok) {
    throw_errno(env, ENOMEM, "attach", name);
    return false;
  }
  path->reference_count++;
  /* Memory of no bytes may have no address, and nothing may be added to that, not even 0. */
  static int32_t nothing;
  if (*length == 0) *data = &nothing;
  return true;
}

bool take_ints(napi_env env, napi_value value, const char *name, struct path *path, void **data, size_t *length) {
  return take_array(env, value, name, napi_int32_array, path, data, length);
}

static bool take_slab(napi_env env, const napi_value *values, enum property at, struct path *path, enum slab slab) {
  void *data;
  size_t size;
  if (!take_array(env, values[at], NAMES[at], napi_uint8_array, path, &data, &size)) return false;
  path->slabs[slab] = (struct memory){data, size};
  return true;
}

static bool take_records(napi_env env, const napi_value *values, enum property at, size_t ints, struct path *path,
                         struct records *records) {
  void *data;
  size_t length;
  if (!take_ints(env, values[at], NAMES[at], path, &data, &length)) return false;
  *records = (struct records){data, length / ints};
  return true;
}

static bool take_handle(napi_env env, const napi_value *values, enum property at, enum handle_kind kind, int *out) {
  int32_t fd;
  if (!get_int(env, values[at], NAMES[at], 0, INT32_MAX, &fd)) return false;
  if (!handle_hold(fd, kind)) {
    throw_errno(env, EBADF, "attach", NAMES[at]);
    return false;
  }
  *out = fd;
  return true;
}

/* A slot for each packet and datagram that one call may bring. */
static bool has_slots(napi_env env, const struct path *path) {
  struct memory outbound = path->slabs[SLAB_OUTBOUND], inbound = path->slabs[SLAB_INBOUND];
  size_t start = first_inbound_slot(inbound);
  size_t room = inbound.size > start ? inbound.size - start : 0;
  if (slots_in(outbound.size, SLOT_BYTES, outbound_distance(SLOT_BYTES)) <
      (size_t)limit_of(&path->tun_packets, MAX_MESSAGES)) {
    return throw_range(env, NAMES[OUTBOUND_SLAB], "expected a slot for each record of tunPackets");
  }
  return slots_in(room, SLOT_BYTES, INBOUND_DISTANCE) >= (size_t)limit_of(&path->datagrams, MAX_DATAGRAMS) ||
         throw_range(env, NAMES[INBOUND_SLAB], "expected a slot for each record of datagrams");
}

static bool take_all(napi_env env, const napi_value *values, struct path *path) {
  struct records clock;
  if (!(take_handle(env, values, TUN, HANDLE_TUN, &path->tun) &&
        take_handle(env, values, UDP, HANDLE_UDP, &path->udp) &&
        take_handle(env, values, EVENT, HANDLE_EVENT, &path->event) &&
        take_slab(env, values, OUTBOUND_SLAB, path, SLAB_OUTBOUND) &&
        take_slab(env, values, INBOUND_SLAB, path, SLAB_INBOUND) &&
        take_slab(env, values, HEADERS, path, SLAB_HEADERS) &&
        take_records(env, values, TUN_PACKETS, RECORD_INTS, path, &path->tun_packets) &&
        take_records(env, values, DATAGRAMS, RECORD_INTS, path, &path->datagrams) &&
        take_records(env, values, SENDS, RECORD_INTS, path, &path->sends) &&
        take_records(env, values, SEND_IOVECS, IOVEC_INTS, path, &path->send_iovecs) &&
        take_records(env, values, WRITES, RECORD_INTS, path, &path->writes) &&
        take_records(env, values, WRITE_IOVECS, IOVEC_INTS, path, &path->write_iovecs) &&
        take_records(env, values, CHECKSUMS, CHECKSUM_INTS, path, &path->checksums) &&
        take_records(env, values, CLOCK, 1, path, &clock))) {
    return false;
  }
  if (clock.count < 1) return throw_range(env, NAMES[CLOCK], "expected room for one number");
  path->clock_ms = clock.data;
  return has_slots(env, path);
}

void path_release(napi_env env, struct path *path) {
  if (path->tun >= 0) handle_release(path->tun);
  if (path->udp >= 0) handle_release(path->udp);
  if (path->event >= 0) handle_release(path->event);
  ring_close(&path->ring);
  sealed_release(path);
  for (size_t i = 0; i < path->reference_count; i++) napi_delete_reference(env, path->references[i]);
  *path = DETACHED_PATH;
}

/*
 * attach({tun, udp, event, outboundSlab, ...}): the memory and descriptors that the batch calls of this thread use. The
 * arrays may overlap: a record is copied before it is checked, whoever writes to it meanwhile.
 */
napi_value attach_path(napi_env env, napi_callback_info info) {
  napi_value arguments[1], values[PROPERTIES];
  struct instance *instance = instance_of(env);
  struct path path = DETACHED_PATH;
  if (instance == NULL || !get_arguments(env, info, 1, arguments)) return NULL;
  if (!get_properties(env, arguments[0], "path", NAMES, PROPERTIES, values)) return NULL;
  if (!take_all(env, values, &path)) {
    path_release(env, &path);
    return NULL;
  }
  path_release(env, &instance->path);
  instance->path = path;
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
  struct instance *instance = instance_of(env);
  if (instance != NULL) path_release(env, &instance->path);
  return NULL;
}

struct path *attached_path(napi_env env, const char *caller) {
  struct instance *instance = instance_of(env);
  if (instance == NULL || instance->path.clock_ms == NULL) {
    throw_errno(env, EBADF, caller, "no path is attached");
    return NULL;
  }
  return &instance->path;
}
