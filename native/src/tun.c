/* Batches of packets from and to the TUN device. See records.c for what they return. */
#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/uio.h>

#include "rudder.h"

#define VNET_BYTES sizeof(struct virtio_net_hdr)

/* A packet starts on a cache line of its own. */
#define ALIGNMENT 64

/*
 * Where one read puts a packet. With a segment size, the payload of a super-packet is spread as it is going to be sent:
 * behind the first segment, each one gets a copy of the header before it.
 *
 *     | header, segment | copy, segment | copy, segment |  ...        each `stride` = header + segment bytes
 */
struct spread {
  size_t header, segment, stride;
  size_t pieces;
};

static struct spread make_spread(size_t header, size_t segment) {
  if (segment == 0) return (struct spread){.stride = SLOT_BYTES, .pieces = 1};
  size_t pieces = (SLOT_BYTES - header + segment - 1) / segment;
  return (struct spread){.header = header, .segment = segment, .stride = header + segment, .pieces = pieces};
}

static void lay_out(const struct spread *spread, uint8_t *at, struct iovec *out) {
  out[0] = (struct iovec){.iov_base = at, .iov_len = spread->stride};
  for (size_t i = 1; i < spread->pieces; i++) {
    out[i] = (struct iovec){.iov_base = at + i * spread->stride + spread->header, .iov_len = spread->segment};
  }
}

/* Completes what was read, and returns how far it reaches. */
static size_t copy_headers(const struct spread *spread, uint8_t *at, size_t length) {
  if (length <= spread->stride) return length;
  size_t pieces = (length - spread->header + spread->segment - 1) / spread->segment;
  for (size_t i = 1; i < pieces; i++) memcpy(at + i * spread->stride, at, spread->header);
  return length + (pieces - 1) * spread->header;
}

/*
 * readTun(max, limit, header, segment): packets read, one record each, one after the other in the first `limit` bytes of
 * the outbound slab; the kernel gives one packet for each read, and each read must have room for the largest. Segment 0:
 * each packet in one piece.
 */
napi_value read_tun(napi_env env, napi_callback_info info) {
  struct path *path = attached_path(env, "readTun");
  napi_value arguments[4];
  int32_t max, limit, header, segment;
  if (path == NULL || !get_arguments(env, info, 4, arguments)) return NULL;
  struct memory slab = path->slabs[SLAB_OUTBOUND];
  int32_t most = limit_of(&path->tun_packets, MAX_MESSAGES);
  if (!get_int(env, arguments[0], "max", 0, most, &max)) return NULL;
  if (!get_int(env, arguments[1], "limit", 0, slab.size < INT32_MAX ? (int32_t)slab.size : INT32_MAX, &limit)) return NULL;
  if (!get_int(env, arguments[2], "header", 0, MAX_SPREAD_HEADER, &header)) return NULL;
  if (!get_int(env, arguments[3], "segment", 0, SLOT_BYTES, &segment)) return NULL;
  if (segment > 0 && segment < MIN_SPREAD_SEGMENT) return throw_errno(env, EINVAL, "readTun", "segment is too small");

  struct spread spread = make_spread((size_t)header, (size_t)segment);
  size_t offset = 0;
  int32_t done = 0;
  for (; done < max && offset + spread.pieces * spread.stride <= (size_t)limit; done++) {
    struct virtio_net_hdr vnet = {0};
    struct iovec parts[2 + SLOT_BYTES / MIN_SPREAD_SEGMENT];
    parts[0] = (struct iovec){.iov_base = &vnet, .iov_len = VNET_BYTES};
    lay_out(&spread, slab.data + offset, parts + 1);
    ssize_t length = readv(path->tun, parts, (int)spread.pieces + 1);
    if (length < 0) {
      if (errno == EAGAIN || errno == EINTR || done > 0) break;
      return int_value(env, -errno);
    }
    length = length > (ssize_t)VNET_BYTES ? length - (ssize_t)VNET_BYTES : 0;
    int32_t record[RECORD_INTS] = {(int32_t)offset,  (int32_t)length, vnet.flags,      vnet.gso_type,
                                   vnet.hdr_len,     vnet.gso_size,   vnet.csum_start, vnet.csum_offset};
    memcpy(path->tun_packets.data + (size_t)done * RECORD_INTS, record, sizeof record);
    offset += (copy_headers(&spread, slab.data + offset, (size_t)length) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  }
  return int_value(env, done);
}

/* writeTun(first, count): packets (or super-packets) written, one writev each: TUN has no batched write. */
napi_value write_tun(napi_env env, napi_callback_info info) {
  struct path *path = attached_path(env, "writeTun");
  int32_t first, count;
  if (path == NULL || !get_range(env, info, &path->writes, MAX_MESSAGES, &first, &count)) return NULL;
  static _Thread_local struct iovec iovecs[MAX_IOVECS_PER_MESSAGE];
  int32_t done = 0;
  for (; done < count; done++) {
    int32_t record[RECORD_INTS];
    memcpy(record, path->writes.data + (size_t)(first + done) * RECORD_INTS, sizeof record);
    struct virtio_net_hdr vnet = {.flags = (uint8_t)record[2],
                                  .gso_type = (uint8_t)record[3],
                                  .hdr_len = (uint16_t)record[4],
                                  .gso_size = (uint16_t)record[5],
                                  .csum_start = (uint16_t)record[6],
                                  .csum_offset = (uint16_t)record[7]};
    iovecs[0] = (struct iovec){.iov_base = &vnet, .iov_len = VNET_BYTES};
    if (record[1] >= MAX_IOVECS_PER_MESSAGE || !build_iovecs(path, &path->write_iovecs, record[0], record[1], iovecs + 1)) {
      return throw_errno(env, EINVAL, "writeTun", "a record points outside its memory");
    }
    if (writev(path->tun, iovecs, record[1] + 1) >= 0) continue;
    if (done == 0) return int_value(env, -errno);
    break;
  }
  return int_value(env, done);
}
