/* Batches of datagrams and trains from and to the UDP socket. See records.c for what they return. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "rudder.h"

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
    copy_ints(record, path->sends.data + (size_t)(first + built) * RECORD_INTS, RECORD_INTS);
    int32_t iovec_count = record[SEND_IOVEC_COUNT], port = record[SEND_PORT], segment = record[SEND_SEGMENT_SIZE];
    /* Out of room for iovecs: this much now, the caller asks again for the rest. */
    if (built > 0 && iovec_count > 0 && used + (size_t)iovec_count > sizeof iovecs / sizeof iovecs[0]) break;
    if (!build_iovecs(path, &path->send_iovecs, record[SEND_FIRST_IOVEC], iovec_count, iovecs + used) || port < 1 ||
        port > 65535 || segment < 0 || segment > 65535) {
      return throw_errno(env, EINVAL, "sendUdp", "a record points outside its memory");
    }
    addresses[built] = (struct sockaddr_in){.sin_family = AF_INET,
                                            .sin_port = htons((uint16_t)port),
                                            .sin_addr.s_addr = htonl((uint32_t)record[SEND_ADDRESS])};
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

/* receiveUdp(max): datagrams received in one recvmmsg, one slot of the inbound slab each. attach() has counted the slots. */
napi_value receive_udp(napi_env env, napi_callback_info info) {
  struct path *path = attached_path(env, "receiveUdp");
  napi_value arguments[1];
  int32_t max;
  if (path == NULL || !get_arguments(env, info, 1, arguments)) return NULL;
  if (!get_int(env, arguments[0], "max", 0, limit_of(&path->datagrams, MAX_DATAGRAMS), &max)) return NULL;
  static _Thread_local struct mmsghdr messages[MAX_DATAGRAMS];
  static _Thread_local struct sockaddr_in sources[MAX_DATAGRAMS];
  static _Thread_local union segment_control controls[MAX_DATAGRAMS];
  static _Thread_local struct iovec iovecs[MAX_DATAGRAMS];
  struct memory slab = path->slabs[SLAB_INBOUND];
  size_t start = first_inbound_slot(slab);
  for (int32_t i = 0; i < max; i++) {
    iovecs[i] = (struct iovec){.iov_base = slab.data + start + (size_t)i * INBOUND_DISTANCE, .iov_len = SLOT_BYTES};
    messages[i].msg_hdr = (struct msghdr){.msg_name = &sources[i],
                                          .msg_namelen = sizeof sources[i],
                                          .msg_iov = &iovecs[i],
                                          .msg_iovlen = 1,
                                          .msg_control = controls[i].bytes,
                                          .msg_controllen = sizeof controls[i].bytes};
  }
  if (max == 0) return int_value(env, 0);
  int received = recvmmsg(path->udp, messages, (unsigned)max, MSG_DONTWAIT, NULL);
  if (received < 0) return int_value(env, errno == EAGAIN || errno == EINTR ? 0 : -errno);
  for (int i = 0; i < received; i++) {
    struct msghdr *message = &messages[i].msg_hdr;
    int32_t record[RECORD_INTS] = {[DATAGRAM_OFFSET] = (int32_t)start + i * INBOUND_DISTANCE,
                                   [DATAGRAM_LENGTH] = (int32_t)messages[i].msg_len,
                                   [DATAGRAM_SENDER] = (int32_t)ntohl(sources[i].sin_addr.s_addr),
                                   [DATAGRAM_PORT] = ntohs(sources[i].sin_port),
                                   [DATAGRAM_SEGMENT_SIZE] = segment_size_of(message),
                                   [DATAGRAM_TRUNCATED] = message->msg_flags & MSG_TRUNC ? 1 : 0};
    memcpy(path->datagrams.data + (size_t)i * RECORD_INTS, record, sizeof record);
  }
  return int_value(env, received);
}
