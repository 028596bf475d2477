/*
 * One input is a path (sizes of its slabs and records) and some calls with records of every kind: in bounds, just out
 * of them, at the ends of int32. It checks what a caller relies on; AddressSanitizer and UBSan check the rest.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../native/src/rudder.h"
#include "fuzz.h"

struct input input;

uint8_t next_byte(void) {
  if (input.left == 0) return 0;
  input.left--;
  return *input.bytes++;
}

int32_t next_int(void) {
  uint32_t value = 0;
  for (int i = 0; i < 4; i++) value = value << 8 | next_byte();
  return (int32_t)value;
}

int32_t next_below(int32_t most) {
  if (most <= 0) return 0;
  return (int32_t)(((uint32_t)next_byte() << 16 | (uint32_t)next_byte() << 8 | next_byte()) % ((uint32_t)most + 1));
}

/* A number about a size: mostly one that could be right, often at its very end, now and then just beyond or far off. */
static int32_t next_near(int32_t size) {
  switch (next_byte() % 8) {
    case 3: return next_below(size);
    case 4: return size;
    case 5: return size - next_byte() % 4;
    case 6: return (int32_t)((uint32_t)size + 1 + next_byte() % 4);
    case 7: break;
    default: return next_byte() % 16 < size ? next_byte() % 16 : size;
  }
  switch (next_byte() % 4) {
    case 0: return next_int();
    case 1: return INT32_MAX - next_byte() % 4;
    case 2: return INT32_MIN + next_byte() % 4;
    default: return -1;
  }
}

/* An argument: mostly a number, and now and then none that a record has. */
static napi_value next_argument(int32_t size) {
  switch (next_byte()) {
    case 255: return make_number(NAN);
    case 254: return make_number(INFINITY);
    case 253: return make_number(next_int() + 0.5);
    case 252: return make_number(4294967296.0 + size);
    case 251: return make_string("text");
    default: return make_number(next_near(size));
  }
}

static const char *const NAMES[] = {"tun",   "udp",        "event",  "outboundSlab", "inboundSlab", "headers", "tunPackets", "datagrams",
                                    "sends", "sendIovecs", "writes", "writeIovecs",  "checksums",   "clock"};
enum { OUTBOUND_SLAB = 3, INBOUND_SLAB = 4, CHECKSUMS = 12 };
enum { TUN = 1000, UDP = 1001, EVENT = 1002, PROPERTIES = sizeof NAMES / sizeof NAMES[0] };

struct block {
  void *data;
  size_t length;
};
static struct block blocks[PROPERTIES];

/* Memory of exactly that size, so that one byte beyond is seen. */
static napi_value next_slab(size_t at) {
  static const size_t sizes[] = {100, 0, 1, 65535, 65536, 65536 + 1536 + 65536, 400000};
  size_t length = sizes[next_byte() % (sizeof sizes / sizeof sizes[0])];
  blocks[at] = (struct block){calloc(length ? length : 1, 1), length};
  return make_array(napi_uint8_array, blocks[at].data, length);
}

static napi_value next_records(size_t at, size_t width) {
  static const size_t counts[] = {7, 0, 1, 2, 64, 256, 1100};
  size_t length = counts[next_byte() % (sizeof counts / sizeof counts[0])] * width + next_byte() % 2;
  blocks[at] = (struct block){calloc(length ? length : 1, sizeof(int32_t)), length};
  return make_array(napi_int32_array, blocks[at].data, length);
}

/* Iovecs that are right, one byte each: a message may take them all. */
static void prefill(size_t at) {
  int32_t *range = blocks[at].data;
  for (size_t i = 0; (i + 1) * IOVEC_INTS <= blocks[at].length; i++) range[i * IOVEC_INTS + 2] = 1;
}

/* A range of a slab, as a caller with a mistake could have it. */
static void next_range(int32_t *range) {
  uint8_t choice = next_byte();
  range[0] = choice < 250 ? choice % 3 : next_near(SLAB_COUNT);
  int32_t size = range[0] >= 0 && range[0] < SLAB_COUNT ? (int32_t)blocks[3 + range[0]].length : 0;
  range[1] = next_near(size);
  range[2] = next_near(range[1] >= 0 && range[1] < size ? size - range[1] : size);
}

/* Writes the first iovecs of an array. */
static void fill_iovecs(size_t at, size_t count) {
  int32_t *range = blocks[at].data;
  for (size_t i = 0; i < count && (i + 1) * IOVEC_INTS <= blocks[at].length; i++, range += IOVEC_INTS) next_range(range);
}

/* Writes the first checksum records, over ranges of one slab. */
static void fill_checksums(size_t count, int32_t size) {
  int32_t *record = blocks[CHECKSUMS].data;
  for (size_t i = 0; i < count && (i + 1) * CHECKSUM_INTS <= blocks[CHECKSUMS].length; i++, record += CHECKSUM_INTS) {
    record[0] = next_near(size);
    record[1] = next_near(record[0] >= 0 && record[0] < size ? size - record[0] : size);
    record[2] = next_byte() < 240 ? next_byte() * 1001 : next_int();
    record[3] = next_near(size);
    record[4] = next_byte() % 2 ? 0xffff : 0;
  }
}

/* Writes the first messages of an array; their iovecs are in the one behind it. */
static void fill_messages(size_t at) {
  int32_t *record = blocks[at].data;
  for (size_t i = 0; i < 8 && (i + 1) * RECORD_INTS <= blocks[at].length; i++, record += RECORD_INTS) {
    record[0] = next_near((int32_t)(blocks[at + 1].length / IOVEC_INTS));
    uint8_t pieces = next_byte();
    record[1] = pieces < 208 ? pieces % 4 + 1 : pieces < 240 ? MAX_IOVECS_PER_MESSAGE : next_near(MAX_IOVECS_PER_MESSAGE);
    record[2] = next_int();
    record[3] = next_byte() < 240 ? 8285 : next_near(65535);
    record[4] = next_byte() < 240 ? 1400 : next_near(65535);
  }
}

/* RFC 1071, as plainly as it can be said. */
static uint16_t plain_sum(const uint8_t *bytes, size_t length, uint64_t rest) {
  uint64_t sum = rest;
  for (size_t i = 0; i < length; i++) sum += (uint64_t)bytes[i] << (i % 2 ? 0 : 8);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)sum;
}

/* What finishChecksums() has made of the outbound slab, of which `before` is a copy. */
static void check_finished(uint8_t *before, double count) {
  const int32_t *record = blocks[CHECKSUMS].data;
  for (int i = 0; i < count; i++, record += CHECKSUM_INTS) {
    uint16_t checksum = (uint16_t)~plain_sum(before + record[0], (size_t)record[1], (uint32_t)record[2]);
    if (checksum == 0) checksum = (uint16_t)record[4];
    before[record[3]] = (uint8_t)(checksum >> 8);
    before[record[3] + 1] = (uint8_t)checksum;
  }
  if (memcmp(before, blocks[OUTBOUND_SLAB].data, blocks[OUTBOUND_SLAB].length) != 0) abort();
}

static void check_verified(double asked, double wrong) {
  const int32_t *record = blocks[CHECKSUMS].data;
  const uint8_t *slab = blocks[INBOUND_SLAB].data;
  for (int i = 0; i < asked; i++, record += CHECKSUM_INTS) {
    int is_wrong = plain_sum(slab + record[0], (size_t)record[1], (uint32_t)record[2]) != 0xffff;
    if (record[3] != is_wrong) abort();
    wrong -= is_wrong;
  }
  if (wrong != 0) abort();
}

struct target {
  napi_callback function;
  size_t arguments;
  /* What its arguments are about: a number of records, a descriptor, a port. */
  int32_t size;
  /* The arrays it reads records from, by their place in NAMES; 0: none. */
  size_t messages, iovecs;
};

static const struct target BATCHES[] = {
    {send_udp, 2, MAX_MESSAGES, 8, 9}, {write_tun, 2, MAX_MESSAGES, 10, 11}, {receive_udp, 1, MAX_DATAGRAMS, 0, 0},
};
static const struct target OTHERS[] = {
    {wait_ready, 3, 7, 0, 0},           {close_handle, 1, EVENT, 0, 0},    {open_tun, 1, 0, 0, 0},
    {set_tun_persistent, 2, TUN, 0, 0}, {set_tun_offload, 2, TUN, 0, 0},   {set_udp_gro, 2, UDP, 0, 0},
    {probe_udp_gso, 1, UDP, 0, 0},      {open_udp, 3, 65535, 0, 0},        {open_event, 0, 0, 0, 0},
    {udp_drops, 1, UDP, 0, 0},          {signal_event, 1, EVENT, 0, 0},     {notify_socket, 2, 0, 0, 0},   {probe_ring, 1, TUN, 0, 0},
    {open_ring, 0, 0, 0, 0},            {close_ring, 0, 0, 0, 0},
};
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Longer than a socket's path may be (108). */
#define LONG_TEXT                                                                                                        \
  "/0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901"

static napi_value next_text(void) {
  static const char *const texts[] = {"rudder0", "", "@abstract", "/run/notify",
                                      LONG_TEXT};
  return make_string(texts[next_byte() % COUNT(texts)]);
}

/* A call either throws, or answers with a number of records that it was asked for, or with an errno. */
static bool check_result(napi_value result, napi_value asked) {
  if (take_exception()) {
    if (result != NULL) abort();
    return false;
  }
  if (number_of(result) > number_of(asked) || number_of(result) < -4096) abort();
  return true;
}

static void call_batch(void) {
  const struct target *target = &BATCHES[next_byte() % COUNT(BATCHES)];
  if (target->messages != 0) fill_messages(target->messages);
  if (target->iovecs != 0) fill_iovecs(target->iovecs, next_byte() % 32);
  napi_value arguments[MAX_ARGUMENTS];
  for (size_t i = 0; i < target->arguments; i++) {
    uint8_t usual = next_byte();
    int is_first = target->arguments == 2 && i == 0;
    arguments[i] = usual < 224 ? make_number(usual % (is_first ? 2 : 8)) : next_argument(target->size);
  }
  napi_value result = call(target->function, next_byte() == 255 ? 0 : target->arguments, arguments);
  check_result(result, arguments[target->arguments - 1]);
}

static void call_checksums(void) {
  bool finishes = next_byte() % 2;
  const struct block *slab = &blocks[finishes ? OUTBOUND_SLAB : INBOUND_SLAB];
  fill_checksums(next_byte() % 32, (int32_t)slab->length);
  uint8_t usual = next_byte();
  napi_value count = usual < 224 ? make_number(usual % 8) : next_argument(1100);
  uint8_t *before = malloc(slab->length + 1);
  memcpy(before, slab->data, slab->length);
  napi_value result = call(finishes ? finish_checksums : verify_checksums, 1, &count);
  if (check_result(result, count)) {
    if (finishes) check_finished(before, number_of(result));
    else check_verified(number_of(count), number_of(result));
  }
  free(before);
}

/* The stand-in for the kernel fills what it is given: pieces outside the slab would be seen. */
static void call_read_tun(void) {
  static const int32_t segments[] = {0, 1420, MIN_SPREAD_SEGMENT, SLOT_BYTES, MIN_SPREAD_SEGMENT - 1};
  int32_t size = (int32_t)blocks[OUTBOUND_SLAB].length;
  uint8_t usual = next_byte();
  napi_value arguments[] = {
      usual < 224 ? make_number(usual % 64) : next_argument(MAX_MESSAGES),
      usual < 224 ? make_number(size) : next_argument(size),
      usual < 224 ? make_number((usual % 4 + 1) * SLOT_BYTES) : next_argument(size),
      usual < 224 ? make_number(usual % (MAX_SPREAD_HEADER + 1)) : next_argument(MAX_SPREAD_HEADER),
      usual < 224 ? make_number(segments[next_byte() % COUNT(segments)]) : next_argument(SLOT_BYTES),
  };
  napi_value result = call(read_tun, next_byte() == 255 ? 4 : 5, arguments);
  check_result(result, arguments[0]);
}

static void call_other(void) {
  const struct target *target = &OTHERS[next_byte() % COUNT(OTHERS)];
  int takes_text = target->function == notify_socket || target->function == open_tun;
  napi_value arguments[MAX_ARGUMENTS];
  for (size_t i = 0; i < target->arguments; i++) arguments[i] = takes_text ? next_text() : next_argument(target->size);
  napi_value result = call(target->function, next_byte() == 255 ? 0 : target->arguments, arguments);
  if (take_exception() && result != NULL) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  static struct path path;
  const napi_env env = THE_ENV;
  input = (struct input){bytes, size};
  path = DETACHED_PATH;
  napi_set_instance_data(env, &path, NULL, NULL);
  handle_add(TUN, HANDLE_TUN, env);
  handle_add(UDP, HANDLE_UDP, env);
  handle_add(EVENT, HANDLE_EVENT, env);

  static const size_t widths[] = {RECORD_INTS, RECORD_INTS, RECORD_INTS, IOVEC_INTS, RECORD_INTS, IOVEC_INTS, CHECKSUM_INTS, 1};
  napi_value values[PROPERTIES] = {make_number(TUN), make_number(UDP), make_number(EVENT)};
  for (size_t i = 3; i < 6; i++) values[i] = next_slab(i);
  for (size_t i = 6; i < PROPERTIES; i++) values[i] = next_records(i, widths[i - 6]);
  prefill(9);
  prefill(11);
  /* Now and then a property of another kind. */
  if (next_byte() == 255) values[next_byte() % PROPERTIES] = next_argument(0);
  napi_value object = make_object(NAMES, values, PROPERTIES);
  call(attach_path, 1, &object);
  take_exception();
  if (next_byte() % 2) call(open_ring, 0, NULL);
  take_exception();
  for (int turns = 0; turns < 8 && input.left > 0; turns++) {
    switch (next_byte() % 6) {
      case 0: call_other(); break;
      case 1: call_checksums(); break;
      case 2: call_read_tun(); break;
      default: call_batch();
    }
  }

  call(detach_path, 0, NULL);
  handles_close_owned(env);
  if (handle_is(TUN, HANDLE_TUN) || handle_is(UDP, HANDLE_UDP)) abort();
  for (size_t i = 3; i < PROPERTIES; i++) {
    free(blocks[i].data);
    blocks[i] = (struct block){0};
  }
  forget_values();
  return 0;
}
