#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/sock_diag.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "rudder.h"

/* Hands a new descriptor to the table and to JavaScript. */
static napi_value adopt(napi_env env, int fd, enum handle_kind kind, const char *caller) {
  if (handle_add(fd, kind, env)) return int_value(env, fd);
  close(fd);
  return throw_errno(env, EMFILE, caller, "too many open devices");
}

/* Names the step that failed; 0 or an errno. */
static int configure_tun(int fd, const char *name, const char **step) {
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
  memcpy(request.ifr_name, name, strlen(name) + 1); /* open_tun() has checked the length */
  *step = "TUNSETIFF";
  if (ioctl(fd, TUNSETIFF, &request) < 0) return errno;
  /* A persistent device keeps what its last owner set, so set everything again. */
  int header_size = sizeof(struct virtio_net_hdr), little_endian = 1;
  *step = "TUNSETVNETHDRSZ";
  if (ioctl(fd, TUNSETVNETHDRSZ, &header_size) < 0) return errno;
  *step = "TUNSETVNETLE";
  if (ioctl(fd, TUNSETVNETLE, &little_endian) < 0) return errno;
  /* No offloads: the kernel hands over whole packets with finished checksums. */
  *step = "TUNSETOFFLOAD";
  return ioctl(fd, TUNSETOFFLOAD, 0) < 0 ? errno : 0;
}

/* openTun(name): descriptor of the device, created if absent. It vanishes with the descriptor unless made persistent. */
napi_value open_tun(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  char name[IFNAMSIZ];
  size_t length;
  if (!get_arguments(env, info, 1, arguments)) return NULL;
  if (!get_string(env, arguments[0], "name", name, sizeof name, &length)) return NULL;
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return throw_errno(env, errno, "open", "/dev/net/tun");
  const char *step;
  int error = configure_tun(fd, name, &step);
  if (error != 0) {
    close(fd);
    return throw_errno(env, error, step, name);
  }
  return adopt(env, fd, HANDLE_TUN, "openTun");
}

/* setTunPersistent(fd, 0 | 1) */
napi_value set_tun_persistent(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  int fd;
  int32_t on;
  if (!get_arguments(env, info, 2, arguments)) return NULL;
  if (!get_handle(env, arguments[0], "fd", HANDLE_TUN, &fd)) return NULL;
  if (!get_int(env, arguments[1], "on", 0, 1, &on)) return NULL;
  if (ioctl(fd, TUNSETPERSIST, (unsigned long)on) < 0) return throw_errno(env, errno, "TUNSETPERSIST", NULL);
  return NULL;
}

/* setTunOffload(fd, bits): what the kernel may hand over unfinished (TUN_F_...). EINVAL: it does not know a bit. */
napi_value set_tun_offload(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  int fd;
  int32_t bits;
  if (!get_arguments(env, info, 2, arguments)) return NULL;
  if (!get_handle(env, arguments[0], "fd", HANDLE_TUN, &fd)) return NULL;
  if (!get_int(env, arguments[1], "bits", 0, 0xffff, &bits)) return NULL;
  if (ioctl(fd, TUNSETOFFLOAD, (unsigned long)bits) < 0) return throw_errno(env, errno, "TUNSETOFFLOAD", NULL);
  return NULL;
}

/* setUdpGro(fd, 0 | 1): whether the kernel may hand over trains (UDP_GRO). */
napi_value set_udp_gro(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  int fd;
  int32_t on;
  if (!get_arguments(env, info, 2, arguments)) return NULL;
  if (!get_handle(env, arguments[0], "fd", HANDLE_UDP, &fd)) return NULL;
  if (!get_int(env, arguments[1], "on", 0, 1, &on)) return NULL;
  if (setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof on) < 0) return throw_errno(env, errno, "setsockopt", "UDP_GRO");
  return NULL;
}

/* probeUdpGso(fd): throws if the kernel does not know UDP_SEGMENT. As a socket option it would apply to every send, so
 * it is switched off again; trains carry it as a control message. */
napi_value probe_udp_gso(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  int fd, size = 1400, off = 0;
  if (!get_arguments(env, info, 1, arguments)) return NULL;
  if (!get_handle(env, arguments[0], "fd", HANDLE_UDP, &fd)) return NULL;
  if (setsockopt(fd, SOL_UDP, UDP_SEGMENT, &size, sizeof size) < 0 ||
      setsockopt(fd, SOL_UDP, UDP_SEGMENT, &off, sizeof off) < 0) {
    return throw_errno(env, errno, "setsockopt", "UDP_SEGMENT");
  }
  return NULL;
}

/* probeRing(tun): throws if the kernel lets us have no ring, or TUN cannot be read without waiting through one. */
napi_value probe_ring(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  int fd;
  struct ring ring;
  if (!get_arguments(env, info, 1, arguments)) return NULL;
  if (!get_handle(env, arguments[0], "fd", HANDLE_TUN, &fd)) return NULL;
  int error = ring_open(&ring);
  if (error != 0) return throw_errno(env, error, "io_uring_setup", NULL);
  /* No room to read into: tun_do_read() answers 0 before it takes a packet off the queue. */
  char nothing;
  struct iovec empty = {.iov_base = &nothing, .iov_len = 0};
  struct transfer probe = {.iovecs = &empty, .iovec_count = 1};
  error = ring_run(&ring, TRANSFER_READ, fd, &probe, 1);
  ring_close(&ring);
  if (error != 0) return throw_errno(env, error, "io_uring_enter", NULL);
  return probe.result >= 0 ? NULL : throw_errno(env, -probe.result, "readv", "io_uring");
}

/* Beyond net.core.[rw]mem_max with CAP_NET_ADMIN, else as far as the limit lets us: losing packets is all it costs. */
static void set_buffer(int fd, int forced, int plain, int bytes) {
  if (setsockopt(fd, SOL_SOCKET, forced, &bytes, sizeof bytes) < 0) {
    setsockopt(fd, SOL_SOCKET, plain, &bytes, sizeof bytes);
  }
}

/*
 * No path MTU is asked for or believed: an ICMP message that says "too large" can be forged by anybody who knows the two
 * addresses, and would have every packet cut in pieces for ten minutes. With OMIT the kernel takes no notice of one (nor of
 * what others have learnt), sets no DF, and cuts what is larger than the interface's MTU, as the routers behind it do for
 * theirs. With INTERFACE it would refuse that, and with DONT believe the ICMP message.
 */
static int omit_path_mtu(int fd) {
  int omit = IP_PMTUDISC_OMIT;
  return setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &omit, sizeof omit) < 0 ? errno : 0;
}

/* openUdp(address, port, bufferBytes): non-blocking socket bound to that address. */
napi_value open_udp(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  int32_t address, port, buffer_bytes;
  if (!get_arguments(env, info, 3, arguments)) return NULL;
  if (!get_int(env, arguments[0], "address", INT32_MIN, INT32_MAX, &address)) return NULL;
  if (!get_int(env, arguments[1], "port", 0, 65535, &port)) return NULL;
  if (!get_int(env, arguments[2], "bufferBytes", 4096, 1 << 28, &buffer_bytes)) return NULL;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return throw_errno(env, errno, "socket", NULL);
  int error = omit_path_mtu(fd);
  if (error != 0) {
    close(fd);
    return throw_errno(env, error, "setsockopt", "IP_MTU_DISCOVER");
  }
  set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, buffer_bytes);
  set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, buffer_bytes);
  struct sockaddr_in local = {
      .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl((uint32_t)address)};
  if (bind(fd, (struct sockaddr *)&local, sizeof local) < 0) {
    error = errno;
    close(fd);
    return throw_errno(env, error, "bind", NULL);
  }
  return adopt(env, fd, HANDLE_UDP, "openUdp");
}

/* udpDrops(fd): datagrams and trains that found the socket's buffer full; SO_MEMINFO, Linux 4.12. */
napi_value udp_drops(napi_env env, napi_callback_info info) {
  napi_value arguments[1], drops;
  int fd;
  uint32_t counts[SK_MEMINFO_VARS];
  socklen_t size = sizeof counts;
  if (!get_arguments(env, info, 1, arguments)) return NULL;
  if (!get_handle(env, arguments[0], "fd", HANDLE_UDP, &fd)) return NULL;
  if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, counts, &size) < 0) return throw_errno(env, errno, "getsockopt", "SO_MEMINFO");
  if (size < sizeof counts) return throw_errno(env, EINVAL, "getsockopt", "SO_MEMINFO");
  return napi_create_uint32(env, counts[SK_MEMINFO_DROPS], &drops) == napi_ok ? drops : NULL;
}

/* openEvent(): an eventfd that ends a wait() in another thread. */
napi_value open_event(napi_env env, napi_callback_info info) {
  (void)info;
  int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0) return throw_errno(env, errno, "eventfd", NULL);
  return adopt(env, fd, HANDLE_EVENT, "openEvent");
}

napi_value signal_event(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  int fd;
  if (!get_arguments(env, info, 1, arguments)) return NULL;
  if (!get_handle(env, arguments[0], "fd", HANDLE_EVENT, &fd)) return NULL;
  /* EAGAIN: the counter is full, so it is signalled. */
  uint64_t one = 1;
  if (write(fd, &one, sizeof one) < 0 && errno != EAGAIN) return throw_errno(env, errno, "write", "eventfd");
  return NULL;
}

napi_value close_handle(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  int32_t fd;
  if (!get_arguments(env, info, 1, arguments)) return NULL;
  if (!get_int(env, arguments[0], "fd", 0, INT32_MAX, &fd)) return NULL;
  int error = handle_close(fd);
  return error == 0 ? NULL : throw_errno(env, error, "close", NULL);
}
