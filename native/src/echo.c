/*
 * ICMP echo (RFC 792) on a raw socket: requests go out, and requests and replies come in, those that others asked for too.
 * Whose a reply is, its sender and the numbers in it tell; the caller decides.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/icmp.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "rudder.h"

#define MAX_DATAGRAM 65535
#define ICMP_HEADER 8
#define MAX_PAYLOAD (MAX_DATAGRAM - (int)sizeof(struct iphdr) - ICMP_HEADER)

struct echo_header {
  uint8_t type, code;
  uint16_t checksum, id, sequence;
};
_Static_assert(sizeof(struct echo_header) == ICMP_HEADER, "as it is sent");

/*
 * A path MTU that ICMP has told of is not believed, as on the tunnel's socket (devices.c). With PROBE the packet has DF, and
 * goes if the interface takes it, so that the answer tells what the path carries; with OMIT it has none, and is cut.
 */
static int set_options(int fd, uint32_t mark, bool dont_fragment, int ttl, int buffer_bytes, const char **step) {
  struct icmp_filter filter = {.data = ~(UINT32_C(1) << ICMP_ECHO | UINT32_C(1) << ICMP_ECHOREPLY)};
  int on = 1, discovery = dont_fragment ? IP_PMTUDISC_PROBE : IP_PMTUDISC_OMIT;
  const struct {
    const char *step;
    int level, name;
    const void *value;
    socklen_t size;
  } options[] = {
      {"ICMP_FILTER", SOL_RAW, ICMP_FILTER, &filter, sizeof filter},
      {"SO_TIMESTAMPNS", SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on},
      {"IP_MTU_DISCOVER", IPPROTO_IP, IP_MTU_DISCOVER, &discovery, sizeof discovery},
      {"SO_RCVBUF", SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes},
      {mark == 0 ? NULL : "SO_MARK", SOL_SOCKET, SO_MARK, &mark, sizeof mark},
      {ttl == 0 ? NULL : "IP_TTL", IPPROTO_IP, IP_TTL, &ttl, sizeof ttl},
  };
  for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
    *step = options[i].step;
    if (*step == NULL) continue;
    if (setsockopt(fd, options[i].level, options[i].name, options[i].value, options[i].size) < 0) return errno;
  }
  return 0;
}

/*
 * openEcho(address, mark, dontFragment, ttl, bufferBytes): non-blocking; address 0: from any of this host's, and to
 * them; mark 0: none; ttl 0: what is usual here.
 */
napi_value open_echo(napi_env env, napi_callback_info info) {
  napi_value arguments[5];
  int32_t address, mark, dont_fragment, ttl, buffer_bytes;
  if (!get_arguments(env, info, 5, arguments)) return NULL;
  if (!get_int(env, arguments[0], "address", INT32_MIN, INT32_MAX, &address)) return NULL;
  if (!get_int(env, arguments[1], "mark", INT32_MIN, INT32_MAX, &mark)) return NULL;
  if (!get_int(env, arguments[2], "dontFragment", 0, 1, &dont_fragment)) return NULL;
  if (!get_int(env, arguments[3], "ttl", 0, 255, &ttl)) return NULL;
  if (!get_int(env, arguments[4], "bufferBytes", 4096, 1 << 28, &buffer_bytes)) return NULL;
  int fd = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMP);
  if (fd < 0) return throw_errno(env, errno, "socket", "ICMP");
  const char *step = NULL, *call = "setsockopt";
  int error = set_options(fd, (uint32_t)mark, dont_fragment == 1, ttl, buffer_bytes, &step);
  struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr.s_addr = htonl((uint32_t)address)};
  if (error == 0 && address != 0 && bind(fd, (struct sockaddr *)&local, sizeof local) < 0) {
    error = errno;
    call = "bind";
    step = NULL;
  }
  if (error != 0) {
    close(fd);
    return throw_errno(env, error, call, step);
  }
  if (handle_add(fd, HANDLE_ECHO, env)) return int_value(env, fd);
  close(fd);
  return throw_errno(env, EMFILE, "openEcho", "too many open devices");
}

/* RFC 1071, of words in the network's order; the result is in that order too. */
static uint16_t checksum_of(const uint8_t *bytes, size_t length) {
  uint32_t sum = 0; /* of at most 32,768 words: no overflow */
  for (size_t i = 0; i + 1 < length; i += 2) sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
  if (length % 2 == 1) sum += (uint32_t)bytes[length - 1] << 8;
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return htons((uint16_t)~sum);
}

static double microseconds(const struct timespec *time) {
  return (double)time->tv_sec * 1e6 + (double)(time->tv_nsec / 1000);
}

/* sendEcho(fd, destination, id, sequence, payloadBytes): a request with so many zeroes; returns when, by CLOCK_REALTIME. */
napi_value send_echo(napi_env env, napi_callback_info info) {
  static const uint8_t zeroes[MAX_PAYLOAD];
  napi_value arguments[5], result;
  int fd;
  int32_t destination, id, sequence, payload_bytes;
  if (!get_arguments(env, info, 5, arguments)) return NULL;
  if (!get_handle(env, arguments[0], "fd", HANDLE_ECHO, &fd)) return NULL;
  if (!get_int(env, arguments[1], "destination", INT32_MIN, INT32_MAX, &destination)) return NULL;
  if (!get_int(env, arguments[2], "id", 0, 65535, &id)) return NULL;
  if (!get_int(env, arguments[3], "sequence", 0, 65535, &sequence)) return NULL;
  if (!get_int(env, arguments[4], "payloadBytes", 0, MAX_PAYLOAD, &payload_bytes)) return NULL;
  struct echo_header header = {
      .type = ICMP_ECHO, .id = htons((uint16_t)id), .sequence = htons((uint16_t)sequence)};
  header.checksum = checksum_of((const uint8_t *)&header, sizeof header); /* zeroes add nothing to it */
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl((uint32_t)destination)};
  /* The kernel only reads what is sent. */
  struct iovec parts[] = {{&header, sizeof header}, {(void *)zeroes, (size_t)payload_bytes}};
  struct msghdr message = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = parts, .msg_iovlen = 2};
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) return throw_errno(env, errno, "sendmsg", "ICMP echo");
  return napi_create_double(env, microseconds(&now), &result) == napi_ok ? result : NULL;
}

/* When the kernel got the packet; false: it does not say. */
static bool received_at(struct msghdr *message, struct timespec *time) {
  for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL; header = CMSG_NXTHDR(message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_TIMESTAMPNS) continue;
    if (header->cmsg_len < CMSG_LEN(sizeof *time)) return false;
    memcpy(time, CMSG_DATA(header), sizeof *time);
    return true;
  }
  return false;
}

/*
 * Reads an IPv4 packet with an echo in it, and the sum of it all, which the kernel leaves to raw sockets; false: it is none.
 * The filter is set after the socket is open, and lets types of 32 and above pass.
 */
static bool parse_echo(const uint8_t *packet, size_t length, double *record) {
  struct iphdr ip;
  struct echo_header echo;
  if (length < sizeof ip) return false;
  memcpy(&ip, packet, sizeof ip);
  size_t start = (size_t)ip.ihl * 4;
  if (ip.version != 4 || start < sizeof ip || ip.protocol != IPPROTO_ICMP) return false;
  if (ntohs(ip.tot_len) != length || length < start + sizeof echo) return false;
  memcpy(&echo, packet + start, sizeof echo);
  if ((echo.type != ICMP_ECHO && echo.type != ICMP_ECHOREPLY) || echo.code != 0) return false;
  if (checksum_of(packet + start, length - start) != 0) return false;
  record[ECHO_TYPE] = echo.type;
  record[ECHO_SOURCE] = (int32_t)ntohl(ip.saddr);
  record[ECHO_ID] = ntohs(echo.id);
  record[ECHO_SEQUENCE] = ntohs(echo.sequence);
  record[ECHO_LENGTH] = (double)(length - start - sizeof echo);
  return true;
}

/* Length of the packet read, or 0 if it is not whole, or -errno. */
static ssize_t read_packet(int fd, uint8_t *packet, struct timespec *time) {
  union {
    char bytes[CMSG_SPACE(sizeof(struct timespec))];
    struct cmsghdr align;
  } control;
  struct iovec part = {packet, MAX_DATAGRAM};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  ssize_t length = recvmsg(fd, &message, MSG_DONTWAIT);
  if (length < 0) return -errno;
  return (message.msg_flags & MSG_TRUNC) != 0 || !received_at(&message, time) ? 0 : length;
}

/* Records of doubles, to be written by this call: nothing is kept, so the array may lie on memory of any kind. */
static bool get_echo_records(napi_env env, napi_value value, double **records, size_t *count) {
  bool is_array = false;
  napi_typedarray_type type = (napi_typedarray_type)-1;
  size_t length = 0;
  void *data = NULL;
  if (napi_is_typedarray(env, value, &is_array) != napi_ok || !is_array ||
      napi_get_typedarray_info(env, value, &type, &length, &data, NULL, NULL) != napi_ok || type != napi_float64_array) {
    throw_type(env, "records", "expected a Float64Array");
    return false;
  }
  *records = data;
  *count = length / ECHO_FIELDS;
  return true;
}

/*
 * receiveEchoes(fd, records): echoes that are there, as many as fit; what is none is skipped. So many packets are read at
 * most: who sends garbage faster than that does not keep this thread.
 */
napi_value receive_echoes(napi_env env, napi_callback_info info) {
  static _Thread_local uint8_t packet[MAX_DATAGRAM];
  napi_value arguments[2];
  int fd;
  double *records;
  size_t room, count = 0;
  if (!get_arguments(env, info, 2, arguments)) return NULL;
  if (!get_handle(env, arguments[0], "fd", HANDLE_ECHO, &fd)) return NULL;
  if (!get_echo_records(env, arguments[1], &records, &room)) return NULL;
  for (int reads = 0; reads < MAX_ECHO_READS && count < room; reads++) {
    struct timespec time = {0};
    ssize_t length = read_packet(fd, packet, &time);
    if (length == -EAGAIN) break;
    if (length < 0 && length != -EINTR && count == 0) return throw_errno(env, (int)-length, "recvmsg", "ICMP echo");
    if (length < 0 && length != -EINTR) break; /* told by the next call, if it lasts */
    double record[ECHO_FIELDS];
    if (length <= 0 || !parse_echo(packet, (size_t)length, record)) continue;
    record[ECHO_RECEIVED] = microseconds(&time);
    memcpy(records + count++ * ECHO_FIELDS, record, sizeof record);
  }
  return int_value(env, (int32_t)count);
}
