/*
 * What the kernel does with the addon's memory, and nothing else: reads every byte that is sent, fills every byte that
 * may be received, and answers what the input says. The build renames the addon's calls to these (scripts/fuzz).
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "../../native/src/rudder.h"
#include "fuzz.h"

static volatile uint8_t sink;

/* The kernel gives the lowest number that is free: so one that was closed is soon another one. */
enum { FIRST_FD = 1000, MAX_FDS = 128 };
static int kinds[MAX_FDS];
static int rings;

int open_descriptor(int kind) {
  for (int i = 0; i < MAX_FDS; i++) {
    if (kinds[i] != HANDLE_NONE) continue;
    kinds[i] = kind;
    return FIRST_FD + i;
  }
  errno = EMFILE;
  return -1;
}

static int is_open(int fd, int kind) {
  return fd >= FIRST_FD && fd < FIRST_FD + MAX_FDS && kinds[fd - FIRST_FD] == kind;
}

static void expect_open(int fd, int kind) {
  if (!is_open(fd, kind)) abort();
}

void forget_descriptors(void) {
  for (int i = 0; i < MAX_FDS; i++) {
    if (kinds[i] != HANDLE_NONE) abort();
  }
  if (rings != 0) abort();
}

static size_t read_all(const struct iovec *parts, size_t count) {
  size_t total = 0;
  if (count > 1024) abort(); /* UIO_MAXIOV */
  for (size_t i = 0; i < count; i++) {
    const uint8_t *bytes = parts[i].iov_base;
    for (size_t k = 0; k < parts[i].iov_len; k++) sink ^= bytes[k];
    total += parts[i].iov_len;
  }
  return total;
}

static size_t room_in(const struct iovec *parts, size_t count) {
  size_t room = 0;
  for (size_t i = 0; i < count; i++) {
    memset(parts[i].iov_base, 0xa5, parts[i].iov_len);
    room += parts[i].iov_len;
  }
  return room;
}

/* A failure now and then: -1 and an errno. */
static int fails(void) {
  static const int errors[] = {EAGAIN, EINTR, EIO, EINVAL, EMSGSIZE, EBADFD, EPERM};
  uint8_t choice = next_byte();
  if (choice % 4 != 3) return 0;
  errno = errors[(choice / 4) % (sizeof errors / sizeof errors[0])];
  return 1;
}

ssize_t fuzz_readv(int fd, const struct iovec *parts, int count) {
  expect_open(fd, HANDLE_TUN);
  if (fails()) return -1;
  size_t room = room_in(parts, (size_t)count);
  for (size_t i = 0; i < parts[0].iov_len; i++) ((uint8_t *)parts[0].iov_base)[i] = next_byte();
  return next_below((int32_t)room);
}

ssize_t fuzz_writev(int fd, const struct iovec *parts, int count) {
  expect_open(fd, HANDLE_TUN);
  size_t total = read_all(parts, (size_t)count);
  return fails() ? -1 : (ssize_t)total;
}

int fuzz_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
  (void)flags;
  expect_open(fd, HANDLE_UDP);
  if (count == 0 || count > 1024) abort();
  for (unsigned i = 0; i < count; i++) {
    const struct msghdr *message = &messages[i].msg_hdr;
    read_all(message->msg_iov, message->msg_iovlen);
    const struct sockaddr_in *address = message->msg_name;
    if (message->msg_namelen != sizeof *address || address->sin_family != AF_INET || address->sin_port == 0) abort();
    if (message->msg_control != NULL) {
      const struct cmsghdr *header = CMSG_FIRSTHDR(message);
      if (header == NULL || header->cmsg_type != UDP_SEGMENT || header->cmsg_len != CMSG_LEN(sizeof(uint16_t))) abort();
    }
  }
  return fails() ? -1 : next_below((int32_t)count - 1) + 1;
}

int fuzz_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout) {
  (void)flags, (void)timeout;
  expect_open(fd, HANDLE_UDP);
  if (fails()) return -1;
  int received = next_below((int32_t)count - 1) + 1;
  for (int i = 0; i < received; i++) {
    struct msghdr *message = &messages[i].msg_hdr;
    size_t room = room_in(message->msg_iov, message->msg_iovlen);
    size_t sealed = next_sealed(message->msg_iov->iov_base, message->msg_iov->iov_len);
    messages[i].msg_len = sealed > 0 ? (unsigned)sealed : (unsigned)next_below((int32_t)room);
    uint8_t kind = next_byte();
    message->msg_flags = kind & 1 ? MSG_TRUNC : 0;
    struct sockaddr_in *address = message->msg_name;
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = (uint32_t)next_int()};
    if (!(kind & 2)) {
      message->msg_controllen = 0;
      continue;
    }
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    if (header == NULL) abort();
    int size = next_int();
    header->cmsg_level = kind & 4 ? SOL_SOCKET : SOL_UDP;
    header->cmsg_type = kind & 8 ? UDP_SEGMENT : UDP_GRO;
    header->cmsg_len = CMSG_LEN(sizeof size);
    memcpy(CMSG_DATA(header), &size, sizeof size);
  }
  return received;
}

ssize_t fuzz_sendmsg(int fd, const struct msghdr *message, int flags) {
  (void)flags;
  expect_open(fd, HANDLE_ECHO);
  struct iovec to = {message->msg_name, message->msg_namelen};
  read_all(&to, 1);
  size_t total = read_all(message->msg_iov, message->msg_iovlen);
  return fails() ? -1 : (ssize_t)total;
}

/* A packet that is an echo in most of its bytes, and the time that it came at. */
static size_t write_echo(uint8_t *packet, size_t room) {
  static const uint8_t right[] = {0x45, 0, 0, 36, 0, 0, 0, 0, 64, 1, 0, 0, 10, 1, 1, 2, 10, 1, 1, 1, 8, 0, 0xf7, 0xfd, 0, 1, 0, 1};
  size_t length = next_byte() < 192 ? 36 : (size_t)next_below((int32_t)room);
  memset(packet, 0, room);
  memcpy(packet, right, sizeof right);
  packet[2] = (uint8_t)(length >> 8);
  packet[3] = (uint8_t)length;
  for (int wrong = next_byte() % 4; wrong == 3; wrong = next_byte() % 4) packet[next_byte() % 64] = next_byte();
  return length;
}

ssize_t fuzz_recvmsg(int fd, struct msghdr *message, int flags) {
  (void)flags;
  expect_open(fd, HANDLE_ECHO);
  if (fails()) return -1;
  if (message->msg_iovlen != 1) abort();
  size_t length = write_echo(message->msg_iov->iov_base, message->msg_iov->iov_len);
  uint8_t kind = next_byte();
  message->msg_flags = kind % 8 == 7 ? MSG_TRUNC : 0;
  struct timespec time = {next_int(), next_below(999999999)};
  struct cmsghdr *header = CMSG_FIRSTHDR(message);
  if (header == NULL) abort();
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = kind % 16 == 6 ? SCM_TIMESTAMP : SCM_TIMESTAMPNS;
  header->cmsg_len = CMSG_LEN(kind % 16 == 5 ? 4 : sizeof time);
  memcpy(CMSG_DATA(header), &time, sizeof time);
  if (kind % 16 == 4) message->msg_controllen = 0;
  return (ssize_t)length;
}

int fuzz_poll(struct pollfd *fds, nfds_t count, int timeout) {
  if (timeout < 0 || count != 3) abort(); /* for ever */
  expect_open(fds[0].fd, HANDLE_EVENT);
  expect_open(fds[1].fd, HANDLE_TUN);
  expect_open(fds[2].fd, HANDLE_UDP);
  if (next_byte() % 4 == 3) {
    errno = next_byte() % 2 ? EINTR : ENOMEM;
    return -1;
  }
  int ready = 0;
  for (nfds_t i = 0; i < count; i++) {
    fds[i].revents = (short)(next_byte() & (fds[i].events | POLLERR | POLLHUP | POLLNVAL));
    ready += fds[i].revents != 0;
  }
  return ready;
}

int fuzz_getsockopt(int fd, int level, int name, void *value, socklen_t *size) {
  (void)level, (void)name;
  expect_open(fd, HANDLE_UDP);
  if (fails()) return -1;
  if (next_byte() % 4 == 3) *size /= 2; /* a kernel that knows less */
  memset(value, 0, *size);
  return 0;
}

ssize_t fuzz_sendto(int fd, const void *bytes, size_t size, int flags, const struct sockaddr *to, socklen_t length) {
  (void)flags;
  expect_open(fd, HANDLE_UDP);
  struct iovec parts[] = {{(void *)bytes, size}, {(void *)to, length}};
  return fails() ? -1 : (ssize_t)(read_all(parts, 2) - length);
}

int fuzz_socket(int domain, int type, int protocol) {
  if (fails()) return -1;
  if (domain == AF_NETLINK) return open_descriptor(HANDLE_NETLINK);
  return open_descriptor((type & 0xf) == SOCK_RAW && protocol == IPPROTO_ICMP ? HANDLE_ECHO : HANDLE_UDP);
}

int fuzz_close(int fd) {
  if (fd < FIRST_FD || fd >= FIRST_FD + MAX_FDS || kinds[fd - FIRST_FD] == HANDLE_NONE) abort();
  kinds[fd - FIRST_FD] = HANDLE_NONE;
  return 0;
}

int fuzz_open(const char *path, int flags, ...) {
  (void)flags;
  return path[0] != '/' || fails() ? -1 : open_descriptor(HANDLE_TUN);
}

int fuzz_eventfd(unsigned count, int flags) {
  (void)count, (void)flags;
  return fails() ? -1 : open_descriptor(HANDLE_EVENT);
}

int fuzz_ioctl(int fd, unsigned long request, ...) {
  (void)request;
  expect_open(fd, HANDLE_TUN);
  return fails() ? -1 : 0;
}

static ssize_t take(const void *bytes, size_t size) {
  struct iovec part = {(void *)bytes, size};
  read_all(&part, 1);
  return fails() ? -1 : (ssize_t)size;
}

int fuzz_setsockopt(int fd, int level, int name, const void *value, socklen_t size) {
  (void)level, (void)name;
  if (!is_open(fd, HANDLE_NETLINK) && !is_open(fd, HANDLE_ECHO)) expect_open(fd, HANDLE_UDP);
  return take(value, size) < 0 ? -1 : 0;
}

int fuzz_bind(int fd, const struct sockaddr *address, socklen_t size) { return fuzz_setsockopt(fd, 0, 0, address, size); }

ssize_t fuzz_read(int fd, void *bytes, size_t size) {
  expect_open(fd, HANDLE_EVENT);
  if (fails()) return -1;
  memset(bytes, 1, size);
  return (ssize_t)size;
}

ssize_t fuzz_write(int fd, const void *bytes, size_t size) {
  expect_open(fd, HANDLE_EVENT);
  return take(bytes, size);
}

/* In place of ring.c, of which the rest of the addon sees the results alone. */
int ring_open(struct ring *ring) {
  if (fails()) return errno;
  *ring = (struct ring){.fd = rings++};
  return 0;
}

void ring_close(struct ring *ring) {
  if (ring->fd < 0) return;
  ring->fd = -1;
  rings--;
}

int ring_run(struct ring *ring, enum transfer_kind kind, int fd, struct transfer *transfers, int count) {
  if (ring->fd < 0 || count < 1 || count > RING_ENTRIES) abort();
  expect_open(fd, HANDLE_TUN);
  if (fails()) return errno;
  /* A chain that could not be prepared. */
  int broken = kind == TRANSFER_WRITE && next_byte() % 8 == 7;
  for (int i = 0; i < count; i++) {
    struct transfer *transfer = &transfers[i];
    if (broken) {
      transfer->result = -ECANCELED;
      continue;
    }
    ssize_t result = kind == TRANSFER_READ ? fuzz_readv(fd, transfer->iovecs, transfer->iovec_count)
                                           : fuzz_writev(fd, transfer->iovecs, transfer->iovec_count);
    transfer->result = result < 0 ? -errno : (int)result;
    broken = result < 0 && kind == TRANSFER_WRITE;
  }
  return 0;
}
