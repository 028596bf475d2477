/* Waiting for the device, the socket and the stop event. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <time.h>

#include "rudder.h"

static int64_t microseconds_since(const struct timespec *start) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)(now.tv_sec - start->tv_sec) * 1000000 + (now.tv_nsec - start->tv_nsec) / 1000;
}

/*
 * Looks again and again for a while before it sleeps. To sleep on an idle core and be woken costs tens of
 * microseconds on a virtual machine, the work of many packets. sched_yield() lets anything else that can run go first,
 * so only a core that nobody wants is spent.
 */
static int poll_spinning(struct pollfd *fds, nfds_t count, int spin_us, int timeout_ms, bool *in_vain) {
  struct timespec start;
  clock_gettime(CLOCK_MONOTONIC, &start);
  do {
    int ready = poll(fds, count, 0);
    if (ready != 0) return ready;
    sched_yield();
  } while (microseconds_since(&start) < spin_us);
  *in_vain = true;
  return poll(fds, count, timeout_ms);
}

/*
 * wait(interest, timeoutMs, spinMicroseconds): the bits that are true now, after at most that time. Also sets the
 * clock.
 */
napi_value wait_ready(napi_env env, napi_callback_info info) {
  enum { FDS = 3 };
  struct path *path = attached_path(env, "wait");
  napi_value arguments[3];
  int32_t interest, timeout_ms, spin_us;
  if (path == NULL || !get_arguments(env, info, 3, arguments)) return NULL;
  if (!get_int(env, arguments[0], "interest", 0, TUN_READABLE | UDP_READABLE | UDP_WRITABLE, &interest)) return NULL;
  if (!get_int(env, arguments[1], "timeoutMs", 0, 60000, &timeout_ms)) return NULL;
  if (!get_int(env, arguments[2], "spinMicroseconds", 0, 1000, &spin_us)) return NULL;

  short udp_events = (short)((interest & UDP_READABLE ? POLLIN : 0) | (interest & UDP_WRITABLE ? POLLOUT : 0));
  struct pollfd fds[FDS] = {
      {.fd = path->event, .events = POLLIN},
      {.fd = path->tun, .events = interest & TUN_READABLE ? POLLIN : 0},
      {.fd = path->udp, .events = udp_events},
  };
  bool in_vain = false;
  int ready = spin_us > 0 ? poll_spinning(fds, FDS, spin_us, timeout_ms, &in_vain) : poll(fds, FDS, timeout_ms);
  if (ready < 0 && errno != EINTR) return throw_errno(env, errno, "poll", NULL);

  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  *path->clock_ms = (int32_t)(((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000) & INT32_MAX);
  if (ready <= 0) return int_value(env, 0);

  int32_t mask = in_vain ? SPUN_IN_VAIN : 0;
  if (fds[0].revents != 0) mask |= STOP_SIGNALLED;
  if (fds[1].revents & POLLIN) mask |= TUN_READABLE;
  /* tun_chr_poll() answers POLLERR once the device is unregistered. */
  if (fds[1].revents & (POLLERR | POLLHUP | POLLNVAL)) mask |= TUN_FAILED;
  if (fds[2].revents & POLLIN) mask |= UDP_READABLE;
  if (fds[2].revents & POLLOUT) mask |= UDP_WRITABLE;
  if (fds[2].revents & POLLERR) {
    int pending;
    socklen_t size = sizeof pending;
    getsockopt(path->udp, SOL_SOCKET, SO_ERROR, &pending, &size); /* reading the error clears it */
  }
  return int_value(env, mask);
}
