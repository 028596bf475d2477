/*
 * The kernel's notifications of links, addresses and routes. Here and not in the netlink package, which ends the process
 * when one is lost (its C++ throws on ENOBUFS). They are read with fs.readSync(), since each is only a reason to look.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rudder.h"

/* openNetlink(groups, bufferBytes): non-blocking NETLINK_ROUTE socket; groups: bit n - 1 for RTNLGRP n. */
napi_value open_netlink(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  int32_t groups, buffer_bytes;
  if (!get_arguments(env, info, 2, arguments)) return NULL;
  if (!get_int(env, arguments[0], "groups", 0, INT32_MAX, &groups)) return NULL;
  if (!get_int(env, arguments[1], "bufferBytes", 4096, 1 << 28, &buffer_bytes)) return NULL;
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return throw_errno(env, errno, "socket", "AF_NETLINK");
  /* As far as it may: what finds no room is told of by the next read (ENOBUFS). */
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer_bytes, sizeof buffer_bytes) < 0) {
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes);
  }
  struct sockaddr_nl local = {.nl_family = AF_NETLINK, .nl_groups = (uint32_t)groups};
  if (bind(fd, (struct sockaddr *)&local, sizeof local) < 0) {
    int error = errno;
    close(fd);
    return throw_errno(env, error, "bind", "AF_NETLINK");
  }
  if (handle_add(fd, HANDLE_NETLINK, env)) return int_value(env, fd);
  close(fd);
  return throw_errno(env, EMFILE, "openNetlink", "too many open devices");
}
