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

void add_segment_size(struct msghdr *message, void *control, size_t control_size, uint16_t size) {
  message->msg_control = control;
  message->msg_controllen = control_size < CMSG_SPACE(sizeof size) ? control_size : CMSG_SPACE(sizeof size);
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
    if (segment > 0) add_segment_size(message, controls[built].bytes, sizeof controls[built].bytes, (uint16_t)segment);
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

int receive_datagrams(const struct path *path, int32_t max, const struct datagram **datagrams) {
  static _Thread_local struct mmsghdr messages[MAX_DATAGRAMS];
  static _Thread_local struct sockaddr_in sources[MAX_DATAGRAMS];
  static _Thread_local union segment_control controls[MAX_DATAGRAMS];
  static _Thread_local struct iovec iovecs[MAX_DATAGRAMS];
  static _Thread_local struct datagram found[MAX_DATAGRAMS];
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
  *datagrams = found;
  if (max == 0) return 0;
  int received = recvmmsg(path->udp, messages, (unsigned)max, MSG_DONTWAIT, NULL);
  if (received < 0) return errno == EAGAIN || errno == EINTR ? 0 : -errno;
  for (int i = 0; i < received; i++) {
    struct msghdr *message = &messages[i].msg_hdr;
    found[i] = (struct datagram){.offset = (int32_t)start + i * INBOUND_DISTANCE,
                                 .length = (int32_t)messages[i].msg_len,
                                 .sender = (int32_t)ntohl(sources[i].sin_addr.s_addr),
                                 .port = ntohs(sources[i].sin_port),
                                 .segment_size = segment_size_of(message),
                                 .is_truncated = (message->msg_flags & MSG_TRUNC) != 0};
  }
  return received;
}

/* receiveUdp(max): datagrams received in one recvmmsg, one slot of the inbound slab each. attach() has counted the slots. */
napi_value receive_udp(napi_env env, napi_callback_info info) {
  struct path *path = attached_path(env, "receiveUdp");
  napi_value arguments[1];
  int32_t max;
  if (path == NULL || !get_arguments(env, info, 1, arguments)) return NULL;
  if (!get_int(env, arguments[0], "max", 0, limit_of(&path->datagrams, MAX_DATAGRAMS), &max)) return NULL;
  const struct datagram *datagrams;
  int received = receive_datagrams(path, max, &datagrams);
  for (int i = 0; i < received; i++) {
    int32_t record[RECORD_INTS] = {[DATAGRAM_OFFSET] = datagrams[i].offset,
                                   [DATAGRAM_LENGTH] = datagrams[i].length,
                                   [DATAGRAM_SENDER] = datagrams[i].sender,
                                   [DATAGRAM_PORT] = datagrams[i].port,
                                   [DATAGRAM_SEGMENT_SIZE] = datagrams[i].segment_size,
                                   [DATAGRAM_TRUNCATED] = datagrams[i].is_truncated};
    memcpy(path->datagrams.data + (size_t)i * RECORD_INTS, record, sizeof record);
  }
  return int_value(env, received);
}

/* sendDatagram(fd, address, port, bytes): one at once, from whatever thread; throws what the kernel says. */
napi_value send_datagram(napi_env env, napi_callback_info info) {
  napi_value arguments[4];
  int fd;
  int32_t address, port;
  struct memory bytes;
  if (!get_arguments(env, info, 4, arguments)) return NULL;
  if (!get_handle(env, arguments[0], "fd", HANDLE_UDP, &fd)) return NULL;
  if (!get_int(env, arguments[1], "address", INT32_MIN, INT32_MAX, &address)) return NULL;
  if (!get_int(env, arguments[2], "port", 1, 65535, &port)) return NULL;
  if (!get_bytes(env, arguments[3], "bytes", &bytes)) return NULL;
  struct sockaddr_in to = {
      .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl((uint32_t)address)};
  if (sendto(fd, bytes.data, bytes.size, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof to) < 0) {
    return throw_errno(env, errno, "sendto", NULL);
  }
  return NULL;
}
