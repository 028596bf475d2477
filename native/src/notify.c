#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "rudder.h"

/*
 * notify(path, text): one datagram to systemd's notification socket (sd_notify(3)).
 * Node's dgram has no unix sockets. A path that starts with '@' is in the abstract namespace.
 */
napi_value notify_socket(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  char path[sizeof address.sun_path], text[1024];
  size_t path_length, text_length;
  if (!get_arguments(env, info, 2, arguments)) return NULL;
  if (!get_string(env, arguments[0], "path", path, sizeof path, &path_length)) return NULL;
  if (!get_string(env, arguments[1], "text", text, sizeof text, &text_length)) return NULL;

  memcpy(address.sun_path, path, path_length);
  if (path[0] == '@') address.sun_path[0] = '\0';
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path_length);

  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return throw_errno(env, errno, "socket", NULL);
  ssize_t sent = sendto(fd, text, text_length, MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&address, size);
  int error = errno;
  close(fd);
  return sent < 0 ? throw_errno(env, error, "sendto", path) : NULL;
}
