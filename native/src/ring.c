/*
 * Reads or writes of many packets in one system call: a ring of io_uring(7), since TUN has no such calls of its own.
 *
 *     submission queue   | readv | readv | writev | ...    filled here, taken by the kernel within io_uring_enter()
 *     completion queue   | bytes or -errno | ...           filled by the kernel, taken here before ring_run() returns
 *
 * Nothing is ever in flight between two calls. RWF_NOWAIT has the kernel answer -EAGAIN where it would otherwise wait
 * for the device and go on in the background, into memory that is in use for something else by then.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "rudder.h"

static uint32_t *number_at(const struct ring *ring, uint32_t offset) {
  return (uint32_t *)((uint8_t *)ring->queues + offset);
}

static int enter(const struct ring *ring, unsigned submit, unsigned wait) {
  return (int)syscall(__NR_io_uring_enter, ring->fd, submit, wait, IORING_ENTER_GETEVENTS, NULL, 0);
}

static bool map_queues(struct ring *ring, const struct io_uring_params *params) {
  size_t submissions = params->sq_off.array + params->sq_entries * sizeof(uint32_t);
  size_t completions = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
  const int protection = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_POPULATE;
  ring->queues_size = submissions > completions ? submissions : completions;
  ring->queues = mmap(NULL, ring->queues_size, protection, flags, ring->fd, IORING_OFF_SQ_RING);
  if (ring->queues == MAP_FAILED) return false;
  ring->entries = mmap(NULL, RING_ENTRIES * sizeof *ring->entries, protection, flags, ring->fd, IORING_OFF_SQES);
  if (ring->entries == MAP_FAILED) {
    int error = errno;
    munmap(ring->queues, ring->queues_size);
    errno = error;
    return false;
  }
  return true;
}

int ring_open(struct ring *ring) {
  struct io_uring_params params = {0};
  *ring = (struct ring){.fd = (int)syscall(__NR_io_uring_setup, RING_ENTRIES, &params)};
  if (ring->fd < 0) return errno;
  int error = 0;
  /* Since Linux 5.4 both queues lie in one mapping. */
  if (!(params.features & IORING_FEAT_SINGLE_MMAP) || params.sq_entries != RING_ENTRIES) error = ENOSYS;
  else if (!map_queues(ring, &params)) error = errno;
  if (error != 0) {
    close(ring->fd);
    ring->fd = -1;
    return error;
  }
  ring->submission_tail = number_at(ring, params.sq_off.tail);
  ring->completion_head = number_at(ring, params.cq_off.head);
  ring->completion_tail = number_at(ring, params.cq_off.tail);
  ring->completion_mask = params.cq_entries - 1;
  ring->completions = (struct io_uring_cqe *)((uint8_t *)ring->queues + params.cq_off.cqes);
  /* Which entry each place of the queue stands for: always its own. */
  for (uint32_t i = 0; i < RING_ENTRIES; i++) number_at(ring, params.sq_off.array)[i] = i;
  return 0;
}

void ring_close(struct ring *ring) {
  if (ring->fd < 0) return;
  munmap(ring->entries, RING_ENTRIES * sizeof *ring->entries);
  munmap(ring->queues, ring->queues_size);
  close(ring->fd);
  ring->fd = -1;
}

static void fill(struct ring *ring, enum transfer_kind kind, int fd, const struct transfer *transfers, int count) {
  uint32_t tail = *ring->submission_tail;
  for (int i = 0; i < count; i++) {
    struct io_uring_sqe *entry = &ring->entries[(tail + (uint32_t)i) % RING_ENTRIES];
    *entry = (struct io_uring_sqe){.opcode = kind == TRANSFER_READ ? IORING_OP_READV : IORING_OP_WRITEV,
                                   .fd = fd,
                                   .addr = (uintptr_t)transfers[i].iovecs,
                                   .len = (uint32_t)transfers[i].iovec_count,
                                   .rw_flags = RWF_NOWAIT,
                                   .user_data = (uint64_t)i};
    /* Chained: behind a write that fails the kernel cancels the others. (A short read would break a chain too.) */
    if (kind == TRANSFER_WRITE && i < count - 1) entry->flags = IOSQE_IO_LINK;
  }
  /* The kernel reads the entries after it has seen the tail. */
  __atomic_store_n(ring->submission_tail, tail + (uint32_t)count, __ATOMIC_RELEASE);
}

static uint32_t completed(const struct ring *ring) {
  return __atomic_load_n(ring->completion_tail, __ATOMIC_ACQUIRE) - *ring->completion_head;
}

static void take_results(struct ring *ring, struct transfer *transfers, int count) {
  uint32_t head = *ring->completion_head, ready = completed(ring);
  for (; ready > 0; ready--, head++) {
    const struct io_uring_cqe *completion = &ring->completions[head & ring->completion_mask];
    if (completion->user_data < (uint64_t)count) transfers[completion->user_data].result = completion->res;
  }
  __atomic_store_n(ring->completion_head, head, __ATOMIC_RELEASE);
}

int ring_run(struct ring *ring, enum transfer_kind kind, int fd, struct transfer *transfers, int count) {
  uint32_t tail = *ring->submission_tail;
  fill(ring, kind, fd, transfers, count);
  int submitted = enter(ring, (unsigned)count, (unsigned)count);
  int error = submitted < 0 ? errno : 0;
  if (submitted < 0) submitted = 0;
  /* What the kernel has not taken, it must not take next time. */
  __atomic_store_n(ring->submission_tail, tail + (uint32_t)submitted, __ATOMIC_RELEASE);
  if (error != 0) return error;
  /* What was taken and is never answered counts as lost: to do it again could do it twice. */
  for (int i = 0; i < count; i++) transfers[i].result = i < submitted ? -EIO : -EAGAIN;
  /* A signal ends the wait early. A ring that cannot be waited for fails at the next call. */
  while (completed(ring) < (uint32_t)submitted && (enter(ring, 0, (unsigned)submitted) >= 0 || errno == EINTR)) {}
  take_results(ring, transfers, count);
  return 0;
}
