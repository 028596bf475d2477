/*
 * Mechanism only: system calls in batches over shared memory. No policy lives here.
 *
 * JavaScript and C exchange no objects, only int32 records in typed arrays on shared memory. The enums below name the
 * fields of each kind of record. JavaScript knows them by the same names: `layout` exports them, and a test compares.
 */
#ifndef RUDDER_H
#define RUDDER_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Packets, datagrams, sends and writes are so wide, with nothing in the rest. */
#define RECORD_INTS 8

/* A packet read from TUN. The fields behind the length are those of struct virtio_net_hdr, all 0 for a plain packet. */
enum packet_field {
  PACKET_OFFSET,
  PACKET_LENGTH,
  PACKET_VNET_FLAGS,
  PACKET_GSO_TYPE,
  PACKET_HEADER_LENGTH,
  PACKET_GSO_SIZE,
  PACKET_CSUM_START,
  PACKET_CSUM_OFFSET,
};

/* A datagram received. Addresses and ports are in host byte order. Segment size 0: not a train. */
enum datagram_field {
  DATAGRAM_OFFSET,
  DATAGRAM_LENGTH,
  DATAGRAM_SENDER,
  DATAGRAM_PORT,
  DATAGRAM_SEGMENT_SIZE,
  DATAGRAM_TRUNCATED,
};

/* A datagram or train to be sent. The rest of the record is JavaScript's own. */
enum send_field {
  SEND_FIRST_IOVEC,
  SEND_IOVEC_COUNT,
  SEND_ADDRESS,
  SEND_PORT,
  SEND_SEGMENT_SIZE,
  SEND_PEER = 7, /* its number, where the wire is sealed: there it stands for address and port */
};

/* A packet to be written to TUN. The fields behind the iovecs are those of struct virtio_net_hdr. */
enum write_field {
  WRITE_FIRST_IOVEC,
  WRITE_IOVEC_COUNT,
  WRITE_VNET_FLAGS,
  WRITE_GSO_TYPE,
  WRITE_HEADER_LENGTH,
  WRITE_GSO_SIZE,
  WRITE_CSUM_START,
  WRITE_CSUM_OFFSET,
};

enum iovec_field { IOVEC_SLAB, IOVEC_OFFSET, IOVEC_LENGTH, IOVEC_INTS };

/* A checksum to be finished, or to be verified: that has the verdict in the place of the field's offset. */
enum checksum_field {
  CHECKSUM_OFFSET,
  CHECKSUM_LENGTH,
  CHECKSUM_REST, /* the sum of all else that the checksum covers */
  CHECKSUM_FIELD,
  CHECKSUM_WRONG = CHECKSUM_FIELD,
  CHECKSUM_ZERO, /* what a checksum of 0 is written as */
  CHECKSUM_INTS,
};

/* A packet to be sealed or opened in one piece of memory (crypto.c). The counter is two int32, the low one first. */
enum job_field {
  JOB_SOURCE,
  JOB_TEXT,
  JOB_TARGET,
  JOB_LENGTH,
  JOB_KEY,
  JOB_COUNTER,
  JOB_IS_AUTHENTIC = JOB_COUNTER + 2,
  JOB_INTS,
};

/* An ICMP echo received, in doubles. The address is in host byte order, the time CLOCK_REALTIME's in microseconds. */
enum echo_field { ECHO_TYPE, ECHO_SOURCE, ECHO_ID, ECHO_SEQUENCE, ECHO_LENGTH, ECHO_RECEIVED, ECHO_FIELDS };

/* What receiveEchoes() reads at most, echoes and others. */
#define MAX_ECHO_READS 256

/* An IPv4 packet is at most 65535 bytes, a UDP datagram's payload 65507: one slot takes either whole. */
#define SLOT_BYTES 65536
#define PAGE_BYTES 4096

/*
 * Slots of the outbound slab are whole pages and this apart, an odd number of cache lines: so the headers of small packets
 * lie in 64 different sets of the L1 cache, and not all in the same few.
 */
#define OUTBOUND_SKEW_BYTES (25 * 64)
/* Slots of the inbound slab are this apart: at equal distance modulo a page they would compete for those sets too. */
#define INBOUND_SKEW_BYTES 1536

/* sendmmsg and writev take at most UIO_MAXIOV (1024) iovecs a message. */
#define MAX_IOVECS_PER_MESSAGE 1024
#define MAX_MESSAGES 256

/* What readTun() leaves room for between the segments of a super-packet: IPv4 and TCP headers with all their options.
 * Smaller segments than that are not spread: they would be too many iovecs. */
#define MAX_SPREAD_HEADER 120
#define MIN_SPREAD_SEGMENT 512
#define MAX_DATAGRAMS 64

/* What a batch call on TUN returns if the ring failed and not the device: no -errno, which end at -4095. */
#define RING_FAILED (-4096)

enum slab { SLAB_OUTBOUND, SLAB_INBOUND, SLAB_HEADERS, SLAB_COUNT };

/* What wait() waits for, and what it answers. The stop event is always waited for. */
enum {
  TUN_READABLE = 1,
  UDP_READABLE = 2,
  UDP_WRITABLE = 4,
  STOP_SIGNALLED = 8,
  TUN_FAILED = 16,
  SPUN_IN_VAIN = 32,
};

/* --- handles.c: the descriptors this addon opened, so that no number from JavaScript reaches another one --- */

enum handle_kind { HANDLE_NONE, HANDLE_TUN, HANDLE_UDP, HANDLE_EVENT, HANDLE_NETLINK, HANDLE_ECHO };

bool handle_add(int fd, enum handle_kind kind, napi_env owner);
bool handle_is(int fd, enum handle_kind kind);
/* Marks a descriptor as used by a path, so that it is not closed (and its number reused) under the path. */
bool handle_hold(int fd, enum handle_kind kind);
void handle_release(int fd);
/* 0, or EBADF if it is not ours, or EBUSY if a path holds it. */
int handle_close(int fd);
void handles_close_owned(napi_env owner);

/* --- arguments.c: reading arguments and throwing; each returns false with a JavaScript exception pending ---
 *
 * To throw may run JavaScript, a setter that errors inherit. So behind a throw nothing is used that it could have changed:
 * a call that throws ends. */

#define MAX_ARGUMENTS 5

struct memory {
  uint8_t *data;
  size_t size;
};

bool get_arguments(napi_env env, napi_callback_info info, size_t count, napi_value *values);
bool get_int(napi_env env, napi_value value, const char *name, int32_t min, int32_t max, int32_t *out);
/* Text without a NUL in it, of 1 to size - 1 bytes; `out` ends with a NUL. */
bool get_string(napi_env env, napi_value value, const char *name, char *out, size_t size, size_t *length);
/* A Uint8Array on memory of any kind, of use until JavaScript runs again. */
bool get_bytes(napi_env env, napi_value value, const char *name, struct memory *bytes);
/* Throw a TypeError or a RangeError, `name: expected ...`. They return false for `return throw_...(...)`. */
bool throw_type(napi_env env, const char *name, const char *expected);
bool throw_range(napi_env env, const char *name, const char *expected);
bool get_handle(napi_env env, napi_value value, const char *name, enum handle_kind kind, int *fd);
/* Throws an Error with {code, errno, syscall}, as Node's own do. Returns NULL for `return throw_errno(...)`. */
napi_value throw_errno(napi_env env, int error, const char *syscall, const char *detail);
napi_value int_value(napi_env env, int32_t value);

/* --- ring.c: many packets in one system call --- */

/* A power of two. More at once gain little: a system call for 16 packets is a small part of their cost. */
#define RING_ENTRIES 32
struct io_uring_sqe;
struct io_uring_cqe;

struct ring {
  int fd; /* -1: there is none */
  void *queues;
  size_t queues_size;
  struct io_uring_sqe *entries;
  uint32_t *submission_tail, *completion_head, *completion_tail, completion_mask;
  struct io_uring_cqe *completions;
};

enum transfer_kind { TRANSFER_READ, TRANSFER_WRITE };

/* One packet to be read or written, and what became of it: bytes, or -errno. */
struct transfer {
  struct iovec *iovecs;
  int iovec_count;
  int result;
};

/* 0, or an errno: the kernel has no io_uring, or not for us. */
int ring_open(struct ring *ring);
void ring_close(struct ring *ring);
/*
 * Reads or writes up to RING_ENTRIES packets, and gives each its result: -EAGAIN where the kernel has not come to it,
 * -ECANCELED behind a failed write, or for all if the kernel could not prepare one of them. 0, or an errno: the ring is
 * of no use any more, and nothing has been done.
 */
int ring_run(struct ring *ring, enum transfer_kind kind, int fd, struct transfer *transfers, int count);

/* --- path.c: the memory and descriptors of one packet path, one for each environment (thread) --- */

struct records {
  int32_t *data;
  size_t count; /* whole records */
};

/* How many slots of that size lie in the first `size` bytes, so far apart. */
static inline size_t slots_in(size_t size, size_t slot_bytes, size_t distance) {
  return size < slot_bytes ? 0 : 1 + (size - slot_bytes) / distance;
}

/*
 * Between slots of the outbound slab: each is whole pages, see OUTBOUND_SKEW_BYTES. Slots are larger than a packet where
 * super-packets are spread (readTun).
 */
static inline size_t outbound_distance(size_t slot_bytes) {
  return (slot_bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES + OUTBOUND_SKEW_BYTES;
}

/*
 * The first slot of the inbound slab begins at a page. The kernel copies with `rep movsb`, which on AMD's Zen 3 falls
 * from some 70 to 2 GB/s if the target lies 1 to 31 bytes behind the source modulo 4096. Trains of full-size packets lie
 * mostly at multiples of 256 in the sender's pages, and large buffers of V8 lie 16 bytes behind a page.
 */
static inline size_t first_inbound_slot(struct memory slab) { return -(uintptr_t)slab.data % PAGE_BYTES; }

#define INBOUND_DISTANCE (SLOT_BYTES + INBOUND_SKEW_BYTES)

/* Six of them are those of a sealed wire (sessions.c). */
#define TYPED_ARRAYS (SLAB_COUNT + 8 + 6)

struct sealed;

struct path {
  int tun, udp, event;
  struct memory slabs[SLAB_COUNT];
  struct records tun_packets, datagrams, sends, send_iovecs, writes, write_iovecs, checksums;
  int32_t *clock_ms;
  struct ring ring;
  napi_ref references[TYPED_ARRAYS]; /* keep the typed arrays, and so the memory, alive */
  size_t reference_count;
  struct sealed *sealed; /* NULL: the wire is plain */
};

#define DETACHED_PATH ((struct path){.tun = -1, .udp = -1, .event = -1, .ring.fd = -1})

/* What the addon keeps for each environment. */
struct instance {
  struct path path;
  napi_ref is_growable; /* the getter SharedArrayBuffer.prototype.growable, as it was when the addon was loaded */
};

/* Of use until JavaScript runs again: that may detach or attach. */
struct path *attached_path(napi_env env, const char *caller);
void path_release(napi_env env, struct path *path);
/* Reads the properties of an argument, which may run JavaScript: nothing that it could change is to be looked at before. */
bool get_properties(napi_env env, napi_value object, const char *name, const char *const *names, size_t count,
                    napi_value *values);
/* Takes an Int32Array on shared memory that stays as it is, and keeps it alive as long as the path. */
bool take_ints(napi_env env, napi_value value, const char *name, struct path *path, void **data, size_t *length);
napi_value attach_path(napi_env env, napi_callback_info info);
napi_value detach_path(napi_env env, napi_callback_info info);

/* --- udp.c --- */

/* One that was received, in the inbound slab. */
struct datagram {
  int32_t offset, length, sender, port, segment_size;
  bool is_truncated;
};

struct msghdr;
/* Receives up to `max` datagrams; returns how many, or -errno. They are of use until the next call of this thread. */
int receive_datagrams(const struct path *path, int32_t max, const struct datagram **datagrams);
/* Asks the kernel to cut the payload into datagrams of that size (UDP_SEGMENT, udp(7)). */
void add_segment_size(struct msghdr *message, void *control, size_t control_size, uint16_t size);

/* --- records.c: ranges of records, and the iovecs that they point to --- */

/*
 * Copies part of a record that another thread may be writing to. Each number is loaded once, which a plain copy does not
 * promise: a compiler may load again what has been checked.
 */
static inline void copy_ints(int32_t *copy, const int32_t *shared, size_t count) {
  for (size_t i = 0; i < count; i++) copy[i] = __atomic_load_n(&shared[i], __ATOMIC_RELAXED);
}

struct iovec;

/* How many records one call may ask for. */
int32_t limit_of(const struct records *records, int32_t most);
/* Reads the arguments (first, count) of a call over records, and checks them against the array. */
bool get_range(napi_env env, napi_callback_info info, const struct records *records, int32_t most, int32_t *first,
               int32_t *count);
/* Builds the iovecs of one message; false if any lies outside its slab. */
bool build_iovecs(const struct path *path, const struct records *iovecs, int32_t first, int32_t count,
                  struct iovec *out);

/* --- the functions JavaScript calls --- */

napi_value open_tun(napi_env env, napi_callback_info info);
napi_value set_tun_persistent(napi_env env, napi_callback_info info);
napi_value set_tun_offload(napi_env env, napi_callback_info info);
napi_value udp_drops(napi_env env, napi_callback_info info);
napi_value set_udp_gro(napi_env env, napi_callback_info info);
napi_value probe_udp_gso(napi_env env, napi_callback_info info);
napi_value open_udp(napi_env env, napi_callback_info info);
napi_value probe_ring(napi_env env, napi_callback_info info);
napi_value open_event(napi_env env, napi_callback_info info);
napi_value open_netlink(napi_env env, napi_callback_info info);
napi_value open_echo(napi_env env, napi_callback_info info);
napi_value send_echo(napi_env env, napi_callback_info info);
napi_value receive_echoes(napi_env env, napi_callback_info info);
napi_value signal_event(napi_env env, napi_callback_info info);
napi_value close_handle(napi_env env, napi_callback_info info);
napi_value notify_socket(napi_env env, napi_callback_info info);
napi_value forbid_core_dumps(napi_env env, napi_callback_info info);

napi_value open_ring(napi_env env, napi_callback_info info);
napi_value close_ring(napi_env env, napi_callback_info info);
napi_value wait_ready(napi_env env, napi_callback_info info);
napi_value read_tun(napi_env env, napi_callback_info info);
napi_value send_udp(napi_env env, napi_callback_info info);
napi_value receive_udp(napi_env env, napi_callback_info info);
napi_value write_tun(napi_env env, napi_callback_info info);
napi_value finish_checksums(napi_env env, napi_callback_info info);
napi_value verify_checksums(napi_env env, napi_callback_info info);

napi_value attach_sealed(napi_env env, napi_callback_info info);
napi_value seal_udp(napi_env env, napi_callback_info info);
napi_value send_sealed(napi_env env, napi_callback_info info);
napi_value receive_sealed(napi_env env, napi_callback_info info);
napi_value attend(napi_env env, napi_callback_info info);
napi_value send_datagram(napi_env env, napi_callback_info info);

napi_value keyed_mac(napi_env env, napi_callback_info info);
napi_value use_cipher(napi_env env, napi_callback_info info);
napi_value use_cipher_threads(napi_env env, napi_callback_info info);
napi_value cipher_in_use(napi_env env, napi_callback_info info);
napi_value seal_all(napi_env env, napi_callback_info info);
napi_value open_all(napi_env env, napi_callback_info info);

#endif
