/*
 * flood SOURCE TARGET OWN PEER OTHER PORT COUNT KIND RATE: COUNT datagrams over a raw socket, at RATE a second (0: as fast as
 * they go). SOURCE is this host, TARGET the node's underlay address, OWN a container behind it, PEER a container behind this host, OTHER
 * a container of nobody's. KIND: hostile (all that must not enter), fragments (the same, cut in two outside, some halves
 * missing or overlapping), or ttl (from a member, with no hop left).
 * Prints how many packets were sent. Outer UDP checksums are 0: none.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static uint32_t seed = 12345;
static uint32_t any(void) {
  seed ^= seed << 13;
  seed ^= seed >> 17;
  return seed ^= seed << 5;
}

static uint32_t target, own, peer, other, source;
static uint16_t port;

static uint16_t checksum(const void *data, size_t bytes) {
  const uint16_t *words = data;
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes / 2; i++) sum += words[i];
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}

/* One IPv4 packet with `options` words of options; returns its length. */
static size_t inner(uint8_t *at, uint32_t from, uint32_t to, uint8_t ttl, uint16_t fragment, unsigned options, size_t payload) {
  size_t header = 20 + 4 * options, total = header + payload;
  for (size_t i = 20; i < total; i++) at[i] = (uint8_t)any();
  struct iphdr ip = {.version = 4, .ihl = header / 4, .tot_len = htons((uint16_t)total), .ttl = ttl, .protocol = 17,
                     .frag_off = htons(fragment), .saddr = from, .daddr = to};
  memcpy(at, &ip, sizeof ip);
  ip.check = checksum(at, header);
  memcpy(at, &ip, sizeof ip);
  return total;
}

/* Something that must not enter; sets the outer source. */
static size_t hostile(uint8_t *at, uint32_t *from) {
  size_t length;
  *from = source;
  switch (any() % 9) {
    case 0: /* noise */
      length = any() % 300;
      for (size_t i = 0; i < length; i++) at[i] = (uint8_t)any();
      if (length > 0) at[0] &= 0x3f; /* never IPv4 */
      return length;
    case 1: /* cut off */
      length = inner(at, peer, own, 64, 0, 0, 64);
      return any() % length;
    case 2: /* more than it says */
      return inner(at, peer, own, 64, 0, 0, 64) + 1 + any() % 100;
    case 3: /* the source of nobody, or of our own subnet, or of the outside */
      return inner(at, any() % 3 ? (any() % 2 ? other : own) : any() | 1, own, 64, 0, 0, any() % 1000);
    case 4: /* a member's container from a stranger's host */
      *from = htonl(0x0b000000 | (any() & 0xffffff));
      return inner(at, peer, own, 64, 0, 0, any() % 1000);
    case 5: /* for somebody else: another subnet, the host itself, the outside */
      return inner(at, peer, any() % 3 ? (any() % 2 ? other : target) : htonl(0x0b000000 | (any() & 0xffffff)), 64, 0, 0, 64);
    case 6: /* fragments of a forged packet */
      return inner(at, other, own, 64, (uint16_t)(any() & 0x3fff), 0, 64);
    case 7: /* with options, record route and source route among them */
      length = inner(at, other, own, (uint8_t)any(), 0, 1 + any() % 10, 64);
      at[20] = any() % 2 ? 7 : 131;
      return length;
    default: /* a header that is longer than the packet */
      length = inner(at, peer, own, 64, 0, 0, any() % 40);
      at[0] = 0x4f;
      return length < 60 ? length : 59;
  }
}

enum kind { HOSTILE, FRAGMENTS, TTL };

#define BATCH 64
#define ROOM 2048

static uint8_t packets[BATCH][ROOM];
static struct mmsghdr messages[BATCH];
static struct iovec parts[BATCH];
static struct sockaddr_in to = {.sin_family = AF_INET};

/* Queues `length` bytes behind an outer header of 20 bytes. */
static void queue(int i, uint32_t from, uint16_t id, uint16_t fragment, size_t length) {
  struct iphdr ip = {.version = 4, .ihl = 5, .tot_len = htons((uint16_t)(20 + length)), .id = id, .ttl = 64, .protocol = 17,
                     .frag_off = htons(fragment), .saddr = from, .daddr = target};
  memcpy(packets[i], &ip, sizeof ip);
  parts[i] = (struct iovec){.iov_base = packets[i], .iov_len = 20 + length};
  messages[i].msg_hdr = (struct msghdr){.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &parts[i], .msg_iovlen = 1};
}

/* Writes one datagram, UDP header first; returns its length. */
static size_t datagram(uint8_t *at, enum kind kind, uint32_t *from) {
  *from = source;
  size_t length = kind == TTL ? inner(at + 8, peer, own ^ htonl(0x60), 1, 0, 0, 64) : hostile(at + 8, from);
  struct udphdr udp = {.source = htons(port), .dest = htons(port), .len = htons((uint16_t)(8 + length))};
  memcpy(at, &udp, sizeof udp);
  return 8 + length;
}

#define MORE_FRAGMENTS 0x2000

/* Two packets: a datagram cut in two at a multiple of 8 bytes, whole in three of four cases. */
static void prepare_halves(int i) {
  uint32_t from;
  size_t length = datagram(packets[i] + 20, HOSTILE, &from), cut = length / 16 * 8;
  if (cut < 16) {
    queue(i, from, 0, 0, length);
    messages[i + 1] = messages[i];
    return;
  }
  uint16_t id = (uint16_t)any();
  unsigned spoiled = any() % 12; /* 0: the first half only, 1: the second only, 2: overlapping */
  size_t start = spoiled == 2 ? cut - 8 : cut;
  memcpy(packets[i + 1] + 20, packets[i] + 20 + start, length - start);
  queue(i, from, id, MORE_FRAGMENTS, cut);
  queue(i + 1, from, id, (uint16_t)(start / 8), length - start);
  if (spoiled == 0) messages[i + 1] = messages[i];
  if (spoiled == 1) messages[i] = messages[i + 1];
}

static void prepare(int count, enum kind kind) {
  for (int i = 0; i < count; i++) {
    uint32_t from;
    if (kind == FRAGMENTS && i + 1 < count) prepare_halves(i++);
    else {
      size_t length = datagram(packets[i] + 20, kind, &from);
      queue(i, from, 0, 0, length);
    }
  }
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  if (argc != 10) return 2;
  inet_pton(AF_INET, argv[1], &source);
  inet_pton(AF_INET, argv[2], &target);
  inet_pton(AF_INET, argv[3], &own);
  inet_pton(AF_INET, argv[4], &peer);
  inet_pton(AF_INET, argv[5], &other);
  port = (uint16_t)atoi(argv[6]);
  long count = atol(argv[7]), sent = 0;
  enum kind kind = strcmp(argv[8], "ttl") == 0 ? TTL : strcmp(argv[8], "fragments") == 0 ? FRAGMENTS : HOSTILE;
  double rate = atof(argv[9]), start = now();
  to.sin_addr.s_addr = target;
  int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
  if (fd < 0) {
    perror("socket");
    return 1;
  }
  while (sent < count) {
    int size = count - sent < BATCH ? (int)(count - sent) : BATCH;
    prepare(size, kind);
    for (int done = 0; done < size;) {
      int accepted = sendmmsg(fd, messages + done, (unsigned)(size - done), 0);
      if (accepted < 0 && errno != ENOBUFS && errno != EAGAIN) {
        perror("sendmmsg");
        return 1;
      }
      if (accepted > 0) done += accepted;
    }
    sent += size;
    while (rate > 0 && (double)sent / rate > now() - start) {
      struct timespec pause = {.tv_nsec = 100000};
      nanosleep(&pause, NULL);
    }
  }
  printf("%ld %.3f\n", sent, now() - start);
  return 0;
}
