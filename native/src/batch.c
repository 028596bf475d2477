/*
 * The five batch calls, in the order in which the loop makes them. None allocates. Each copies a record before it
 * checks it, since another thread could write to shared memory in between.
 *
 * Results: the number of records done. Fewer than asked: the next one would block or failed; asked again from there,
 * the call answers -errno if that first one fails. JavaScript decides what a failure means.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "rudder.h"

#define VNET_BYTES sizeof(struct virtio_net_hdr)

/* A packet starts on a cache line of its own. */
#define ALIGNMENT 64

/* Reads the arguments (first, count) of a call over records, and checks them against the array. */
static bool get_range(napi_env env, napi_callback_info info, const struct records *records, int32_t most, int32_t *first,
                      int32_t *count) {
  napi_value arguments[2];
  int32_t limit = records->count < (size_t)most ? (int32_t)records->count : most;
  if (!get_arguments(env, info, 2, arguments)) return false;
  if (!get_int(env, arguments[0], "first", 0, limit, first)) return false;
  return get_int(env, arguments[1], "count", 0, limit - *first, count);
}

static bool get_max(napi_env env, napi_callback_info info, const struct records *records, int32_t most, int32_t *max) {
  napi_value arguments[1];
  int32_t limit = records->count < (size_t)most ? (int32_t)records->count : most;
  return get_arguments(env, info, 1, arguments) && get_int(env, arguments[0], "max", 0, limit, max);
}

/* Builds the iovecs of one message; false if any lies outside its slab. */
static bool build_iovecs(const struct path *path, const struct records *iovecs, int32_t first, int32_t count,
                         struct iovec *out) {
  if (first < 0 || count < 1 || count > MAX_IOVECS_PER_MESSAGE) return false;
  if ((size_t)first + (size_t)count > iovecs->count) return false;
  for (int32_t i = 0; i < count; i++) {
    const int32_t *record = iovecs->data + (size_t)(first + i) * IOVEC_INTS;
    int32_t slab = record[0], offset = record[1], length = record[2];
    if (slab < 0 || slab >= SLAB_COUNT || offset < 0 || length < 1) return false;
    if ((size_t)offset + (size_t)length > path->slabs[slab].size) return false;
    out[i] = (struct iovec){.iov_base = path->slabs[slab].data + offset, .iov_len = (size_t)length};
  }
  return true;
}

static int64_t microseconds_since(const struct timespec *start) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)(now.tv_sec - start->tv_sec) * 1000000 + (now.tv_nsec - start->tv_nsec) / 1000;
}

/*
 * Looks again and again for a while before it sleeps. To sleep on an idle core and be woken costs tens of
 * microseconds on a virtual machine, the work of many packets. sched_yield() lets anything else that can run go first,
 * so only a core that nobody wants is spent.
 */
static int poll_spinning(struct pollfd *fds, nfds_t count, int spin_us, int timeout_ms) {
  struct timespec start;
  clock_gettime(CLOCK_MONOTONIC, &start);
  do {
    int ready = poll(fds, count, 0);
    if (ready != 0) return ready;
    sched_yield();
  } while (microseconds_since(&start) < spin_us);
  return poll(fds, count, timeout_ms);
}

/*
 * wait(interest, timeoutMs, spinMicroseconds): the bits that are true now, after at most that time. Also sets the
 * clock.
 */
napi_value wait_ready(napi_env env, napi_callback_info info) {
  enum { FDS = 3 };
  struct path *path = attached_path(env, "wait");
  napi_value arguments[3];
  int32_t interest, timeout_ms, spin_us;
  if (path == NULL || !get_arguments(env, info, 3, arguments)) return NULL;
  if (!get_int(env, arguments[0], "interest", 0, TUN_READABLE | UDP_READABLE | UDP_WRITABLE, &interest)) return NULL;
  if (!get_int(env, arguments[1], "timeoutMs", 0, 60000, &timeout_ms)) return NULL;
  if (!get_int(env, arguments[2], "spinMicroseconds", 0, 1000, &spin_us)) return NULL;

  short udp_events = (short)((interest & UDP_READABLE ? POLLIN : 0) | (interest & UDP_WRITABLE ? POLLOUT : 0));
  struct pollfd fds[FDS] = {
      {.fd = path->event, .events = POLLIN},
      {.fd = path->tun, .events = interest & TUN_READABLE ? POLLIN : 0},
      {.fd = path->udp, .events = udp_events},
  };
  int ready = spin_us > 0 ? poll_spinning(fds, FDS, spin_us, timeout_ms) : poll(fds, FDS, timeout_ms);
  if (ready < 0 && errno != EINTR) return throw_errno(env, errno, "poll", NULL);

  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  *path->clock_ms = (int32_t)(((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000) & INT32_MAX);
  if (ready <= 0) return int_value(env, 0);

  int32_t mask = 0;
  if (fds[0].revents != 0) mask |= STOP_SIGNALLED;
  if (fds[1].revents & POLLIN) mask |= TUN_READABLE;
  /* tun_chr_poll() answers POLLERR once the device is unregistered. */
  if (fds[1].revents & (POLLERR | POLLHUP | POLLNVAL)) mask |= TUN_FAILED;
  if (fds[2].revents & POLLIN) mask |= UDP_READABLE;
  if (fds[2].revents & POLLOUT) mask |= UDP_WRITABLE;
  if (fds[2].revents & POLLERR) {
    int pending;
    socklen_t size = sizeof pending;
    getsockopt(path->udp, SOL_SOCKET, SO_ERROR, &pending, &size); /* reading the error clears it */
  }
  return int_value(env, mask);
}

/*
 * readTun(max): packets read, one record each. They lie one after the other in the outbound slab; the kernel gives
 * one packet for each read, and each read must have room for the largest.
 */
napi_value read_tun(napi_env env, napi_callback_info info) {
  struct path *path = attached_path(env, "readTun");
  int32_t max;
  if (path == NULL || !get_max(env, info, &path->tun_packets, MAX_MESSAGES, &max)) return NULL;
  struct memory slab = path->slabs[SLAB_OUTBOUND];
  size_t offset = 0;
  int32_t done = 0;
  for (; done < max && offset + SLOT_BYTES <= slab.size; done++) {
    struct virtio_net_hdr vnet = {0};
    struct iovec parts[] = {{.iov_base = &vnet, .iov_len = VNET_BYTES},
                            {.iov_base = slab.data + offset, .iov_len = SLOT_BYTES}};
    ssize_t length = readv(path->tun, parts, 2);
    if (length < 0) {
      if (errno == EAGAIN || errno == EINTR || done > 0) break;
      return int_value(env, -errno);
    }
    length = length > (ssize_t)VNET_BYTES ? length - (ssize_t)VNET_BYTES : 0;
    int32_t record[RECORD_INTS] = {(int32_t)offset,  (int32_t)length, vnet.flags,      vnet.gso_type,
                                   vnet.hdr_len,     vnet.gso_size,   vnet.csum_start, vnet.csum_offset};
    memcpy(path->tun_packets.data + (size_t)done * RECORD_INTS, record, sizeof record);
    offset += ((size_t)length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  }
  return int_value(env, done);
}

union segment_control {
  char bytes[CMSG_SPACE(sizeof(int))];
  struct cmsghdr align;
};

/* Asks the kernel to cut the payload into datagrams of that size (UDP_SEGMENT, udp(7)). */
static void add_segment_size(struct msghdr *message, union segment_control *control, uint16_t size) {
  message->msg_control = control->bytes;
  message->msg_controllen = CMSG_SPACE(sizeof size);
  struct cmsghdr *header = CMSG_FIRSTHDR(message);
  header->cmsg_level = SOL_UDP;
  header->cmsg_type = UDP_SEGMENT;
  header->cmsg_len = CMSG_LEN(sizeof size);
  memcpy(CMSG_DATA(header), &size, sizeof size);
}

/* sendUdp(first, count): datagrams (or trains) handed to the kernel in one sendmmsg. */
napi_value send_udp(napi_env env, napi_callback_info info) {
  struct path *path = attached_path(env, "sendUdp");
  int32_t first, count;
  if (path == NULL || !get_range(env, info, &path->sends, MAX_MESSAGES, &first, &count)) return NULL;
  static _Thread_local struct mmsghdr messages[MAX_MESSAGES];
  static _Thread_local struct sockaddr_in addresses[MAX_MESSAGES];
  static _Thread_local union segment_control controls[MAX_MESSAGES];
  static _Thread_local struct iovec iovecs[4 * MAX_IOVECS_PER_MESSAGE];
  size_t used = 0;
  int32_t built = 0;
  for (; built < count; built++) {
    int32_t record[RECORD_INTS];
    memcpy(record, path->sends.data + (size_t)(first + built) * RECORD_INTS, sizeof record);
    int32_t iovec_count = record[1], port = record[3], segment = record[4];
    /* Out of room for iovecs: this much now, the caller asks again for the rest. */
    if (built > 0 && iovec_count > 0 && used + (size_t)iovec_count > sizeof iovecs / sizeof iovecs[0]) break;
    if (!build_iovecs(path, &path->send_iovecs, record[0], iovec_count, iovecs + used) || port < 1 || port > 65535 ||
        segment < 0 || segment > 65535) {
      return throw_errno(env, EINVAL, "sendUdp", "a record points outside its memory");
    }
    addresses[built] = (struct sockaddr_in){.sin_family = AF_INET,
                                            .sin_port = htons((uint16_t)port),
                                            .sin_addr.s_addr = htonl((uint32_t)record[2])};
    struct msghdr *message = &messages[built].msg_hdr;
    *message = (struct msghdr){.msg_name = &addresses[built],
                               .msg_namelen = sizeof addresses[built],
                               .msg_iov = iovecs + used,
                               .msg_iovlen = (size_t)iovec_count};
    if (segment > 0) add_segment_size(message, &controls[built], (uint16_t)segment);
    used += (size_t)iovec_count;
  }
  if (built == 0) return int_value(env, 0);
  int sent = sendmmsg(path->udp, messages, (unsigned)built, MSG_DONTWAIT | MSG_NOSIGNAL);
  return int_value(env, sent < 0 ? -errno : sent);
}

/* The size of a train's segments (UDP_GRO), or 0 for a single datagram. */
static int32_t segment_size_of(struct msghdr *message) {
  for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL; header = CMSG_NXTHDR(message, header)) {
    if (header->cmsg_level != SOL_UDP || header->cmsg_type != UDP_GRO) continue;
    int size;
    memcpy(&size, CMSG_DATA(header), sizeof size);
    return size > 0 && size <= 65535 ? size : 0;
  }
  return 0;
}

/*
 * receiveUdp(max): datagrams received in one recvmmsg, one slot of the inbound slab each. The slots are spread by a
 * little more than SLOT_BYTES: at equal distance modulo 4096 their first bytes would all compete for the same few sets
 * of the L1 cache.
 */
napi_value receive_udp(napi_env env, napi_callback_info info) {
  enum { STRIDE = SLOT_BYTES + 1536 };
  struct path *path = attached_path(env, "receiveUdp");
  int32_t max;
  if (path == NULL || !get_max(env, info, &path->datagrams, MAX_DATAGRAMS, &max)) return NULL;
  static _Thread_local struct mmsghdr messages[MAX_DATAGRAMS];
  static _Thread_local struct sockaddr_in sources[MAX_DATAGRAMS];
  static _Thread_local union segment_control controls[MAX_DATAGRAMS];
  static _Thread_local struct iovec iovecs[MAX_DATAGRAMS];
  struct memory slab = path->slabs[SLAB_INBOUND];
  int32_t slots = 0;
  for (; slots < max && (size_t)slots * STRIDE + SLOT_BYTES <= slab.size; slots++) {
    iovecs[slots] = (struct iovec){.iov_base = slab.data + (size_t)slots * STRIDE, .iov_len = SLOT_BYTES};
    messages[slots].msg_hdr = (struct msghdr){.msg_name = &sources[slots],
                                              .msg_namelen = sizeof sources[slots],
                                              .msg_iov = &iovecs[slots],
                                              .msg_iovlen = 1,
                                              .msg_control = controls[slots].bytes,
                                              .msg_controllen = sizeof controls[slots].bytes};
  }
  if (slots == 0) return int_value(env, 0);
  int received = recvmmsg(path->udp, messages, (unsigned)slots, MSG_DONTWAIT, NULL);
  if (received < 0) return int_value(env, errno == EAGAIN || errno == EINTR ? 0 : -errno);
  for (int i = 0; i < received; i++) {
    struct msghdr *message = &messages[i].msg_hdr;
    int32_t record[RECORD_INTS] = {i * STRIDE,
                                   (int32_t)messages[i].msg_len,
                                   (int32_t)ntohl(sources[i].sin_addr.s_addr),
                                   ntohs(sources[i].sin_port),
                                   segment_size_of(message),
                                   message->msg_flags & MSG_TRUNC ? 1 : 0};
    memcpy(path->datagrams.data + (size_t)i * RECORD_INTS, record, sizeof record);
  }
  return int_value(env, received);
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
