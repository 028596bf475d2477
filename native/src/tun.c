/* Batches of packets from and to the TUN device, by the ring if there is one. See records.c for what they return. */
#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/uio.h>

#include "rudder.h"

#define VNET_BYTES sizeof(struct virtio_net_hdr)

/* One packet by itself costs less without the ring. */
static int transfer_all(struct path *path, enum transfer_kind kind, struct transfer *transfers, int count) {
  if (path->ring.fd >= 0 && count > 1) {
    int error = ring_run(&path->ring, kind, path->tun, transfers, count);
    /* A chain is prepared as a whole: where the kernel lacks memory for one, it has begun with none. */
    if (error != 0 || transfers[0].result != -ECANCELED) return error;
  }
  bool failed = false;
  for (int i = 0; i < count; i++) {
    struct transfer *transfer = &transfers[i];
    if (failed) {
      transfer->result = kind == TRANSFER_READ ? -EAGAIN : -ECANCELED;
      continue;
    }
    ssize_t done = kind == TRANSFER_READ ? readv(path->tun, transfer->iovecs, transfer->iovec_count)
                                         : writev(path->tun, transfer->iovecs, transfer->iovec_count);
    transfer->result = done < 0 ? -errno : (int)done;
    failed = done < 0;
  }
  return 0;
}

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

/* Where the packet goes that is read at `at`: its vnet header to `vnet`, the rest in its pieces. */
static int lay_out(const struct spread *spread, uint8_t *at, struct virtio_net_hdr *vnet, struct iovec *out) {
  out[0] = (struct iovec){.iov_base = vnet, .iov_len = VNET_BYTES};
  out[1] = (struct iovec){.iov_base = at, .iov_len = spread->stride};
  for (size_t i = 1; i < spread->pieces; i++) {
    out[i + 1] = (struct iovec){.iov_base = at + i * spread->stride + spread->header, .iov_len = spread->segment};
  }
  return (int)spread->pieces + 1;
}

/* Completes what was read. */
static void copy_headers(const struct spread *spread, uint8_t *at, size_t length) {
  if (length <= spread->stride) return;
  size_t pieces = (length - spread->header + spread->segment - 1) / spread->segment;
  for (size_t i = 1; i < pieces; i++) memcpy(at + i * spread->stride, at, spread->header);
}

static void record_packet(struct path *path, int32_t number, size_t offset, size_t length,
                          const struct virtio_net_hdr *vnet) {
  int32_t record[RECORD_INTS] = {[PACKET_OFFSET] = (int32_t)offset,
                                 [PACKET_LENGTH] = (int32_t)length,
                                 [PACKET_VNET_FLAGS] = vnet->flags,
                                 [PACKET_GSO_TYPE] = vnet->gso_type,
                                 [PACKET_HEADER_LENGTH] = vnet->hdr_len,
                                 [PACKET_GSO_SIZE] = vnet->gso_size,
                                 [PACKET_CSUM_START] = vnet->csum_start,
                                 [PACKET_CSUM_OFFSET] = vnet->csum_offset};
  memcpy(path->tun_packets.data + (size_t)number * RECORD_INTS, record, sizeof record);
}

/*
 * readTun(max, limit, enough, header, segment): packets read, one record each, into slots in the first `limit` bytes of
 * the outbound slab; once `enough` bytes have come no more are asked for. Segment 0: each packet in one piece.
 *
 * How many there are is not known before, and to ask in vain costs too: through the ring as many again are asked for as
 * have come, without it one at a time.
 */
napi_value read_tun(napi_env env, napi_callback_info info) {
  enum { FIRST = 4, MOST_IOVECS = 2 + SLOT_BYTES / MIN_SPREAD_SEGMENT };
  struct path *path = attached_path(env, "readTun");
  napi_value arguments[5];
  int32_t max, limit, enough, header, segment;
  if (path == NULL || !get_arguments(env, info, 5, arguments)) return NULL;
  struct memory slab = path->slabs[SLAB_OUTBOUND];
  int32_t most = limit_of(&path->tun_packets, MAX_MESSAGES);
  if (!get_int(env, arguments[0], "max", 0, most, &max)) return NULL;
  if (!get_int(env, arguments[1], "limit", 0, slab.size < INT32_MAX ? (int32_t)slab.size : INT32_MAX, &limit)) return NULL;
  if (!get_int(env, arguments[2], "enough", 0, INT32_MAX, &enough)) return NULL;
  if (!get_int(env, arguments[3], "header", 0, MAX_SPREAD_HEADER, &header)) return NULL;
  if (!get_int(env, arguments[4], "segment", 0, SLOT_BYTES, &segment)) return NULL;
  if (segment > 0 && segment < MIN_SPREAD_SEGMENT) return throw_errno(env, EINVAL, "readTun", "segment is too small");

  static _Thread_local struct iovec iovecs[RING_ENTRIES][MOST_IOVECS];
  struct virtio_net_hdr vnets[RING_ENTRIES] = {0};
  struct transfer transfers[RING_ENTRIES];
  struct spread spread = make_spread((size_t)header, (size_t)segment);
  size_t slot_bytes = spread.pieces * spread.stride;
  size_t slot_distance = outbound_distance(slot_bytes);
  size_t slots = slots_in((size_t)limit, slot_bytes, slot_distance);
  if ((size_t)max > slots) max = (int32_t)slots;

  int32_t done = 0;
  size_t bytes = 0;
  while (done < max && bytes < (size_t)enough) {
    int32_t wanted = path->ring.fd < 0 ? 1 : done < FIRST ? FIRST : done;
    if (wanted > RING_ENTRIES) wanted = RING_ENTRIES;
    if (wanted > max - done) wanted = max - done;
    uint8_t *start = slab.data + (size_t)done * slot_distance;
    for (int32_t i = 0; i < wanted; i++) {
      int count = lay_out(&spread, start + (size_t)i * slot_distance, &vnets[i], iovecs[i]);
      transfers[i] = (struct transfer){.iovecs = iovecs[i], .iovec_count = count};
    }
    if (transfer_all(path, TRANSFER_READ, transfers, wanted) != 0) return int_value(env, done > 0 ? done : RING_FAILED);
    int32_t came = 0;
    for (int32_t i = 0; i < wanted; i++) {
      if (transfers[i].result < 0) continue;
      size_t length = transfers[i].result > (int)VNET_BYTES ? (size_t)transfers[i].result - VNET_BYTES : 0;
      uint8_t *at = start + (size_t)i * slot_distance;
      copy_headers(&spread, at, length);
      record_packet(path, done + came++, (size_t)(at - slab.data), length, &vnets[i]);
      bytes += length;
    }
    if (came == 0 && done == 0 && transfers[0].result != -EAGAIN && transfers[0].result != -EINTR) {
      return int_value(env, transfers[0].result);
    }
    done += came;
    if (came < wanted) break;
  }
  return int_value(env, done);
}

static bool build_write(const struct path *path, int32_t number, struct virtio_net_hdr *vnet, struct iovec *iovecs,
                        struct transfer *transfer) {
  int32_t record[RECORD_INTS];
  copy_ints(record, path->writes.data + (size_t)number * RECORD_INTS, RECORD_INTS);
  *vnet = (struct virtio_net_hdr){.flags = (uint8_t)record[WRITE_VNET_FLAGS],
                                  .gso_type = (uint8_t)record[WRITE_GSO_TYPE],
                                  .hdr_len = (uint16_t)record[WRITE_HEADER_LENGTH],
                                  .gso_size = (uint16_t)record[WRITE_GSO_SIZE],
                                  .csum_start = (uint16_t)record[WRITE_CSUM_START],
                                  .csum_offset = (uint16_t)record[WRITE_CSUM_OFFSET]};
  iovecs[0] = (struct iovec){.iov_base = vnet, .iov_len = VNET_BYTES};
  int32_t first = record[WRITE_FIRST_IOVEC], count = record[WRITE_IOVEC_COUNT];
  if (count >= MAX_IOVECS_PER_MESSAGE) return false;
  *transfer = (struct transfer){.iovecs = iovecs, .iovec_count = count + 1};
  return build_iovecs(path, &path->write_iovecs, first, count, iovecs + 1);
}

/* writeTun(first, count): packets (or super-packets) written. */
napi_value write_tun(napi_env env, napi_callback_info info) {
  struct path *path = attached_path(env, "writeTun");
  int32_t first, count;
  if (path == NULL || !get_range(env, info, &path->writes, MAX_MESSAGES, &first, &count)) return NULL;
  /* Room for one message of any size behind those that are there already. */
  static _Thread_local struct iovec iovecs[4 * MAX_IOVECS_PER_MESSAGE];
  struct virtio_net_hdr vnets[RING_ENTRIES];
  struct transfer transfers[RING_ENTRIES];
  int32_t done = 0;
  while (done < count) {
    size_t used = 0;
    int built = 0;
    while (built < RING_ENTRIES && done + built < count && used <= 3 * MAX_IOVECS_PER_MESSAGE) {
      if (!build_write(path, first + done + built, &vnets[built], iovecs + used, &transfers[built])) {
        return throw_errno(env, EINVAL, "writeTun", "a record points outside its memory");
      }
      used += (size_t)transfers[built++].iovec_count;
    }
    if (transfer_all(path, TRANSFER_WRITE, transfers, built) != 0) return int_value(env, done > 0 ? done : RING_FAILED);
    for (int i = 0; i < built; i++) {
      if (transfers[i].result < 0) return int_value(env, done > 0 ? done : transfers[i].result);
      done++;
    }
  }
  return int_value(env, done);
}
