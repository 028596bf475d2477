#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "rudder.h"

/* A process opens a TUN device, a socket and an event; tests open a few of each. */
#define MAX_HANDLES 64

struct handle {
  int fd;
  enum handle_kind kind;
  napi_env owner;
  int holders;
};

/* Shared by all threads of the process: the main thread opens, the worker uses. */
static struct handle table[MAX_HANDLES];
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;

static struct handle *find(int fd, enum handle_kind kind) {
  for (size_t i = 0; i < MAX_HANDLES; i++) {
    struct handle *handle = &table[i];
    if (handle->kind != HANDLE_NONE && handle->fd == fd && (kind == HANDLE_NONE || handle->kind == kind)) return handle;
  }
  return NULL;
}

bool handle_add(int fd, enum handle_kind kind, napi_env owner) {
  bool added = false;
  pthread_mutex_lock(&table_lock);
  for (size_t i = 0; i < MAX_HANDLES && !added; i++) {
    if (table[i].kind != HANDLE_NONE) continue;
    table[i] = (struct handle){.fd = fd, .kind = kind, .owner = owner};
    added = true;
  }
  pthread_mutex_unlock(&table_lock);
  return added;
}

bool handle_is(int fd, enum handle_kind kind) {
  pthread_mutex_lock(&table_lock);
  bool found = find(fd, kind) != NULL;
  pthread_mutex_unlock(&table_lock);
  return found;
}

bool handle_hold(int fd, enum handle_kind kind) {
  pthread_mutex_lock(&table_lock);
  struct handle *handle = find(fd, kind);
  if (handle != NULL) handle->holders++;
  pthread_mutex_unlock(&table_lock);
  return handle != NULL;
}

static void close_entry(struct handle *handle) {
  close(handle->fd);
  *handle = (struct handle){.kind = HANDLE_NONE};
}

void handle_release(int fd) {
  pthread_mutex_lock(&table_lock);
  struct handle *handle = find(fd, HANDLE_NONE);
  if (handle != NULL && handle->holders > 0) handle->holders--;
  /* Its owner ended while the path still held it. */
  if (handle != NULL && handle->holders == 0 && handle->owner == NULL) close_entry(handle);
  pthread_mutex_unlock(&table_lock);
}

int handle_close(int fd) {
  int error = 0;
  pthread_mutex_lock(&table_lock);
  struct handle *handle = find(fd, HANDLE_NONE);
  if (handle == NULL) {
    error = EBADF;
  } else if (handle->holders > 0) {
    error = EBUSY;
  } else {
    close_entry(handle);
  }
  pthread_mutex_unlock(&table_lock);
  return error;
}

void handles_close_owned(napi_env owner) {
  pthread_mutex_lock(&table_lock);
  for (size_t i = 0; i < MAX_HANDLES; i++) {
    struct handle *handle = &table[i];
    if (handle->kind == HANDLE_NONE || handle->owner != owner) continue;
    handle->owner = NULL;
    if (handle->holders == 0) close_entry(handle);
  }
  pthread_mutex_unlock(&table_lock);
}
