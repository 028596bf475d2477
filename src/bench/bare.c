/*
 * bare DEVICE OWN-ADDRESS PEER-ADDRESS PORT: the least that a tunnel in user space does, to see how fast one can be.
 *
 * It makes the system calls of Rudder's fast path, without a ring, and as little else as possible: one peer, no routes,
 * no limits, nothing is checked and nothing counted. It verifies no checksum and computes none but that of IPv4 headers:
 * the receiving kernel is told that they are unfinished. It knows super-packets of one shape only, that of Linux's TCP with
 * timestamps through this tunnel, and drops others. Trains are merged again, but not with one another.
 *
 *     TUN  | header 52 | payload 1420 | payload 1420 | ...     read with a gap before each payload,
 *     UDP  | header, payload | header, payload | ...           where it gets a header of its own
 *
 * Exit code 1, with the system call that failed: it could not start.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Newer than Debian's headers. */
#define GSO_UDP_L4 5
#define OFFLOAD_USO (0x20 | 0x40)
#define SOCKET_UDP_SEGMENT 103
#define SOCKET_UDP_GRO 104

enum {
  HEADER = 52,
  SEGMENT = 1420,
  STRIDE = HEADER + SEGMENT,
  PIECES = 46,
  READS = 64,
  ENOUGH = 12 * 65536, /* bytes of one turn, as Rudder's */
  SLOT = 18 * 4096 + 25 * 64,
  TRAINS = 16,
  TRAIN_SLOT = 65536 + 1536,
  MOST_SEGMENTS = 64,
  MOST_BYTES = 65507,
  MESSAGES = 2 * READS,
  BUFFER = 4 << 20
};

static int tun, udp;
static struct sockaddr_in peer;

/* What is to be sent: trains, each of pieces that lie anywhere. */
static struct mmsghdr sends[MESSAGES];
static struct iovec send_pieces[2 * MESSAGES];
static union {
  char bytes[CMSG_SPACE(sizeof(uint16_t))];
  struct cmsghdr align;
} controls[MESSAGES];
static int trains, pieces;
static struct train {
  int segment, segments, bytes;
  int is_closed; /* by a shorter segment, which can only be the last */
} open_trains[MESSAGES];

static uint16_t fold(uint32_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)sum;
}

static uint32_t sum_words(const void *data, int bytes) {
  uint32_t sum = 0;
  for (int i = 0; i < bytes; i += 2) {
    uint16_t word;
    memcpy(&word, (const char *)data + i, 2);
    sum += word;
  }
  return sum;
}

static void set_length(struct iphdr *ip, int length) {
  ip->tot_len = htons((uint16_t)length);
  ip->check = 0;
  ip->check = (uint16_t)~fold(sum_words(ip, sizeof *ip));
}

static int header_length(const struct iphdr *ip) {
  if (ip->protocol == IPPROTO_UDP) return sizeof *ip + sizeof(struct udphdr);
  if (ip->protocol != IPPROTO_TCP) return sizeof *ip;
  return (int)(sizeof *ip + 4u * ((const struct tcphdr *)(ip + 1))->doff);
}

static void open_train(int segment) {
  open_trains[trains] = (struct train){.segment = segment};
  sends[trains].msg_hdr = (struct msghdr){
      .msg_name = &peer, .msg_namelen = sizeof peer, .msg_iov = &send_pieces[pieces], .msg_iovlen = 0};
  trains++;
}

/* Puts segments of one size, of which the last may be shorter, on the last train, or on new ones. */
static void queue(char *data, int length, int segment) {
  while (length > 0) {
    struct train *train = trains > 0 ? &open_trains[trains - 1] : NULL;
    int room = 0;
    if (train != NULL && !train->is_closed && train->segment == segment) {
      int by_count = MOST_SEGMENTS - train->segments, by_bytes = (MOST_BYTES - train->bytes) / segment;
      room = by_count < by_bytes ? by_count : by_bytes;
    }
    if (room == 0) {
      open_train(segment);
      continue;
    }
    int taken = room * segment < length ? room * segment : length;
    send_pieces[pieces++] = (struct iovec){.iov_base = data, .iov_len = (size_t)taken};
    sends[trains - 1].msg_hdr.msg_iovlen++;
    train->bytes += taken;
    train->segments += (taken + segment - 1) / segment;
    train->is_closed = taken % segment != 0;
    data += taken;
    length -= taken;
  }
}

static void send_all(void) {
  for (int i = 0; i < trains; i++) {
    struct msghdr *message = &sends[i].msg_hdr;
    if (open_trains[i].segments < 2) continue;
    message->msg_control = &controls[i];
    message->msg_controllen = sizeof controls[i].bytes;
    struct cmsghdr *control = CMSG_FIRSTHDR(message);
    *control = (struct cmsghdr){
        .cmsg_level = SOL_UDP, .cmsg_type = SOCKET_UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof(uint16_t))};
    uint16_t segment = (uint16_t)open_trains[i].segment;
    memcpy(CMSG_DATA(control), &segment, sizeof segment);
  }
  for (int done = 0; done < trains;) {
    int sent = sendmmsg(udp, sends + done, (unsigned)(trains - done), 0);
    done += sent > 0 ? sent : 1; /* lost, as on any wire */
  }
  trains = pieces = 0;
}

/* Gives each payload a header. */
static void split(char *at, int length) {
  int payload = length - HEADER, segments = (payload + SEGMENT - 1) / SEGMENT;
  const struct tcphdr *first = (const struct tcphdr *)(at + sizeof(struct iphdr));
  uint32_t sequence = ntohl(first->seq);
  uint16_t id = ntohs(((const struct iphdr *)at)->id);
  for (int i = segments - 1; i >= 0; i--) {
    char *header = at + i * STRIDE;
    if (i > 0) memcpy(header, at, HEADER);
    struct iphdr *ip = (struct iphdr *)header;
    struct tcphdr *tcp = (struct tcphdr *)(ip + 1);
    int last = i == segments - 1;
    ip->id = htons((uint16_t)(id + i));
    set_length(ip, HEADER + (last ? payload - i * SEGMENT : SEGMENT));
    tcp->seq = htonl(sequence + (uint32_t)(i * SEGMENT));
    if (!last) tcp->psh = tcp->fin = 0;
  }
  queue(at, length + (segments - 1) * HEADER, STRIDE);
}

static void outbound(void) {
  static _Alignas(4096) char slots[READS][SLOT];
  int total = 0;
  for (int i = 0; i < READS && total < ENOUGH; i++) {
    struct virtio_net_hdr vnet;
    struct iovec iovecs[1 + PIECES] = {{&vnet, sizeof vnet}, {slots[i], STRIDE}};
    for (int k = 1; k < PIECES; k++) iovecs[1 + k] = (struct iovec){slots[i] + k * STRIDE + HEADER, SEGMENT};
    int length = (int)readv(tun, iovecs, 1 + PIECES) - (int)sizeof vnet;
    if (length <= 0) break;
    total += length;
    if (vnet.gso_type == VIRTIO_NET_HDR_GSO_NONE) {
      queue(slots[i], length, length);
    } else if (vnet.gso_size == SEGMENT && header_length((struct iphdr *)slots[i]) == HEADER) {
      split(slots[i], length);
    }
  }
  send_all();
}

/* Writes segments that follow one another as one super-packet. `bytes` is what they have together. */
static void write_segments(const char *first, int segments, int segment, int bytes) {
  char header[sizeof(struct iphdr) + 60];
  struct iphdr *ip = (struct iphdr *)header;
  int length = header_length((const struct iphdr *)first);
  memcpy(header, first, (size_t)length);
  set_length(ip, bytes - (segments - 1) * length);
  struct virtio_net_hdr vnet = {0};
  if (length > (int)sizeof *ip) {
    int is_tcp = ip->protocol == IPPROTO_TCP, transport = ntohs(ip->tot_len) - (int)sizeof *ip;
    vnet = (struct virtio_net_hdr){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                   .csum_start = sizeof *ip,
                                   .csum_offset = is_tcp ? offsetof(struct tcphdr, check) : offsetof(struct udphdr, check)};
    uint16_t pseudo = fold(sum_words(&ip->saddr, 8) + htons(ip->protocol) + htons((uint16_t)transport));
    memcpy(header + vnet.csum_start + vnet.csum_offset, &pseudo, sizeof pseudo);
    if (!is_tcp) ((struct udphdr *)(ip + 1))->len = htons((uint16_t)transport);
    if (segments > 1) {
      vnet.gso_type = is_tcp ? VIRTIO_NET_HDR_GSO_TCPV4 : GSO_UDP_L4;
      vnet.gso_size = (uint16_t)(segment - length);
      vnet.hdr_len = (uint16_t)length;
      const struct tcphdr *last = (const struct tcphdr *)(first + (segments - 1) * segment + sizeof *ip);
      if (is_tcp) ((struct tcphdr *)(ip + 1))->psh = last->psh;
    }
  }
  struct iovec iovecs[2 + MOST_SEGMENTS] = {{&vnet, sizeof vnet}, {header, (size_t)length}};
  int count = 2;
  for (int i = 0; i < segments; i++) {
    int payload = (i < segments - 1 ? segment : bytes - i * segment) - length;
    if (payload > 0) iovecs[count++] = (struct iovec){(char *)first + i * segment + length, (size_t)payload};
  }
  if (writev(tun, iovecs, count) < 0) return; /* lost, as on any wire */
}

static int follows(const char *first, const char *next, int distance, int segment) {
  const struct iphdr *ip = (const struct iphdr *)first;
  int length = header_length(ip);
  if (segment == length || distance >= PIECES) return 0;
  /* Addresses and ports. */
  if (memcmp(&ip->saddr, next + offsetof(struct iphdr, saddr), 12) != 0 || length == (int)sizeof *ip) return 0;
  if (ip->protocol == IPPROTO_UDP) return 1;
  const struct tcphdr *before = (const struct tcphdr *)(ip + 1);
  const struct tcphdr *after = (const struct tcphdr *)(next + sizeof *ip);
  return ntohl(after->seq) == ntohl(before->seq) + (uint32_t)(distance * (segment - length));
}

static void inbound(void) {
  static _Alignas(4096) char slots[TRAINS][TRAIN_SLOT];
  static union {
    char bytes[64];
    struct cmsghdr align;
  } received[TRAINS];
  static struct mmsghdr messages[TRAINS];
  struct iovec iovecs[TRAINS];
  for (int i = 0; i < TRAINS; i++) {
    iovecs[i] = (struct iovec){slots[i], 65536};
    messages[i].msg_hdr = (struct msghdr){
        .msg_iov = &iovecs[i], .msg_iovlen = 1, .msg_control = &received[i], .msg_controllen = sizeof received[i].bytes};
  }
  int count = recvmmsg(udp, messages, TRAINS, MSG_DONTWAIT, NULL);
  for (int i = 0; i < count; i++) {
    int length = (int)messages[i].msg_len, segment = length;
    struct cmsghdr *control = CMSG_FIRSTHDR(&messages[i].msg_hdr);
    if (control != NULL && control->cmsg_type == SOCKET_UDP_GRO) memcpy(&segment, CMSG_DATA(control), sizeof segment);
    for (int from = 0, to; from < length; from = to) {
      int segments = 1;
      for (to = from + segment; to < length && follows(slots[i] + from, slots[i] + to, segments, segment); to += segment)
        segments++;
      if (to > length) to = length;
      write_segments(slots[i] + from, segments, segment, to - from);
    }
  }
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void open_all(char **arguments) {
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
  strncpy(request.ifr_name, arguments[1], IFNAMSIZ - 1);
  tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
  if (tun < 0 || ioctl(tun, TUNSETIFF, &request) != 0) fail("TUNSETIFF");
  unsigned long tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO_ECN;
  if (ioctl(tun, TUNSETOFFLOAD, tcp | OFFLOAD_USO) != 0 && ioctl(tun, TUNSETOFFLOAD, tcp) != 0) fail("TUNSETOFFLOAD");

  struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[4]))};
  peer = own;
  if (inet_pton(AF_INET, arguments[2], &own.sin_addr) != 1) fail(arguments[2]);
  if (inet_pton(AF_INET, arguments[3], &peer.sin_addr) != 1) fail(arguments[3]);
  int one = 1, buffer = BUFFER;
  udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  if (udp < 0 || bind(udp, (struct sockaddr *)&own, sizeof own) != 0) fail("bind");
  if (setsockopt(udp, SOL_UDP, SOCKET_UDP_GRO, &one, sizeof one) != 0) fail("UDP_GRO");
  if (setsockopt(udp, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) != 0) fail("SO_RCVBUFFORCE");
  if (setsockopt(udp, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer) != 0) fail("SO_SNDBUFFORCE");
}

int main(int count, char **arguments) {
  if (count != 5) {
    fprintf(stderr, "usage: bare DEVICE OWN-ADDRESS PEER-ADDRESS PORT\n");
    return 1;
  }
  open_all(arguments);
  struct pollfd ready[] = {{.fd = tun, .events = POLLIN}, {.fd = udp, .events = POLLIN}};
  for (;;) {
    if (poll(ready, 2, -1) <= 0) continue;
    if (ready[0].revents != 0) outbound();
    if (ready[1].revents != 0) inbound();
  }
}
